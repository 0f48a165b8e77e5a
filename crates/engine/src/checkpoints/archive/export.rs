//! A checkpoint becomes an archive.

use std::fs::File;
use std::io::{BufWriter, Read, Seek as _, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use image::digest::Hasher;
use image::layer::compression::Compressor;
use image::layer::diff::{self, Root};
use image::layer::tar::{Entry, EntryKind, Writer};
use rustix::fs::{CWD, Mode, OFlags};
use spec::Algorithm;
use spec::image::LayerCompression;
use sys::{Context as _, Error, ErrorKind, Result};

use super::super::{Checkpoints, place};
use super::{ExportRequest, FORMAT, HEADER, Header, LAYER, METADATA, PAGES, RECORD, SUMS, Sums};
use crate::containers::anonymous_volumes;

const CHUNK: usize = 1 << 20;

impl Checkpoints<'_> {
    /// Writes a checkpoint to `sink` and gives the sink back. `tell` hears the
    /// bytes so far, before they are packed.
    pub fn export<W: Write>(
        &self,
        name: &str,
        request: ExportRequest,
        sink: W,
        tell: &dyn Fn(u64),
    ) -> Result<W> {
        let layout = self.engine.layout();
        let (_held, checkpoint) = self.hold(name)?;
        let place = place(layout, &checkpoint.name);
        let compression = if request.zstd {
            LayerCompression::Zstd
        } else {
            LayerCompression::None
        };
        let packed = Compressor::new(compression, BufWriter::with_capacity(CHUNK, sink))?;
        let mut archive = Archive {
            tar: Writer::new(packed),
            sums: Sums::new(),
            written: 0,
            tell,
        };
        let header = Header {
            format: FORMAT,
            name: checkpoint.name.clone(),
        };
        archive.document(HEADER, &header)?;
        archive.document(RECORD, &checkpoint.record)?;
        for name in [METADATA, PAGES] {
            let path = place.join(name);
            let file = File::open(&path).context(|| format!("open {}", path.display()))?;
            let size = file.metadata()?.len();
            archive.member(name, size, file)?;
        }
        archive.tree(LAYER, &place.join("layer"), &layout.checkpoints())?;
        for (number, _) in anonymous_volumes(&checkpoint.record.config).enumerate() {
            let from = place.join("volumes").join(number.to_string());
            archive.tree(&super::volume(number), &from, &layout.checkpoints())?;
        }
        archive.finish()
    }
}

struct Archive<'a, W: Write> {
    tar: Writer<Compressor<BufWriter<W>>>,
    sums: Sums,
    written: u64,
    tell: &'a dyn Fn(u64),
}

impl<W: Write> Archive<'_, W> {
    fn document(&mut self, name: &str, document: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_vec(document)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        self.member(name, text.len() as u64, text.as_slice())
    }

    /// A directory as a tar of its own, whose length has to be known first.
    fn tree(&mut self, name: &str, from: &Path, scratch: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, from, flags, Mode::empty())
            .context(|| format!("open {}", from.display()))?;
        let file = BufWriter::new(File::from(nameless(scratch)?));
        let file = diff::diff(&directory, Root::Described, &|_| false, file)
            .context(|| format!("pack {}", from.display()))?;
        let mut file = file
            .into_inner()
            .map_err(|error| Error::from(error.into_error()))?;
        let size = file.stream_position()?;
        file.rewind()?;
        self.member(name, size, file)
    }

    fn member(&mut self, name: &str, size: u64, mut content: impl Read) -> Result<()> {
        self.tar.begin(&Entry {
            path: name.as_bytes().to_vec(),
            kind: EntryKind::File,
            mode: 0o600,
            size,
            ..Entry::default()
        })?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; CHUNK];
        while self.tar.due() > 0 {
            let most = usize::try_from(self.tar.due()).unwrap_or(CHUNK).min(CHUNK);
            let length = content.read(&mut buffer[..most])?;
            if length == 0 {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("{name} became shorter while it was read"),
                ));
            }
            hasher.update(&buffer[..length]);
            self.tar.data(&buffer[..length])?;
            self.written += length as u64;
            (self.tell)(self.written);
        }
        self.sums.insert(name.to_owned(), hasher.finish());
        Ok(())
    }

    fn finish(mut self) -> Result<W> {
        let sums = std::mem::take(&mut self.sums);
        self.document(SUMS, &sums)?;
        let packed = self.tar.finish()?.finish()?;
        packed
            .into_inner()
            .map_err(|error| Error::from(error.into_error()))
    }
}

/// A file that goes when it is closed.
fn nameless(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::from_raw_mode(0o600))
        .context(|| format!("make a file in {}", directory.display()))
}
