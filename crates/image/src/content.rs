//! Blobs by digest, as an OCI image layout: `blobs/<algorithm>/<hex>`.
//!
//! A blob is there completely and verified, or not at all: it grows under
//! `ingest/` and is renamed once size and digest agree and its bytes are on
//! the disk. A partial blob stays, so that an interrupted pull goes on where
//! it stopped; the file's lock makes a second process wait and then find the
//! blob present.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use spec::image::{Descriptor, MediaType};
use spec::{Algorithm, Digest};
use sys::{Context, Error, ErrorKind, Result};

use crate::digest::{Hasher, digest_of};

/// All blobs.
#[derive(Clone, Debug)]
pub struct ContentStore {
    root: PathBuf,
    max_document_bytes: u64,
}

impl ContentStore {
    pub(crate) fn open(root: &Path, max_document_bytes: u64) -> Result<Self> {
        let store = Self {
            root: root.to_owned(),
            max_document_bytes,
        };
        if !root.join("oci-layout").exists() {
            store.create()?;
        }
        Ok(store)
    }

    fn create(&self) -> Result<()> {
        for directory in ["blobs/sha256", "blobs/sha512", "ingest"] {
            make_private(&self.root.join(directory))?;
        }
        // Last, as its being there says that the rest is.
        let path = self.root.join("oci-layout");
        let text = br#"{"imageLayoutVersion":"1.0.0"}"#;
        state::record::replace(&path, text, state::Durability::Fast)
            .context(|| format!("write {}", path.display()))
    }

    /// Where the layout is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The blob as a file, to be read from its start.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        File::open(self.path(digest)).context(|| format!("open blob {digest}"))
    }

    /// Bytes on disk of the blob, `NotFound` if it is not there.
    pub fn size(&self, digest: &Digest) -> Result<u64> {
        let metadata = fs::metadata(self.path(digest));
        Ok(metadata.context(|| format!("open blob {digest}"))?.len())
    }

    /// A whole document (manifest, index, config): size-limited and verified.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = descriptor.digest;
        let read = || -> Result<Vec<u8>> {
            self.check_document_size(descriptor.size)?;
            let mut bytes = Vec::new();
            let file = File::open(self.path(&digest))?;
            file.take(descriptor.size + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != descriptor.size
                || digest_of(digest.algorithm(), &bytes) != digest
            {
                return Err(corrupt("its content does not match its digest"));
            }
            Ok(bytes)
        };
        read().context(|| format!("read blob {digest}"))
    }

    /// Stores a document; Synced.
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let digest = digest_of(Algorithm::Sha256, bytes);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        self.put_verified(&descriptor, bytes)?;
        Ok(descriptor)
    }

    /// Stores a document that must be what `descriptor` says; Synced.
    pub fn put_verified(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.check_document_size(bytes.len() as u64)
            .context(|| format!("store blob {}", descriptor.digest))?;
        if let Some(mut ingest) = self.ingest(descriptor)? {
            ingest.restart()?;
            ingest.write(bytes)?;
            ingest.commit()?;
        }
        Ok(())
    }

    /// Starts or goes on with a blob; `None` if it is there already. Waits
    /// while another process receives the same blob.
    pub fn ingest(&self, expected: &Descriptor) -> Result<Option<Ingest>> {
        let digest = expected.digest;
        let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
        let path = self.root.join("ingest").join(name);
        let begin = || -> Result<Option<Ingest>> {
            loop {
                if self.contains(&digest) {
                    return Ok(None);
                }
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create(true).truncate(false);
                let file = options.mode(0o600).open(&path)?;
                lock(&file)?;
                // The holder before us may have finished or given up meanwhile.
                let ours = file.metadata()?;
                match fs::metadata(&path) {
                    Ok(there) if there.ino() == ours.ino() => {}
                    Ok(_) => continue,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error.into()),
                }
                let ingest = Ingest {
                    partial: ours.len().min(expected.size),
                    file,
                    path: path.clone(),
                    target: self.path(&digest),
                    expected: expected.clone(),
                    hasher: Hasher::new(digest.algorithm()),
                    written: 0,
                };
                return Ok(Some(ingest));
            }
        };
        begin().context(|| format!("store blob {digest}"))
    }

    /// Starts a blob whose digest is not known yet.
    pub fn create_blob(&self) -> Result<NewBlob> {
        let directory = self.root.join("ingest");
        let create = || -> Result<NewBlob> {
            let unique = state::ContainerId::random()?.short();
            let path = directory.join(format!("new-{unique}"));
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create_new(true);
            let file = options.mode(0o600).open(&path)?;
            Ok(NewBlob {
                file,
                path,
                root: self.clone(),
                hasher: Hasher::new(Algorithm::Sha256),
                written: 0,
            })
        };
        create().context(|| format!("store blob in {}", directory.display()))
    }

    /// Makes the names of all blobs survive a power cut; their bytes do.
    pub fn sync(&self) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.root.join("blobs").join(algorithm.name());
            File::open(&directory)
                .and_then(|directory| directory.sync_all())
                .context(|| format!("sync {}", directory.display()))?;
        }
        Ok(())
    }

    /// All blobs with their sizes on disk.
    pub(crate) fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.root.join("blobs").join(algorithm.name());
            let entries =
                fs::read_dir(&directory).context(|| format!("read {}", directory.display()))?;
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let text = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                if let Ok(digest) = text.parse() {
                    blobs.push((digest, entry.metadata()?.len()));
                }
            }
        }
        Ok(blobs)
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        fs::remove_file(self.path(digest)).context(|| format!("remove blob {digest}"))
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        let mut path = self.root.join("blobs");
        path.push(algorithm);
        path.push(digest.hex());
        path
    }

    fn check_document_size(&self, size: u64) -> Result<()> {
        if size <= self.max_document_bytes {
            return Ok(());
        }
        let limit = self.max_document_bytes;
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a document of {size} bytes is over the limit of {limit}"),
        ))
    }
}

/// A blob on its way in; dropping it keeps what came for the next attempt.
#[derive(Debug)]
pub struct Ingest {
    file: File,
    path: PathBuf,
    target: PathBuf,
    expected: Descriptor,
    /// Bytes of an earlier attempt, not yet replayed.
    partial: u64,
    hasher: Hasher,
    written: u64,
}

impl Ingest {
    /// Bytes that are there from an earlier attempt or were written.
    pub fn offset(&self) -> u64 {
        self.partial.max(self.written)
    }

    /// Reads the next bytes of an earlier attempt, none after the last. All
    /// have to be taken before [`Self::write`].
    pub fn replay(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let left = self.partial.saturating_sub(self.written);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &mut bytes[..length];
        (self.file.read_exact_at(bytes, self.written)).context(|| self.name("read partial"))?;
        self.hasher.update(bytes);
        self.written += length as u64;
        Ok(length)
    }

    /// Forgets what an earlier attempt left.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).context(|| self.name("store"))?;
        self.partial = 0;
        self.written = 0;
        self.hasher = Hasher::new(self.expected.digest.algorithm());
        Ok(())
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert!(self.partial <= self.written, "replay comes first");
        if self.written + bytes.len() as u64 > self.expected.size {
            self.restart()?;
            return Err(corrupt("more bytes came than announced")).context(|| self.name("store"));
        }
        self.hasher.update(bytes);
        (self.file.write_all_at(bytes, self.written)).context(|| self.name("store"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Whether all bytes are here.
    pub fn is_full(&self) -> bool {
        self.offset() >= self.expected.size
    }

    /// Makes the blob visible if size and digest are right; its bytes are on
    /// the disk then. A wrong digest drops them; a short blob is kept. Who
    /// waits for the same blob goes on when the result is dropped.
    pub fn commit(mut self) -> Result<Committed> {
        if self.written != self.expected.size {
            let (came, size) = (self.written, self.expected.size);
            let message = format!("only {came} of {size} bytes came");
            return Err(corrupt(message)).context(|| self.name("store"));
        }
        let fresh = Hasher::new(self.expected.digest.algorithm());
        let found = std::mem::replace(&mut self.hasher, fresh).finish();
        if found != self.expected.digest {
            self.restart()?;
            let message = format!("the content does not match the digest (it is {found})");
            return Err(corrupt(message)).context(|| self.name("store"));
        }
        publish(&self.file, &self.path, &self.target).context(|| self.name("store"))?;
        Ok(Committed { _lock: self.file })
    }

    fn name(&self, act: &str) -> String {
        format!("{act} blob {}", self.expected.digest)
    }
}

/// A blob that came; others who want it wait until this is dropped.
#[derive(Debug)]
pub struct Committed {
    _lock: File,
}

/// A blob that we make; dropping it before [`Self::commit`] removes it.
#[derive(Debug)]
pub struct NewBlob {
    file: File,
    path: PathBuf,
    root: ContentStore,
    hasher: Hasher,
    written: u64,
}

impl NewBlob {
    /// Makes the blob visible.
    pub fn commit(mut self, media_type: MediaType) -> Result<Descriptor> {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::Sha256));
        let digest = hasher.finish();
        let target = self.root.path(&digest);
        publish(&self.file, &self.path, &target).context(|| format!("store blob {digest}"))?;
        Ok(Descriptor::new(media_type, digest, self.written))
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        // Gone already if it was committed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Bytes first, then the name: a blob that can be found is whole, also after
/// a power cut.
fn publish(file: &File, path: &Path, target: &Path) -> Result<()> {
    file.sync_data()?;
    fs::rename(path, target)?;
    Ok(())
}

fn lock(file: &File) -> Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// A directory of ours, for root alone, with its parents.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    (fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path))
    .context(|| format!("create {}", path.display()))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(scratch: &tempfile::TempDir) -> ContentStore {
        ContentStore::open(&scratch.path().join("content"), 1 << 20).unwrap()
    }

    fn layer(bytes: &[u8]) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, bytes);
        Descriptor::new(MediaType::Other("x".into()), digest, bytes.len() as u64)
    }

    #[test]
    fn a_blob_is_invisible_until_complete() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(&scratch);
        let wanted = layer(b"hello world");
        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        ingest.write(b"hello").unwrap();
        drop(ingest);
        assert!(!store.contains(&wanted.digest));

        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        assert_eq!(ingest.offset(), 5);
        let mut bytes = [0; 8];
        assert_eq!(ingest.replay(&mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"hello");
        assert_eq!(ingest.replay(&mut bytes).unwrap(), 0);
        ingest.write(b" world").unwrap();
        ingest.commit().unwrap();
        assert_eq!(store.read(&wanted).unwrap(), b"hello world");
        assert!(store.ingest(&wanted).unwrap().is_none());
    }

    #[test]
    fn wrong_bytes_do_not_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(&scratch);
        let wanted = layer(b"hello");
        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        ingest.write(b"jello").unwrap();
        assert_eq!(ingest.commit().unwrap_err().kind(), ErrorKind::Corrupt);
        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        assert_eq!(ingest.offset(), 0);
        assert!(ingest.write(b"hello!").is_err());
        drop(ingest);
        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        ingest.write(b"hell").unwrap();
        assert!(ingest.commit().is_err());
        assert_eq!(store.ingest(&wanted).unwrap().unwrap().offset(), 4);
    }

    #[test]
    fn a_second_reception_waits_and_finds_the_blob() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(&scratch);
        let wanted = layer(b"hello");
        let mut ingest = store.ingest(&wanted).unwrap().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| store.ingest(&wanted).unwrap().is_none());
            ingest.write(b"hello").unwrap();
            ingest.commit().unwrap();
            assert!(second.join().unwrap());
        });
    }

    #[test]
    fn documents_are_bounded_and_verified() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(&scratch);
        let put = store.put(MediaType::OciConfig, b"{}").unwrap();
        fs::write(store.path(&put.digest), b"[]").unwrap();
        assert_eq!(store.read(&put).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(
            store
                .put(MediaType::OciConfig, &vec![b' '; 2 << 20])
                .is_err()
        );
    }
}
