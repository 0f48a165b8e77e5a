//! Looking, without changing anything, for what nothing refers to and for what
//! is referred to and missing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use spec::image::{Descriptor, ImageConfig, Manifest};
use sys::{Context as _, Result};

use crate::digest::{Hasher, chain_of};
use crate::store::{Store, parse};
use crate::sweep::{KeepAlive, Marked, file_name, members, usable};

/// Something that should not be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    #[default]
    Names,
    /// Read every blob and compare its digest.
    Content,
}

impl Store {
    /// Compares the store with what names and `keep` need. Waits for all who
    /// hold [`Store::use_lock`], so the caller must not; `keep` is asked under
    /// the lock.
    pub fn audit(
        &self,
        keep: impl FnOnce() -> Result<KeepAlive>,
        depth: Depth,
    ) -> Result<Vec<Finding>> {
        let _lock = self.sweep_lock()?;
        let keep = keep()?;
        let marked = self.marked(&keep)?;
        let mut found = Vec::new();
        self.audit_blobs(&marked, depth, &mut found)?;
        self.audit_snapshots(&marked, &keep, &mut found)?;
        let named = self
            .references()
            .list()?
            .into_iter()
            .map(|one| one.manifest);
        for manifest in named.chain(keep.manifests) {
            self.audit_image(&manifest, &mut found)?;
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found.dedup();
        Ok(found)
    }

    fn audit_blobs(&self, marked: &Marked, depth: Depth, found: &mut Vec<Finding>) -> Result<()> {
        for (digest, _) in self.content().list()? {
            let path = self.content().path(&digest);
            if !marked.blobs.contains(&digest) {
                note(found, path, "no image needs this blob");
            } else if depth == Depth::Content {
                let mut hasher = Hasher::new(digest.algorithm());
                let mut file = self.content().open_blob(&digest)?;
                let mut buffer = vec![0; 1 << 20];
                loop {
                    let length = file
                        .read(&mut buffer)
                        .context(|| format!("read {}", path.display()))?;
                    if length == 0 {
                        break;
                    }
                    hasher.update(&buffer[..length]);
                }
                if hasher.finish() != digest {
                    note(found, path, "the content is not what the digest says");
                }
            }
        }
        Ok(())
    }

    fn audit_snapshots(
        &self,
        marked: &Marked,
        keep: &KeepAlive,
        found: &mut Vec<Finding>,
    ) -> Result<()> {
        let root = self.snapshots().root();
        for path in members(root)? {
            let name = file_name(&path);
            match name.as_str() {
                "active" | "staging" | "empty" => {}
                _ if marked.chains.iter().any(|chain| chain.0.hex() == name) => {}
                _ => note(found, path, "no image needs this layer"),
            }
        }
        for path in members(&root.join("active"))? {
            let name = file_name(&path);
            if !keep.active.iter().any(|id| id.to_string() == name) {
                note(found, path, "no container has this writable layer");
            }
        }
        for id in &keep.active {
            let upper = self.snapshots().upper(id);
            if !upper.is_dir() {
                note(found, upper, "the container's writable layer is missing");
            }
            for path in self.snapshots().sealed(id)? {
                if !path.is_dir() {
                    note(
                        found,
                        path,
                        "a snapshot that the container stands on is missing",
                    );
                }
            }
        }
        let staging = self.snapshots().staging_root()?;
        for path in members(&root.join("staging"))? {
            if path.is_dir() && path != staging {
                note(
                    found,
                    path,
                    "layers that were being unpacked before a reboot",
                );
            }
        }
        Ok(())
    }

    fn audit_image(&self, manifest: &Descriptor, found: &mut Vec<Finding>) -> Result<()> {
        if manifest.media_type.is_index() {
            // Of an index only one platform is here.
            return Ok(());
        }
        let missing = "an image needs this blob, and it is missing or damaged";
        let Some(bytes) = usable(self.content().read(manifest))? else {
            note(found, self.content().path(&manifest.digest), missing);
            return Ok(());
        };
        let Some(document) = usable(parse::<Manifest>(&bytes, "manifest"))? else {
            note(found, self.content().path(&manifest.digest), missing);
            return Ok(());
        };
        let config = usable(self.content().read(&document.config))?;
        let Some(config) = config else {
            note(found, self.content().path(&document.config.digest), missing);
            return Ok(());
        };
        for layer in &document.layers {
            if usable(self.content().size(&layer.digest))? != Some(layer.size) {
                note(found, self.content().path(&layer.digest), missing);
            }
        }
        if let Some(config) = usable(parse::<ImageConfig>(&config, "image config"))? {
            for chain in chain_of(&config.rootfs.diff_ids) {
                let path = self.snapshots().fs(&chain);
                if path.parent().is_some_and(Path::exists) && !path.is_dir() {
                    note(found, path, "half of this layer is missing");
                }
            }
        }
        Ok(())
    }
}

fn note(found: &mut Vec<Finding>, path: PathBuf, why: &str) {
    found.push(Finding {
        path,
        why: why.to_owned(),
    });
}
