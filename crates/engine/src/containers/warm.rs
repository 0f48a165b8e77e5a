//! Warm images: `commit --memory`, and what a container's first start goes on
//! from.
//!
//! ```text
//! … the image's layers, and what the container changed
//! .wharf-memory/{warm.json,memory/,volumes/<n>/}     one more layer, which nobody sees,
//! .wh..wharf-memory                                  for the last layer hides it
//! ```
//! They are ordinary layers: any registry and any tool carries them, and who
//! knows nothing of this starts the image as ever. An image is trusted with no
//! more for it: what a container may do comes from its own settings.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use image::{Image, Store};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};
use spec::{ChainId, Digest};
use state::{
    ContainerConfig, MountKind, NamespaceModes, ProcessConfig, Record, Status, TemplateRecord,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::checkpoint::make;
use super::request::CommitRequest;
use super::start::Locked;
use super::{Containers, DumpProgress};
use crate::copy::copy_merged;
use crate::crash::crash_point;
use crate::difference::leave_out;
use crate::templates::Held;

/// Says that an image may be warm, so that others need not be looked at.
pub(super) const LABEL: &str = "io.wharf.memory";

/// Hidden in the image.
const PLACE: &str = ".wharf-memory";

const VERSION: u32 = 1;

/// More than a memory image may consist of need not be looked for.
const MEMORIES_MAX: usize = 32;

/// What the memory in an image goes with (`warm.json`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmRecord {
    version: u32,
    process: ProcessConfig,
    /// Where something is mounted, sorted.
    mounts: Vec<PathBuf>,
    /// Where volumes are mounted of which there are copies, in their order.
    volumes: Vec<PathBuf>,
}

impl Containers<'_> {
    /// As [`Containers::commit`], with its memory and its volumes; it runs on.
    pub fn commit_warm(
        &self,
        container: &str,
        request: &CommitRequest,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<Digest> {
        let (name, parent, mut options) = self.commit_options(container, request)?;
        let template = self.template_of(container, None, tell)?;
        let record = template.record()?;
        let store = self.engine.images().store()?;
        for mount in &record.volumes {
            let target = mount.display().to_string();
            options.config.volumes.entry(target).or_default();
        }
        let label = (LABEL.to_owned(), VERSION.to_string());
        options.config.labels.extend([label]);
        // What the image's memory has is in the new image as well.
        let bases = memories(&store, &parent.chain)?;
        leave_out(self.engine, &template.memory(), &bases)?;
        let hidden = hidden_layers(&template, &record)?;
        crash_point!(self.engine, "after hidden layers");
        let written = image::template_layers(&template.path());
        let image = image::commit_layers(&store, &written, &hidden, &parent, options)?;
        store.ensure_unpacked(&image)?;
        if let Some(name) = name {
            store.references().set(&name, &image.manifest)?;
        }
        self.engine.tell(
            &record.config,
            "commit",
            &[("imageID", image.id.to_string())],
        );
        Ok(image.id)
    }
}

/// Makes the layer with the memory, and the one that hides it, of what the
/// template has.
fn hidden_layers(template: &Held, record: &TemplateRecord) -> Result<[PathBuf; 2]> {
    let (memory, hide) = (
        template.path().join("memory-layer"),
        template.path().join("hide"),
    );
    let inside = memory.join(PLACE);
    for directory in [&memory, &inside, &hide, &inside.join("volumes")] {
        make(directory)?;
    }
    let rename = |from: &Path, to: &Path| -> Result<()> {
        fs::rename(from, to).context(|| format!("make {}", to.display()))
    };
    rename(&template.memory(), &inside.join("memory"))?;
    for number in 0..record.volumes.len() {
        let layers =
            image::template_layers(&template.path().join("volumes").join(number.to_string()));
        let to = inside.join("volumes").join(number.to_string());
        if let [only] = layers.as_slice() {
            rename(only, &to)?;
        } else {
            make(&to)?;
            copy_merged(&layers, &to)?;
        }
    }
    let config = &record.config;
    let warm = WarmRecord {
        version: VERSION,
        process: config.process.clone(),
        mounts: targets(config),
        volumes: record.volumes.clone(),
    };
    Record::create(&inside.join("warm.json"), &warm)?;
    let whiteout = hide.join(PLACE);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &whiteout,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .context(|| format!("make {}", whiteout.display()))?;
    Ok([memory, hide])
}

fn targets(config: &ContainerConfig) -> Vec<PathBuf> {
    let mut targets: Vec<PathBuf> = config.mounts.iter().map(|one| one.target.clone()).collect();
    targets.sort();
    targets
}

/// The memory in an image.
pub(super) struct Warm {
    layer: ChainId,
    /// On the host.
    place: PathBuf,
    record: WarmRecord,
}

impl Warm {
    /// `None` if the image has none.
    pub(super) fn of(store: &Store, image: &Image) -> Result<Option<Self>> {
        if !image.config.config.labels.contains_key(LABEL) {
            return Ok(None);
        }
        let [.., layer, _hide] = image.chain.as_slice() else {
            return Ok(None);
        };
        let Some(place) = place_in(&store.snapshots().fs(layer), "warm.json")? else {
            // Made from a warm one, with more on top.
            return Ok(None);
        };
        let record: WarmRecord = Record::read(&place.join("warm.json"))
            .context(|| "read what the image's memory goes with")?;
        if record.version != VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "its memory has form {}, and this program knows {VERSION}",
                    record.version
                ),
            ));
        }
        Ok(Some(Self {
            layer: *layer,
            place,
            record,
        }))
    }

    /// Why a container with these settings cannot go on from it.
    pub(super) fn misfit(&self, config: &ContainerConfig) -> Option<&'static str> {
        let own = &self.record.process;
        let asked = &config.process;
        let command = |one: &ProcessConfig| [&one.entrypoint[..], &one.command].concat();
        if command(own) != command(asked) {
            return Some("it is to run another command");
        }
        let same = own.env == asked.env
            && own.workdir == asked.workdir
            && (&own.user, &own.groups) == (&asked.user, &asked.groups)
            && (own.tty, own.init) == (asked.tty, asked.init);
        if !same {
            return Some("environment, user, directory or terminal are to be others");
        }
        if targets(config) != self.record.mounts {
            return Some("something else is to be mounted in it");
        }
        if config.namespaces != NamespaceModes::default() {
            return Some("namespaces are to be shared");
        }
        let is_new = |target: &PathBuf| {
            config.mounts.iter().any(|mount| {
                mount.target == *target
                    && matches!(&mount.kind, MountKind::Volume(volume) if volume.anonymous)
            })
        };
        if !self.record.volumes.iter().all(is_new) {
            return Some("a volume is to be another one than the image's");
        }
        None
    }

    pub(super) fn layer(&self) -> ChainId {
        self.layer
    }

    /// The image's copies of volumes that `config` has new ones of: which
    /// mounts these are, and where. They are not filled otherwise.
    pub(super) fn claim_volumes(
        &self,
        config: &mut ContainerConfig,
    ) -> Result<Vec<(usize, PathBuf)>> {
        let mut claimed = Vec::new();
        for (number, target) in self.record.volumes.iter().enumerate() {
            let name = format!("volumes/{number}");
            for (index, mount) in config.mounts.iter_mut().enumerate() {
                if mount.target == *target
                    && let MountKind::Volume(volume) = &mut mount.kind
                    && volume.anonymous
                    && volume.name.is_empty()
                    && open_in(&self.place, &name)?.is_some()
                {
                    volume.no_copy = true;
                    claimed.push((index, self.place.join(&name)));
                }
            }
        }
        Ok(claimed)
    }
}

impl Locked<'_> {
    /// The memory that the first start of a container from a warm image goes
    /// on from, and what it may stand on; empty if there is none.
    pub(super) fn warm_memory(&self) -> Result<Vec<PathBuf>> {
        let observed = &self.observed;
        let never_ran = matches!(observed.status, Status::Created) && observed.exit.is_none();
        let Some(layer) = observed.config.warm.filter(|_| never_ran) else {
            return Ok(Vec::new());
        };
        let chain = &observed.config.image.chain;
        let Some(top) = chain.iter().position(|one| *one == layer) else {
            return Ok(Vec::new());
        };
        let store = self.engine.images().store()?;
        let own = place_in(&store.snapshots().fs(&layer), "memory/checkpoint")?;
        match own {
            Some(_) => memories(&store, &chain[..=top]),
            None => Ok(Vec::new()),
        }
    }
}

/// The memory in an image and in those that it was made from, each of which is
/// below the one before. As many as one image may consist of.
fn memories(store: &Store, chain: &[ChainId]) -> Result<Vec<PathBuf>> {
    let snapshots = store.snapshots();
    let mut found = Vec::new();
    for layer in chain.iter().rev() {
        if found.len() == MEMORIES_MAX {
            break;
        }
        if let Some(place) = place_in(&snapshots.fs(layer), "memory/checkpoint")? {
            found.push(place.join("memory"));
        }
    }
    Ok(found)
}

/// Where the memory is in a layer, if `wanted` is in it. The layer comes from
/// elsewhere: no link is followed.
fn place_in(layer: &Path, wanted: &str) -> Result<Option<PathBuf>> {
    let path = format!("{PLACE}/{wanted}");
    Ok(open_in(layer, &path)?.map(|_| layer.join(PLACE)))
}

fn open_in(directory: &Path, path: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(directory, flags, Mode::empty())
        .context(|| format!("open {}", directory.display()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match sys::path::openat2(&top, path, flags, Mode::empty(), resolve) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            Ok(None)
        }
        Err(errno) => Err(errno).context(|| format!("open {path} in {}", directory.display())),
    }
}
