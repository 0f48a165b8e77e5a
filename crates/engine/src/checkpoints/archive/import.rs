//! An archive becomes a checkpoint.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use image::Limits;
use image::layer::{apply, compression};
use rustix::fs::{CWD, Mode, OFlags};
use state::checkpoint::CHECKPOINT_VERSION;
use state::container::CONFIG_VERSION;
use state::{CheckpointRecord, ContainerConfig};
use sys::{Context as _, Error, ErrorKind, Result};

use super::super::{Checkpoint, Checkpoints, Unfinished, trust};
use super::member::{Member, Members};
use super::{FORMAT, HEADER, Header, ImportRequest, LAYER, METADATA, PAGES, RECORD, SUMS, Sums};
use crate::containers::anonymous_volumes;

const CHUNK: usize = 1 << 20;
/// Of a small document, of the record, of the description of processes.
const SMALL: u64 = 64 << 10;
const RECORD_MAX: u64 = 16 << 20;
const METADATA_MAX: u64 = 257 << 20;
/// Of memory: 47 bits are an address space.
const PAGES_MAX: u64 = 1 << 47;
/// More volumes than anybody has.
const VOLUMES_MAX: usize = 1000;

impl Checkpoints<'_> {
    /// Takes an archive in. `Denied` if it asks for more than it is granted.
    /// On failure nothing is left of it. `tell` hears the bytes so far.
    pub fn import(
        &self,
        source: impl Read,
        request: &ImportRequest,
        tell: &dyn Fn(u64),
    ) -> Result<Checkpoint> {
        let layout = self.engine.layout();
        let limits = &Limits::from(&self.engine.config().settings.limits);
        let mut packed = BufReader::with_capacity(CHUNK, source);
        let plain = compression::decoder(&mut packed)?;
        let mut members = Members::new(BufReader::with_capacity(CHUNK, plain));
        let header: Header = members.document(HEADER, SMALL)?;
        if header.format != FORMAT {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the archive has form {}, and this program reads form {FORMAT}",
                    header.format
                ),
            ));
        }
        let name = request.name.clone().unwrap_or(header.name);
        let mut record: CheckpointRecord = members.document(RECORD, RECORD_MAX)?;
        check(&record)?;
        if !request.trust {
            refuse_demands(&record.config)?;
            // Which ports of this host are published is said here.
            record.config.ports.clear();
            record.config.publish_all = false;
        }
        let unfinished = Unfinished::begin(layout, &name)?;
        make(&unfinished.memory())?;
        for (name, limit) in [(METADATA, METADATA_MAX), (PAGES, PAGES_MAX)] {
            let path = unfinished.path().join(name);
            members.take(name, limit, |member| write(&path, member, tell))?;
        }
        make(&unfinished.layer())?;
        tree(&mut members, LAYER, &unfinished.layer(), limits)?;
        let volumes = anonymous_volumes(&record.config).count();
        for number in 0..volumes {
            if number == 0 {
                make(&unfinished.path().join("volumes"))?;
            }
            let into = unfinished.volume(number);
            make(&into)?;
            tree(&mut members, &super::volume(number), &into, limits)?;
            tell(members.bytes());
        }
        let seen = members.sums.clone();
        let sums: Sums = members.document(SUMS, SMALL + 200 * VOLUMES_MAX as u64)?;
        if sums != seen {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "its content is not what its digests say: it was damaged on its way",
            ));
        }
        unfinished.complete(&record)?;
        unfinished.name(layout, &name)?;
        Ok(Checkpoint { name, record })
    }
}

fn check(record: &CheckpointRecord) -> Result<()> {
    let versions = (record.version, record.config.version);
    if versions != (CHECKPOINT_VERSION, CONFIG_VERSION) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the checkpoint was made by another version of this program",
        ));
    }
    if anonymous_volumes(&record.config).count() > VOLUMES_MAX {
        return Err(Error::new(ErrorKind::Corrupt, "it has too many volumes"));
    }
    Ok(())
}

fn refuse_demands(config: &ContainerConfig) -> Result<()> {
    let demands = trust::demands(config);
    if demands.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "the checkpoint asks for {}: import it with --trust if you trust where it comes from",
            demands.join(", ")
        ),
    ))
}

fn make(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}

fn write<R: BufRead>(path: &Path, member: &mut Member<'_, R>, tell: &dyn Fn(u64)) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("make {}", path.display()))?;
    let mut buffer = vec![0; CHUNK];
    let mut written = 0;
    while written < member.size() {
        let length = member.read(&mut buffer)?;
        if length == 0 {
            return Err(Error::new(ErrorKind::Corrupt, "it is cut off"));
        }
        file.write_all(&buffer[..length])
            .context(|| format!("write {}", path.display()))?;
        written += length as u64;
        tell(written);
    }
    Ok(())
}

/// A layer that describes all of itself: there is nothing below it to ask.
fn tree<R: BufRead>(
    members: &mut Members<R>,
    name: &str,
    into: &Path,
    limits: &Limits,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = rustix::fs::openat(CWD, into, flags, Mode::empty())
        .context(|| format!("open {}", into.display()))?;
    let most = limits.max_layer_bytes.saturating_mul(2);
    let open = members.take(name, most, |member| {
        apply::apply(BufReader::with_capacity(CHUNK, member), directory, limits)
    })?;
    if !open.implied.is_empty() || open.implied_root || open.opaque_root {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{name} leaves directories undescribed"),
        ));
    }
    Ok(())
}
