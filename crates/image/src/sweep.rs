//! Removing what nothing uses: mark from the references, then sweep.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use spec::image::{Descriptor, ImageConfig, Index, Manifest, MediaType};
use spec::{ChainId, Digest};
use state::ContainerId;
use sys::{Context, Error, ErrorKind, Errors, Result};

use crate::content::make_private;
use crate::digest::chain_of;
use crate::store::{Store, parse};
use crate::tree;

/// How long the part of an interrupted pull waits to be continued.
const PARTIAL_KEPT: Duration = Duration::from_hours(24);

/// What is used besides the images that have names.
#[derive(Clone, Debug, Default)]
pub struct KeepAlive {
    /// Manifests of the images that containers were made from.
    pub manifests: Vec<Descriptor>,
    /// Containers, whose writable layers stay.
    pub active: Vec<ContainerId>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub blobs: u64,
    pub snapshots: u64,
    /// On disk.
    pub bytes: u64,
}

#[derive(Default)]
pub(crate) struct Marked {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) chains: HashSet<ChainId>,
}

impl Store {
    /// Removes blobs, snapshots and leftovers that neither a kept manifest nor
    /// `keep` needs. Waits for all who hold [`Store::use_lock`], so the caller
    /// must not. Goes on after a failure and reports all.
    ///
    /// `keep` is asked under the lock, so that a container created just before
    /// (its creator holds the lock shared) is in it.
    pub fn sweep(&self, keep: impl FnOnce() -> Result<KeepAlive>) -> Result<Freed> {
        let _lock = self.sweep_lock()?;
        self.sweep_locked(keep)
    }

    /// The same, unless somebody holds [`Store::use_lock`]: `None` then. For
    /// those who should not wait for the end of a long pull.
    pub fn try_sweep(&self, keep: impl FnOnce() -> Result<KeepAlive>) -> Result<Option<Freed>> {
        match self.try_sweep_lock()? {
            Some(_lock) => self.sweep_locked(keep).map(Some),
            None => Ok(None),
        }
    }

    fn sweep_locked(&self, keep: impl FnOnce() -> Result<KeepAlive>) -> Result<Freed> {
        let keep = keep()?;
        let marked = self.marked(&keep)?;
        let mut freed = Freed::default();
        let mut errors = Errors::new();
        self.sweep_blobs(&marked, &mut freed, &mut errors);
        errors.keep(self.sweep_snapshots(&marked, &mut freed));
        errors.keep(self.sweep_active(&keep, &mut freed));
        errors.keep(self.sweep_partial());
        errors.into_result().context(|| "remove unused images")?;
        Ok(freed)
    }

    /// What names and `keep` need.
    pub(crate) fn marked(&self, keep: &KeepAlive) -> Result<Marked> {
        let mut marked = Marked::default();
        for named in self.references().list()? {
            self.mark(&named.manifest, &mut marked)?;
        }
        for manifest in &keep.manifests {
            self.mark(manifest, &mut marked)?;
        }
        Ok(marked)
    }

    /// Marks what a manifest or index needs. What is lost or damaged needs
    /// nothing; any other failure ends the sweep before it removes too much.
    fn mark(&self, document: &Descriptor, marked: &mut Marked) -> Result<()> {
        if !marked.blobs.insert(document.digest) {
            return Ok(());
        }
        let Some(bytes) = usable(self.content().read(document))? else {
            return Ok(());
        };
        if document.media_type.is_index() {
            let Some(index) = usable(parse::<Index>(&bytes, "index"))? else {
                return Ok(());
            };
            for entry in &index.manifests {
                if entry.media_type.is_manifest() {
                    self.mark(entry, marked)?;
                }
            }
            return Ok(());
        }
        let Some(manifest) = usable(parse::<Manifest>(&bytes, "manifest"))? else {
            return Ok(());
        };
        marked.blobs.insert(manifest.config.digest);
        marked
            .blobs
            .extend(manifest.layers.iter().map(|layer| layer.digest));
        if matches!(manifest.config.media_type, MediaType::Other(_)) {
            return Ok(());
        }
        if let Some(bytes) = usable(self.content().read(&manifest.config))?
            && let Some(config) = usable(parse::<ImageConfig>(&bytes, "image config"))?
        {
            marked.chains.extend(chain_of(&config.rootfs.diff_ids));
        }
        Ok(())
    }

    fn sweep_blobs(&self, marked: &Marked, freed: &mut Freed, errors: &mut Errors) {
        for (digest, size) in errors.keep(self.content().list()).unwrap_or_default() {
            if !marked.blobs.contains(&digest)
                && errors.keep(self.content().remove(&digest)).is_some()
            {
                freed.blobs += 1;
                freed.bytes += size;
            }
        }
    }

    fn sweep_snapshots(&self, marked: &Marked, freed: &mut Freed) -> Result<()> {
        let used: HashSet<String> = marked.chains.iter().map(|chain| chain.0.hex()).collect();
        let snapshots = self.snapshots();
        let staging = snapshots.staging_root()?;
        make_private(&staging)?;
        for path in members(snapshots.root())? {
            let name = file_name(&path);
            if name.len() < 64 || used.contains(&name) {
                continue;
            }
            freed.bytes += tree::disk_usage(&path)?;
            // Half a snapshot must not keep the name of a whole one.
            let aside = staging.join(format!("tmp-removed-{name}"));
            tree::remove(&aside)?;
            fs::rename(&path, &aside).context(|| format!("remove {}", path.display()))?;
            tree::remove(&aside)?;
            freed.snapshots += 1;
        }
        for boot in members(&snapshots.root().join("staging"))? {
            if boot == staging {
                for path in members(&staging)? {
                    if !used.contains(&file_name(&path)) {
                        tree::remove(&path)?;
                    }
                }
            } else if boot.is_dir() {
                tree::remove(&boot)?;
            }
        }
        Ok(())
    }

    fn sweep_active(&self, keep: &KeepAlive, freed: &mut Freed) -> Result<()> {
        let used: HashSet<String> = keep.active.iter().map(ToString::to_string).collect();
        for path in members(&self.snapshots().root().join("active"))? {
            if !used.contains(&file_name(&path)) {
                freed.bytes += tree::disk_usage(&path)?;
                tree::remove(&path)?;
            }
        }
        Ok(())
    }

    fn sweep_partial(&self) -> Result<()> {
        for path in members(&self.content().root().join("ingest"))? {
            let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let age = changed.map(|changed| SystemTime::now().duration_since(changed));
            let fresh = matches!(age, Ok(Ok(age)) if age < PARTIAL_KEPT);
            let resumable = !file_name(&path).starts_with("new-");
            if !(fresh && resumable) {
                tree::remove(&path)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn usable<T>(result: Result<T>) -> Result<Option<T>> {
    let gone = |error: &Error| {
        matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::InvalidInput
        )
    };
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn members(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("read {}", directory.display())),
    };
    entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()
        .context(|| format!("read {}", directory.display()))
}

pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
