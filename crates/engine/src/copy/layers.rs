//! Layers in overlayfs' form, copied on top of each other into one.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::{Context as _, Result};

use super::{Copier, Ownership};

const OPAQUE: &str = "trusted.overlay.opaque";

/// Copies `layers`, the lowest first, into the empty directory `into`: what
/// they say together, with what overlayfs notes about it. Gives the bytes of
/// their files. Nobody changes them meanwhile.
pub(crate) fn copy_layers(layers: &[PathBuf], into: &Path) -> Result<u64> {
    let target = open(into)?;
    let mut bytes = 0;
    for (number, layer) in layers.iter().enumerate() {
        let source = open(layer)?;
        if number > 0 {
            make_room(layer, into).context(|| format!("put {} on top", layer.display()))?;
        }
        let mut copier = Copier::new(target.as_fd(), Ownership::KeptInLayers);
        copier
            .directory(&source, &target)
            .context(|| format!("copy {}", layer.display()))?;
        bytes += copier.bytes();
    }
    Ok(bytes)
}

/// As [`copy_layers`], without overlayfs' notes: what is hidden is gone.
pub(crate) fn copy_merged(layers: &[PathBuf], into: &Path) -> Result<u64> {
    let bytes = copy_layers(layers, into)?;
    if layers.len() > 1 {
        forget_notes(into).context(|| format!("copy to {}", into.display()))?;
    }
    Ok(bytes)
}

fn forget_notes(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stat = rustix::fs::lstat(&path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => fs::remove_file(&path)?,
            FileType::Directory => {
                if is_opaque(&path) {
                    rustix::fs::lremovexattr(&path, OPAQUE)?;
                }
                forget_notes(&path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .context(|| format!("open {}", path.display()))
}

/// Takes away what `upper` hides in `lower`, which it is about to be copied
/// into: whatever has the name of something else, and what lies in
/// directories that are opaque above.
fn make_room(upper: &Path, lower: &Path) -> Result<()> {
    let entries = fs::read_dir(upper).context(|| format!("read {}", upper.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        let (above, below) = (upper.join(&name), lower.join(&name));
        let kind_below = match kind(&below) {
            Err(Errno::NOENT) => continue,
            kind => kind?,
        };
        match (kind(&above)?, kind_below) {
            (FileType::Directory, FileType::Directory) if is_opaque(&above) => {
                fs::remove_dir_all(&below)?;
                fs::create_dir(&below)?;
            }
            (FileType::Directory, FileType::Directory) => make_room(&above, &below)?,
            (_, FileType::Directory) => fs::remove_dir_all(&below)?,
            (FileType::Directory, _) => fs::remove_file(&below)?,
            // The copy replaces it.
            _ => {}
        }
    }
    Ok(())
}

fn kind(path: &Path) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode))
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0_u8; 8];
    rustix::fs::lgetxattr(path, OPAQUE, &mut value).is_ok_and(|size| value[..size] == *b"y")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root: whiteouts are devices, and trusted attributes are root's.
    #[test]
    fn the_topmost_word_counts() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        for directory in ["one/a/deep", "one/b", "two/a", "two/b", "into"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for (file, text) in [
            ("one/a/deep/x", "hidden"),
            ("one/b/x", "below"),
            ("one/c", "old"),
            ("one/d", "gone"),
            ("one/e", "file"),
            ("two/b/y", "above"),
            ("two/c", "new"),
        ] {
            fs::write(path(file), text).unwrap();
        }
        fs::create_dir(path("two/e")).unwrap();
        let whiteout = rustix::fs::mknodat(
            CWD,
            path("two/d"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        whiteout.unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path("two/a"), OPAQUE, b"y", flags).unwrap();
        let bytes = copy_layers(&[path("one"), path("two")], &path("into")).unwrap();
        assert!(bytes > 0);
        assert_eq!(fs::read_dir(path("into/a")).unwrap().count(), 0);
        assert!(is_opaque(&path("into/a")));
        assert_eq!(fs::read_to_string(path("into/b/x")).unwrap(), "below");
        assert_eq!(fs::read_to_string(path("into/b/y")).unwrap(), "above");
        assert_eq!(fs::read_to_string(path("into/c")).unwrap(), "new");
        assert_eq!(kind(&path("into/d")).unwrap(), FileType::CharacterDevice);
        assert_eq!(kind(&path("into/e")).unwrap(), FileType::Directory);
        fs::create_dir(path("plain")).unwrap();
        copy_merged(&[path("one"), path("two")], &path("plain")).unwrap();
        assert!(!path("plain/d").exists() && !is_opaque(&path("plain/a")));
        assert_eq!(fs::read_to_string(path("plain/b/x")).unwrap(), "below");
    }
}
