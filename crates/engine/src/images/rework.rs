//! Images from images: all layers as one, and layers on another base.

use image::{Image, ImportOptions};
use spec::image::{LayerCompression, Platform};
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Images, parse_name};
use crate::copy::with_layers;

impl Images<'_> {
    /// An image of one layer with the same files and settings.
    pub fn squash(&self, text: &str, name: Option<&str>, message: Option<String>) -> Result<Image> {
        let name = name.map(parse_name).transpose()?;
        let store = self.store()?;
        let image = store.find(text)?;
        store.ensure_unpacked(&image)?;
        let config = &image.config;
        let options = ImportOptions {
            message: Some(message.unwrap_or_else(|| format!("squashed from {}", image.id))),
            config: config.config.clone(),
            platform: Platform {
                os: config.os.clone(),
                architecture: config.architecture.clone(),
                variant: config.variant.clone(),
                os_version: config.os_version.clone(),
                os_features: Vec::new(),
            },
            compression: LayerCompression::Gzip,
        };
        let lower = image
            .chain
            .iter()
            .rev()
            .map(|layer| store.snapshots().fs(layer))
            .collect();
        let (reader, writer) = std::io::pipe().context(|| "make a pipe")?;
        let squashed = std::thread::scope(|scope| {
            let packer = scope.spawn(|| {
                with_layers(self.engine.layout(), lower, |root| {
                    let root = rustix::fs::openat(
                        root,
                        ".",
                        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
                        rustix::fs::Mode::empty(),
                    )?;
                    let root_entry = image::layer::diff::Root::Described;
                    image::layer::diff::diff(&root, root_entry, &|_| false, writer).map(drop)
                })
            });
            let squashed = image::import(&store, reader, options, &|_| {});
            let packed = packer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The packer's words are the cause, if both failed.
            packed.and(squashed)
        })
        .context(|| format!("squash {text}"))?;
        self.finish(squashed, name)
    }

    /// The layers that an image has above `from` (found among the images here
    /// if absent), on top of `onto`.
    pub fn rebase(
        &self,
        text: &str,
        from: Option<&str>,
        onto: &str,
        name: Option<&str>,
    ) -> Result<Image> {
        let name = name.map(parse_name).transpose()?;
        let store = self.store()?;
        let (image, onto) = (store.find(text)?, store.find(onto)?);
        let from = match from {
            Some(from) => store.find(from)?,
            None => base_of(&image, store.list()?).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("no image here is the base of {text}: name it with --from"),
                )
            })?,
        };
        if !image.chain.starts_with(&from.chain) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("image {} is no base of {text}", from.id),
            ));
        }
        let told = (&image.config.os, &image.config.architecture);
        if told != (&onto.config.os, &onto.config.architecture) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{text} is for {}/{}, and its new base for {}/{}",
                    told.0, told.1, onto.config.os, onto.config.architecture
                ),
            ));
        }
        let rebased =
            image::rebase(&store, &image, &from, &onto).context(|| format!("rebase {text}"))?;
        self.finish(rebased, name)
    }

    fn finish(self, image: Image, name: Option<spec::Reference>) -> Result<Image> {
        let store = self.store()?;
        self.tell("import", &image.id, name.as_ref());
        let Some(name) = name else { return Ok(image) };
        store.references().set(&name, &image.manifest)?;
        store.load(image.manifest.digest)
    }
}

/// The image with a name and the most layers whose layers are the lower ones of
/// `image`.
fn base_of(image: &Image, all: Vec<Image>) -> Option<Image> {
    let is_base = |other: &Image| {
        !other.references.is_empty()
            && !other.chain.is_empty()
            && other.chain.len() < image.chain.len()
            && image.chain.starts_with(&other.chain)
    };
    all.into_iter()
        .filter(is_base)
        .max_by_key(|other| other.chain.len())
}
