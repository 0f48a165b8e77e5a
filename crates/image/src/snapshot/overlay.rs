//! Snapshots for overlayfs.
//!
//! ```text
//! snapshots/<chain-id>/fs              one layer's difference, complete and on the disk
//! snapshots/staging/<boot>/<chain-id>  unpacked during this boot, not settled yet
//! snapshots/staging/<boot>/tmp-…       being unpacked
//! snapshots/active/<id>/{upper,work}   a container's own files
//! snapshots/empty                      below images without layers
//! ```
//! A layer's directory holds only that layer's difference, so layers unpack
//! in parallel, in any order. What a layer cannot know alone is filled in when
//! all are there ([`OverlaySnapshots::settle`]); only then, and after a sync,
//! it gets its final name. So what has a final name survives a power cut, and
//! what has not is worthless after a reboot, which its path shows.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, XattrFlags};
use rustix::io::Errno;
use spec::ChainId;
use state::{BootId, ContainerId, FileLock, Layout, OverlayRoot, RootFs};
use sys::{Context, Error, ErrorKind, Result};

use crate::content::make_private;
use crate::layer::apply::Unfinished;
use crate::layer::xattrs;
use crate::tree;

/// What snapshots must be mounted with. Without `redirect_dir` and `metacopy`
/// an upper directory says by itself what changed, which commit relies on;
/// `nofollow` also makes attributes in image layers powerless.
pub const OVERLAY_OPTIONS: &[(&str, &str)] = &[
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
];

/// All snapshots.
#[derive(Clone, Debug)]
pub struct OverlaySnapshots {
    root: PathBuf,
    pub(super) layout: Layout,
}

impl OverlaySnapshots {
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let root = layout.snapshots();
        if !root.join("empty").exists() {
            for directory in ["", "active", "staging", "empty"] {
                make_private(&root.join(directory))?;
            }
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::chmod(root.join("empty"), mode).context(|| "create snapshots")?;
        }
        Ok(Self {
            root,
            layout: layout.clone(),
        })
    }

    /// Whether the layer is unpacked for good.
    pub fn has(&self, chain_id: &ChainId) -> bool {
        self.fs(chain_id).exists()
    }

    /// The directory of one layer's difference.
    pub fn fs(&self, chain_id: &ChainId) -> PathBuf {
        let mut path = self.root.join(chain_id.0.hex());
        path.push("fs");
        path
    }

    /// Makes the writable layer of a container above `chain`; its root looks
    /// as the image's does.
    pub fn prepare(&self, id: &ContainerId, chain: &[ChainId]) -> Result<()> {
        let directory = self.layout.active_snapshot(id);
        let prepare = || -> Result<()> {
            fs::DirBuilder::new().mode(0o700).create(&directory)?;
            let upper = directory.join("upper");
            fs::DirBuilder::new().mode(0o755).create(&upper)?;
            fs::DirBuilder::new()
                .mode(0o700)
                .create(directory.join("work"))?;
            let below = self.top(chain);
            copy_attributes(
                &tree::open_directory(&below)?,
                &tree::open_directory(&upper)?,
            )
        };
        let prepared = prepare().context(|| format!("prepare snapshot {}", directory.display()));
        if prepared
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::AlreadyExists)
        {
            // The first failure is what the user needs to know.
            let _ = tree::remove(&directory);
        }
        prepared
    }

    /// What a container's root is made of.
    pub fn rootfs(&self, id: &ContainerId, chain: &[ChainId]) -> Result<RootFs> {
        let mut lower = self.sealed(id)?;
        lower.reverse();
        for chain_id in chain.iter().rev() {
            if !self.has(chain_id) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("layer {chain_id} is not unpacked"),
                ));
            }
            lower.push(self.fs(chain_id));
        }
        if lower.is_empty() {
            lower.push(self.root.join("empty"));
        }
        let active = self.layout.active_snapshot(id);
        Ok(RootFs::Overlay(OverlayRoot {
            lower,
            upper: active.join("upper"),
            work: active.join("work"),
        }))
    }

    /// Removes a container's writable layer; nothing there is fine.
    pub fn remove(&self, id: &ContainerId) -> Result<()> {
        tree::remove(&self.layout.active_snapshot(id))
    }

    /// Bytes on disk that the container wrote, snapshots and its views of
    /// volumes included.
    pub fn usage(&self, id: &ContainerId) -> Result<u64> {
        let mut bytes = tree::disk_usage(&self.upper(id))?;
        for more in ["sealed", "volumes"] {
            let place = self.upper(id).with_file_name(more);
            if place.exists() {
                bytes += tree::disk_usage(&place)?;
            }
        }
        Ok(bytes)
    }

    /// Bytes on disk of one layer.
    pub fn layer_usage(&self, chain_id: &ChainId) -> Result<u64> {
        tree::disk_usage(&self.fs(chain_id))
    }

    pub(crate) fn upper(&self, id: &ContainerId) -> PathBuf {
        self.layout.active_snapshot(id).join("upper")
    }

    /// The topmost directory of an image.
    pub(crate) fn top(&self, chain: &[ChainId]) -> PathBuf {
        let top = chain.last().map(|top| self.fs(top));
        top.unwrap_or_else(|| self.root.join("empty"))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the layer is unpacked, for good or since this boot.
    pub(crate) fn is_staged(&self, chain_id: &ChainId) -> Result<bool> {
        Ok(self.has(chain_id) || self.staged(chain_id)?.exists())
    }

    pub(crate) fn staged(&self, chain_id: &ChainId) -> Result<PathBuf> {
        Ok(self.staging_root()?.join(chain_id.0.hex()))
    }

    pub(crate) fn staging_root(&self) -> Result<PathBuf> {
        Ok(self.root.join("staging").join(BootId::current()?.as_str()))
    }

    /// One process settles at a time.
    pub(crate) fn settle_lock(&self) -> Result<FileLock> {
        FileLock::exclusive(&self.root.join("staging").join("lock"))
    }

    /// A new directory to unpack a layer to; removed if it is not finished.
    pub(crate) fn begin(&self) -> Result<Staging> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let staging = self.staging_root()?;
        make_private(&staging)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = staging.join(format!("tmp-{}-{number}", std::process::id()));
        let begin = || -> Result<Staging> {
            // A dead process may have had our number.
            tree::remove(&path)?;
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            let made = Staging { path: path.clone() };
            fs::DirBuilder::new().mode(0o755).create(made.fs())?;
            rustix::fs::chmod(made.fs(), Mode::from_raw_mode(0o755))?;
            Ok(made)
        };
        begin().context(|| format!("create snapshot {}", path.display()))
    }
}

/// A layer that is being unpacked.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
}

impl Staging {
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        tree::open_directory(&self.fs())
    }

    pub(crate) fn fs(&self) -> PathBuf {
        self.path.join("fs")
    }

    /// Gives it the layer's name, until it is settled. If another process was
    /// faster, its work is as good.
    pub(crate) fn finish(
        self,
        snapshots: &OverlaySnapshots,
        chain_id: &ChainId,
        unfinished: &Unfinished,
    ) -> Result<()> {
        let finish = || -> Result<()> {
            let record = self.path.join("unfinished.json");
            state::Record::create(&record, unfinished)?;
            let staged = snapshots.staged(chain_id)?;
            match rustix::fs::rename(&self.path, &staged) {
                // Settled by another process meanwhile: nobody will ask for ours.
                Ok(()) if snapshots.has(chain_id) => tree::remove(&staged),
                Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        finish().context(|| format!("finish layer {chain_id}"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already if it was finished; the sweep removes what is left.
        let _ = tree::remove(&self.path);
    }
}

/// Owner, mode, attributes and times of one directory to another.
pub(crate) fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let (have, want) = (rustix::fs::fstat(to)?, rustix::fs::fstat(from)?);
    if (have.st_uid, have.st_gid) != (want.st_uid, want.st_gid) {
        let uid = rustix::fs::Uid::from_raw(want.st_uid);
        let gid = rustix::fs::Gid::from_raw(want.st_gid);
        rustix::fs::fchown(to, Some(uid), Some(gid))?;
    }
    if have.st_mode != want.st_mode {
        rustix::fs::fchmod(to, Mode::from_raw_mode(want.st_mode))?;
    }
    for (name, value) in xattrs::read(from)? {
        rustix::fs::fsetxattr(to, &*name, &value, XattrFlags::empty())?;
    }
    let time = crate::layer::tar::Timestamp {
        seconds: want.st_mtime,
        nanoseconds: u32::try_from(want.st_mtime_nsec).unwrap_or_default(),
    };
    rustix::fs::futimens(to, &crate::layer::file_times(time))?;
    Ok(())
}
