//! Mounts of a container that runs. The monitor makes them; what is to be made
//! is what a start would make at the same places.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use spec::runtime::Mount;
use state::{Channel, ContainerConfig, LiveMounts, MountKind, MountRequest, ToMonitor};
use sys::{Error, ErrorKind, Result};

use super::pause::ask;
use super::update::UpdateRequest;
use crate::undo::Undo;

/// What the kernel's own file systems show must be what they are.
const NOT_LIVE: [&str; 2] = ["/proc", "/sys"];

/// All mounts of a container: what was asked for, and what a start makes of it.
pub(super) struct Mounts {
    pub(super) requests: Vec<MountRequest>,
    pub(super) all: Vec<Mount>,
}

impl Mounts {
    /// Of a specification for this configuration.
    pub(super) fn of(config: &ContainerConfig, all: Vec<Mount>) -> Self {
        Self {
            requests: config.mounts.clone(),
            all,
        }
    }

    /// What is made where these are asked for and at one of `places`, in order.
    fn at(&self, places: &BTreeSet<&Path>) -> Vec<Mount> {
        let is_own = |mount: &&Mount| {
            let target = mount.destination.as_path();
            places.contains(target) && self.requests.iter().any(|one| one.target == target)
        };
        self.all.iter().filter(is_own).cloned().collect()
    }
}

/// Changes the mounts of a container from `old` to `new`, as `request` says.
/// `Unsupported` with the reason if that has to wait for a start.
pub(super) fn remount<'u>(
    channel: &'u Channel,
    request: &UpdateRequest,
    (old, new): (&Mounts, &Mounts),
    undo: &mut Undo<'u>,
) -> Result<()> {
    let asked = request.mounts.iter().map(|mount| mount.target.as_path());
    let changed: BTreeSet<&Path> = asked
        .chain(request.unmount.iter().map(PathBuf::as_path))
        .collect();
    check(&changed, old, new)?;
    let mut remove = targets(&old.requests, &changed);
    let is_free = |place: &&Path| !old.all.iter().any(|mount| mount.destination == **place);
    // Whoever was killed over such a change may have left something there.
    remove.extend(changed.iter().copied().filter(is_free).map(Path::to_owned));
    let there = LiveMounts {
        remove,
        add: new.at(&changed),
    };
    let back = LiveMounts {
        remove: targets(&new.requests, &changed),
        add: old.at(&changed),
    };
    tell(channel, &there)?;
    undo.push(move || tell(channel, &back));
    Ok(())
}

fn targets(requests: &[MountRequest], changed: &BTreeSet<&Path>) -> Vec<PathBuf> {
    let targets = requests.iter().map(|one| &one.target);
    let mut targets: Vec<PathBuf> = targets
        .filter(|target| changed.contains(target.as_path()))
        .cloned()
        .collect();
    // What lies below goes first.
    targets.sort_by_key(|target| std::cmp::Reverse(target.components().count()));
    targets
}

fn check(changed: &BTreeSet<&Path>, old: &Mounts, new: &Mounts) -> Result<()> {
    let later = |why: String| Err(Error::new(ErrorKind::Unsupported, why));
    for place in changed {
        if NOT_LIVE.iter().any(|kernel| place.starts_with(kernel)) {
            return later(format!(
                "{} belongs to what the kernel shows of itself",
                place.display()
            ));
        }
        let below = old.all.iter().chain(&new.all).find(|mount| {
            mount.destination.starts_with(place) && !changed.contains(mount.destination.as_path())
        });
        if let Some(below) = below {
            return later(format!(
                "{} is mounted below {}",
                below.destination.display(),
                place.display()
            ));
        }
        let is_memory = |mount: &&MountRequest| {
            mount.target == *place && matches!(mount.kind, MountKind::Tmpfs { .. })
        };
        if old.requests.iter().any(|mount| is_memory(&mount)) {
            return later(format!(
                "what is in the tmpfs {} is lost with it",
                place.display()
            ));
        }
    }
    Ok(())
}

fn tell(channel: &Channel, change: &LiveMounts) -> Result<()> {
    let text = serde_json::to_vec(change)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let list = sys::memfd::sealed("wharf-mounts", &text)?;
    ask(channel, &ToMonitor::ChangeMounts, &[list.as_fd()])
}
