//! `save`, `load` and `import`.

use std::io::{Read, Write};

use image::archive::{self, Loaded};
use image::{Image, ImportOptions, apply_changes};
use spec::Reference;
use spec::image::{ContainerDefaults, LayerCompression, Platform};
use sys::{Error, ErrorKind, Result};

use super::{Images, parse_name};

/// A root file system that becomes an image.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Name of the new image; it stays without one if absent.
    pub name: Option<String>,
    pub message: Option<String>,
    /// Dockerfile instructions, such as `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// The host's if absent.
    pub platform: Option<Platform>,
}

/// Told the bytes so far.
pub type OnBytes<'a> = &'a dyn Fn(u64);

impl Images<'_> {
    /// Writes images as one tar that both `docker load` and OCI tools read. A
    /// name saves the image with that name, an id with none, as Docker does;
    /// a repository without a tag saves all its tags.
    pub fn save<W: Write>(&self, names: &[String], sink: W, on_bytes: OnBytes<'_>) -> Result<W> {
        if names.is_empty() {
            let words = "no image is named that should be saved";
            return Err(Error::new(ErrorKind::InvalidInput, words));
        }
        let store = self.store()?;
        let mut chosen: Vec<(Image, Vec<Reference>)> = Vec::new();
        for text in names {
            for (image, name) in self.meant(text)? {
                let same =
                    |(known, _): &&mut (Image, _)| known.manifest.digest == image.manifest.digest;
                match chosen.iter_mut().find(same) {
                    Some((_, names)) => names.extend(name),
                    None => chosen.push((image, name.into_iter().collect())),
                }
            }
        }
        for (_, names) in &mut chosen {
            names.sort();
            names.dedup();
        }
        archive::save(&store, &chosen, sink, on_bytes)
    }

    /// Takes in the images of an archive: what `docker save` or an OCI tool
    /// wrote, plain or compressed.
    pub fn load(&self, source: impl Read, on_bytes: OnBytes<'_>) -> Result<Vec<Loaded>> {
        let loaded = archive::load(&self.store()?, source, on_bytes)?;
        for one in &loaded {
            self.tell("load", &one.image.id, one.references.first());
        }
        Ok(loaded)
    }

    /// Makes an image of a tar of a root file system, plain or compressed.
    pub fn import(
        &self,
        request: &ImportRequest,
        source: impl Read,
        on_bytes: OnBytes<'_>,
    ) -> Result<Image> {
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let mut config = ContainerDefaults::default();
        apply_changes(&mut config, &request.changes)?;
        let store = self.store()?;
        let options = ImportOptions {
            message: request.message.clone(),
            config,
            platform: request.platform.clone().unwrap_or_else(Platform::host),
            compression: LayerCompression::Gzip,
        };
        let image = image::import(&store, source, options, on_bytes)?;
        self.tell("import", &image.id, name.as_ref());
        match name {
            Some(name) => {
                store.references().set(&name, &image.manifest)?;
                store.load(image.manifest.digest)
            }
            None => Ok(image),
        }
    }

    /// The images, each with the name to save it by, that `text` means.
    fn meant(self, text: &str) -> Result<Vec<(Image, Option<Reference>)>> {
        let store = self.store()?;
        if let Ok(wanted) = text.parse::<Reference>() {
            // `localhost:5000/db` has a colon, and no tag.
            let last = text.rsplit('/').next().unwrap_or_default();
            let is_repository = !last.contains([':', '@']);
            let mut found = Vec::new();
            for image in store.list()? {
                for name in &image.references {
                    let same_repository = name.registry() == wanted.registry()
                        && name.repository() == wanted.repository();
                    if *name == wanted
                        || (is_repository && same_repository && name.digest().is_none())
                    {
                        found.push((image.clone(), Some(name.clone())));
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![(store.find(text)?, None)])
    }
}
