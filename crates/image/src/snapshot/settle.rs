//! Layers that were unpacked alone become snapshots for good: what only the
//! layers below know is filled in, all is synced once, then renamed.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use spec::ChainId;
use state::Record;
use sys::{Context, Error, ErrorKind, Result};

use super::overlay::{OverlaySnapshots, copy_attributes};
use crate::layer::apply::Unfinished;
use crate::layer::whiteout;
use crate::tree;

impl OverlaySnapshots {
    /// Makes all layers of `chain` (lowest first) snapshots for good; each has
    /// to be unpacked. Survives a power cut from here on.
    pub fn settle(&self, chain: &[ChainId]) -> Result<()> {
        if chain.iter().all(|chain_id| self.has(chain_id)) {
            return Ok(());
        }
        let _lock = self.settle_lock()?;
        let mut below: Vec<PathBuf> = Vec::new();
        let mut pending: Vec<(&ChainId, PathBuf)> = Vec::new();
        for chain_id in chain {
            if self.has(chain_id) {
                below.push(self.fs(chain_id));
                continue;
            }
            let staged = self.staged(chain_id)?;
            if pending.iter().any(|(known, _)| *known == chain_id) {
                below.push(staged.join("fs"));
                continue;
            }
            finish_layer(&staged, &below).context(|| format!("finish layer {chain_id}"))?;
            below.push(staged.join("fs"));
            pending.push((chain_id, staged));
        }
        let root = File::open(self.root())?;
        rustix::fs::syncfs(&root).context(|| "sync snapshots")?;
        for (chain_id, staged) in pending {
            let target = self.root().join(chain_id.0.hex());
            rustix::fs::rename(&staged, &target).context(|| format!("finish layer {chain_id}"))?;
        }
        root.sync_all().context(|| "sync snapshots")
    }
}

/// Fills in what the layers `below` (lowest first) know.
fn finish_layer(staged: &Path, below: &[PathBuf]) -> Result<()> {
    let record = staged.join("unfinished.json");
    let Some(unfinished) = Record::read_if_exists::<Unfinished>(&record)? else {
        // A settling that was interrupted came this far.
        return if staged.join("fs").exists() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::NotFound, "the layer is not unpacked"))
        };
    };
    let own = staged.join("fs");
    if unfinished.opaque_root {
        hide_all(&own, below)?;
    }
    for path in &unfinished.implied {
        adopt(&own, path, below).context(|| {
            let path = String::from_utf8_lossy(path);
            format!("take attributes of {path} from the layers below")
        })?;
    }
    if let (true, Some(top)) = (unfinished.implied_root, below.last()) {
        copy_attributes(&tree::open_directory(top)?, &tree::open_directory(&own)?)?;
    }
    std::fs::remove_file(&record)?;
    Ok(())
}

/// A directory that no entry described looks as it does in the layers below.
fn adopt(own: &Path, path: &[u8], below: &[PathBuf]) -> Result<()> {
    let Ok(mine) = open_below(own, path) else {
        // Replaced by a later entry.
        return Ok(());
    };
    for layer in below.iter().rev() {
        match open_below(layer, path) {
            Ok(theirs) => return copy_attributes(&theirs, &mine),
            Err(Errno::NOENT) => {}
            // Deleted or something else there.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Opens a directory by a path without links, component by component.
fn open_below(root: &Path, path: &[u8]) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let mut at = tree::open_child(CWD, root.as_os_str().as_encoded_bytes())?;
    for name in path.split(|byte| *byte == b'/') {
        at = tree::open_child(at.as_fd(), name)?;
    }
    Ok(at)
}

/// Overlayfs ignores an opaque mark on a layer's root, so each name below is
/// hidden by itself.
fn hide_all(own: &Path, below: &[PathBuf]) -> Result<()> {
    let root = tree::open_directory(own)?;
    let mut names = BTreeSet::new();
    for layer in below {
        for entry in rustix::fs::Dir::read_from(tree::open_directory(layer)?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.insert(name);
            }
        }
    }
    for name in names {
        match rustix::fs::statat(&root, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => whiteout::make_whiteout(root.as_fd(), &name)?,
            Err(error) => return Err(error.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                whiteout::make_opaque(tree::open_child(root.as_fd(), &name)?.as_fd())?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
