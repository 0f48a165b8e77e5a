//! Full files of the short form are compressed by a process of their own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use image::layer::compression::Compressor;
use spec::image::LayerCompression;
use sys::Result;

/// `FILE` becomes `FILE.zst`. At any instant one of the two is whole.
pub fn pack(path: &Path) -> Result<()> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (unfinished, packed) = (with(".zst.new"), with(".zst"));
    let mut plain = File::open(path)?;
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    let write = || -> Result<()> {
        let mut packer = Compressor::new(LayerCompression::Zstd, target)?;
        io::copy(&mut plain, &mut packer)?;
        packer.finish()?;
        fs::rename(&unfinished, &packed)?;
        Ok(())
    };
    if let Err(error) = write() {
        // Without room the plain file stays.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    match fs::remove_file(path) {
        // It was forgotten meanwhile, and so is this one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(&packed)?,
        removed => removed?,
    }
    Ok(())
}
