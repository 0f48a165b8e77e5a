//! Which name means which manifest: `index.json` of the OCI image layout.
//!
//! Each entry is a manifest's descriptor; its name stands in the annotation
//! `org.opencontainers.image.ref.name`, in canonical form. A manifest with
//! several names has several entries; one that lost its last name to another
//! manifest keeps an entry without a name. Readers take no lock: the file is
//! replaced as a whole.

use std::path::{Path, PathBuf};

use spec::image::{Descriptor, Index, MediaType};
use spec::{Digest, Reference};
use state::{Durability, FileLock, Record};
use sys::Result;

const NAME: &str = "org.opencontainers.image.ref.name";

/// All names.
#[derive(Clone, Debug)]
pub struct References {
    path: PathBuf,
    lock: PathBuf,
}

/// A manifest that is kept, and one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `None` if the manifest lost its last name.
    pub reference: Option<Reference>,
    /// Without the name's annotation.
    pub manifest: Descriptor,
}

impl References {
    pub(crate) fn open(content: &Path) -> Self {
        Self {
            path: content.join("index.json"),
            lock: content.join("index.lock"),
        }
    }

    /// What `reference` means, if anything.
    pub fn get(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let wanted = Some(reference);
        let found = (self.list()?.into_iter()).find(|named| named.reference.as_ref() == wanted);
        Ok(found.map(|named| named.manifest))
    }

    /// All entries, in the order made.
    pub fn list(&self) -> Result<Vec<Named>> {
        let index: Option<Index> = Record::read_if_exists(&self.path)?;
        let entries = index.map(|index| index.manifests).unwrap_or_default();
        Ok(entries.into_iter().map(from_entry).collect())
    }

    /// Makes `reference` mean `manifest`, from one moment to the next. What it
    /// meant before stays without a name if that was its last.
    pub fn set(&self, reference: &Reference, manifest: &Descriptor) -> Result<()> {
        self.change(|entries| {
            let old = take(entries, |named| named.reference.as_ref() == Some(reference));
            entries.retain(|named| {
                named.reference.is_some() || named.manifest.digest != manifest.digest
            });
            for named in old {
                let other = named.manifest.digest != manifest.digest;
                if other && !has(entries, &named.manifest.digest) {
                    entries.push(Named {
                        reference: None,
                        manifest: named.manifest,
                    });
                }
            }
            entries.push(Named {
                reference: Some(reference.clone()),
                manifest: manifest.clone(),
            });
        })
    }

    /// Keeps `manifest` without a name, unless it is kept already.
    pub fn keep(&self, manifest: &Descriptor) -> Result<()> {
        self.change(|entries| {
            if !has(entries, &manifest.digest) {
                entries.push(Named {
                    reference: None,
                    manifest: manifest.clone(),
                });
            }
        })
    }

    /// Takes the name away; says what it meant. The manifest is kept only by
    /// its other names.
    pub fn remove(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let mut removed = None;
        self.change(|entries| {
            let old = take(entries, |named| named.reference.as_ref() == Some(reference));
            removed = old.into_iter().next().map(|named| named.manifest);
        })?;
        Ok(removed)
    }

    /// Takes every entry of the manifest away; says which names it had.
    pub fn remove_manifest(&self, digest: &Digest) -> Result<Vec<Reference>> {
        let mut removed = Vec::new();
        self.change(|entries| {
            let old = take(entries, |named| named.manifest.digest == *digest);
            removed = old
                .into_iter()
                .filter_map(|named| named.reference)
                .collect();
        })?;
        Ok(removed)
    }

    fn change(&self, act: impl FnOnce(&mut Vec<Named>)) -> Result<()> {
        let _lock = FileLock::exclusive(&self.lock)?;
        let mut entries = self.list()?;
        act(&mut entries);
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            manifests: entries.into_iter().map(to_entry).collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        Record::write(&self.path, &index, Durability::Synced)
    }
}

fn from_entry(mut manifest: Descriptor) -> Named {
    let name = manifest.annotations.remove(NAME);
    Named {
        reference: name.and_then(|name| name.parse().ok()),
        manifest,
    }
}

fn to_entry(named: Named) -> Descriptor {
    let mut entry = named.manifest;
    if let Some(reference) = named.reference {
        entry
            .annotations
            .insert(NAME.to_owned(), reference.to_string());
    }
    entry
}

fn has(entries: &[Named], digest: &Digest) -> bool {
    entries.iter().any(|named| named.manifest.digest == *digest)
}

fn take(entries: &mut Vec<Named>, wanted: impl Fn(&Named) -> bool) -> Vec<Named> {
    let all = std::mem::take(entries);
    let (taken, kept) = all.into_iter().partition(wanted);
    *entries = kept;
    taken
}

#[cfg(test)]
mod tests {
    use spec::Algorithm;

    use super::*;
    use crate::digest::digest_of;

    fn manifest(text: &str) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, text.as_bytes());
        Descriptor::new(MediaType::OciManifest, digest, text.len() as u64)
    }

    #[test]
    fn a_name_that_moves_leaves_a_nameless_image() {
        let scratch = tempfile::tempdir().unwrap();
        let references = References::open(scratch.path());
        let name: Reference = "db:v1".parse().unwrap();
        assert_eq!(references.get(&name).unwrap(), None);
        let (one, two) = (manifest("one"), manifest("two"));
        references.set(&name, &one).unwrap();
        references.set(&name, &one).unwrap();
        assert_eq!(references.list().unwrap().len(), 1);
        references.set(&name, &two).unwrap();
        assert_eq!(references.get(&name).unwrap(), Some(two.clone()));
        let nameless = Named {
            reference: None,
            manifest: one.clone(),
        };
        assert_eq!(references.list().unwrap()[0], nameless);
        // Named again, it needs no nameless entry.
        references.set(&"old".parse().unwrap(), &one).unwrap();
        assert_eq!(references.list().unwrap().len(), 2);
        assert_eq!(references.remove(&name).unwrap(), Some(two));
        assert_eq!(references.remove(&name).unwrap(), None);
        assert_eq!(references.remove_manifest(&one.digest).unwrap().len(), 1);
        assert!(references.list().unwrap().is_empty());
    }

    #[test]
    fn writers_do_not_lose_each_other() {
        let scratch = tempfile::tempdir().unwrap();
        let references = References::open(scratch.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let references = &references;
                scope.spawn(move || {
                    for round in 0..5 {
                        let name = format!("image-{thread}:{round}").parse().unwrap();
                        references
                            .set(&name, &manifest(&format!("{thread}")))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(references.list().unwrap().len(), 20);
    }
}
