//! `ps`: two small files per container that runs, no locks.

mod filter;

use std::collections::BTreeMap;

use serde::Deserialize;
use spec::Digest;
use state::container::DEFAULT_NETWORK;
use state::{
    CloneOf, ContainerConfig, ContainerId, Endpoint, HealthStatus, MountKind, MountRequest,
    NetworkMode, PortMapping, PortRange, PortRequest, Protocol, Status, Timestamp,
};
use sys::{Error, ErrorKind, Result};

pub use self::filter::{ListFilter, StatusFilter};
use super::Containers;
use super::observe::{self, Observed};
use super::words::{state_word, status_text};

/// So few are looked at faster than threads are started.
const FEW: usize = 32;
/// Threads that look at containers at once.
const AT_ONCE_MAX: usize = 8;

/// Which containers are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Those that do not run, too.
    pub all: bool,
    /// The newest so many, whether they run or not.
    pub last: Option<usize>,
    pub filters: Vec<ListFilter>,
    /// Find out the size of the writable layer (slow).
    pub size: bool,
}

/// One line of `ps`.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSummary {
    pub id: ContainerId,
    pub name: String,
    /// As the user wrote it.
    pub image: String,
    pub image_id: Digest,
    /// Entrypoint and arguments, put together.
    pub command: Vec<String>,
    pub created: Timestamp,
    pub status: Status,
    /// While it runs, if it is probed.
    pub health: Option<HealthStatus>,
    /// Published; empty unless it runs.
    pub ports: Vec<PortMapping>,
    /// Exposed by the image or the user, published or not.
    pub exposed: Vec<(PortRange, Protocol)>,
    pub labels: BTreeMap<String, String>,
    /// Names of volumes and sources of bind mounts.
    pub mounts: Vec<String>,
    /// Number of volumes among them.
    pub local_volumes: usize,
    pub networks: Vec<String>,
    /// Bytes of the writable layer, if asked for.
    pub size: Option<u64>,
    /// What it is a clone of, and how that was called then.
    pub parent: Option<(ContainerId, String)>,
}

/// Docker's word for a status.
pub fn state_of(status: &Status) -> &'static str {
    state_word(status)
}

impl ContainerSummary {
    /// `created`, `running`, `paused`, `restarting`, `exited`.
    pub fn state(&self) -> &'static str {
        state_word(&self.status)
    }

    /// As `Up 5 minutes` or `Exited (0) 2 hours ago`.
    pub fn status_text(&self, now: Timestamp) -> String {
        status_text(&self.status, self.health, now)
    }
}

impl Containers<'_> {
    /// Newest first. No lock is taken, and one that goes meanwhile is left
    /// out; one whose monitor was killed is cleaned up.
    pub fn list(&self, request: &ListRequest) -> Result<Vec<ContainerSummary>> {
        let filters = self.prepare(&request.filters)?;
        let about_status = request
            .filters
            .iter()
            .any(|filter| matches!(filter, ListFilter::Status(_) | ListFilter::Exited(_)));
        let wants_ended = request.all || request.last.is_some() || about_status;
        let directory = if wants_ended {
            self.engine.layout().containers()
        } else {
            // Whatever runs, and what ended and was not cleaned up after, has a
            // run directory: the others need not be looked at.
            self.engine.layout().run_containers()
        };
        let entries = crate::entries(&directory)?;
        let ids: Vec<ContainerId> = entries
            .iter()
            .filter_map(|entry| entry.parse().ok())
            .collect();
        let mut all = spread(ids, |id| {
            let wanted = self.observe_healed(&id)?.filter(|one| {
                (wants_ended || one.is_running() || matches!(one.status, Status::Restarting(_)))
                    && filters.pass(one)
            });
            let summary = wanted.map(|one| self.summary(one)).transpose()?;
            // They are large, and will be sorted.
            Ok(summary.map(Box::new))
        })?;
        all.sort_by_key(|one| std::cmp::Reverse(one.created));
        if let Some(last) = request.last {
            all.truncate(last);
        }
        if request.size {
            let store = self.engine.images().store()?;
            for one in &mut all {
                one.size = Some(store.snapshots().usage(&one.id)?);
            }
        }
        Ok(all.into_iter().map(|one| *one).collect())
    }

    /// As it is, after mending what a killed monitor or a cut off removal left.
    fn observe_healed(&self, id: &ContainerId) -> Result<Option<Observed<Listed>>> {
        let observed = observe::observe_part(self.engine, id)?;
        let needs_mending = match &observed {
            Some(observed) => observed.ended_unseen(),
            None => self.engine.is_half_removed(id),
        };
        if !needs_mending {
            return Ok(observed);
        }
        // What fails here is said by the next command that changes it.
        let _ = self.engine.cleanup_if_free(id);
        observe::observe_part(self.engine, id)
    }

    /// All but its size.
    fn summary(&self, observed: Observed<Listed>) -> Result<ContainerSummary> {
        let is_running = observed.is_running();
        let config = observed.config;
        let networks = config.networks();
        let mut ports = Vec::new();
        if is_running && config.publishes() {
            for record in observe::networks(self.engine, &config.id)? {
                ports.extend(record.ports);
            }
        }
        let mut command = config.process.entrypoint;
        command.extend(config.process.command);
        let is_volume = |kind: &MountKind| matches!(kind, MountKind::Volume(_));
        Ok(ContainerSummary {
            id: config.id,
            name: config.name,
            image: config.image.name,
            image_id: config.image.id,
            command,
            created: config.created,
            health: observed
                .facts
                .filter(|_| is_running)
                .and_then(|facts| facts.health),
            status: observed.status,
            ports,
            exposed: config.exposed,
            labels: config.labels,
            local_volumes: config
                .mounts
                .iter()
                .filter(|mount| is_volume(&mount.kind))
                .count(),
            mounts: config
                .mounts
                .iter()
                .filter_map(|mount| source(&mount.kind))
                .collect(),
            networks,
            size: None,
            parent: config
                .clone_of
                .map(|origin| (origin.parent, origin.parent_name.to_string())),
        })
    }
}

/// What a listing needs of a [`ContainerConfig`]: with a thousand containers
/// it shows whether the rest is built up or skipped.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    id: ContainerId,
    name: String,
    created: Timestamp,
    image: ListedImage,
    process: ListedProcess,
    #[serde(default)]
    mounts: Vec<MountRequest>,
    network: NetworkMode,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Vec<PortRequest>,
    #[serde(default)]
    exposed: Vec<(PortRange, Protocol)>,
    #[serde(default)]
    publish_all: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    clone_of: Option<CloneOf>,
}

#[derive(Clone, Debug, Deserialize)]
struct ListedImage {
    name: String,
    id: Digest,
}

#[derive(Clone, Debug, Deserialize)]
struct ListedProcess {
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Listed {
    fn networks(&self) -> Vec<String> {
        network_names(&self.network, self.endpoints.as_deref())
    }

    /// Whether a record of its networks can have a port in it.
    fn publishes(&self) -> bool {
        self.network == NetworkMode::Bridge && (self.publish_all || !self.ports.is_empty())
    }
}

/// Name of a volume or path of a bind mount.
fn source(kind: &MountKind) -> Option<String> {
    match kind {
        MountKind::Bind { source, .. } => Some(source.display().to_string()),
        MountKind::Volume(volume) => Some(volume.name.clone()),
        MountKind::Cloned(volume) => Some(volume.name.clone()),
        MountKind::Image(image) => Some(image.name.clone()),
        MountKind::Tmpfs { .. } => None,
    }
}

/// Names of networks, or `none`, `host`, `container:<id>`.
fn network_names(mode: &NetworkMode, endpoints: Option<&[Endpoint]>) -> Vec<String> {
    match (mode, endpoints) {
        (NetworkMode::Bridge, None) => vec![DEFAULT_NETWORK.to_owned()],
        (NetworkMode::Bridge, Some(endpoints)) => {
            let names = endpoints.iter().map(|endpoint| &endpoint.network);
            names.cloned().collect()
        }
        (NetworkMode::None, _) => vec!["none".to_owned()],
        (NetworkMode::Host, _) => vec!["host".to_owned()],
        (NetworkMode::Container(other), _) => vec![format!("container:{other}")],
    }
}

/// As `--network` had it.
pub(super) fn network_name(config: &ContainerConfig) -> String {
    let mut names = network_names(&config.network, config.endpoints.as_deref());
    if names.is_empty() {
        return "none".to_owned();
    }
    names.swap_remove(0)
}

/// A duration as Docker tells it: `5 minutes`, `About an hour`, `3 weeks`.
pub fn human(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Does `work` for each, in order, on all processors if there are many: it is
/// some files of /proc and of the store each, time in the kernel.
fn spread<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<Option<R>> + Sync,
) -> Result<Vec<R>> {
    let some_of = |items: Vec<T>| -> Result<Vec<R>> {
        let results = items.into_iter().map(&work);
        results.filter_map(Result::transpose).collect()
    };
    let workers = match items.len() {
        ..FEW => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let share = items.len().div_ceil(workers.min(AT_ONCE_MAX)).max(1);
    let mut parts = Vec::new();
    let mut items = items.into_iter();
    while items.len() > 0 {
        parts.push(items.by_ref().take(share).collect());
    }
    std::thread::scope(|scope| {
        let mut parts = parts.into_iter();
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| some_of(part))).collect();
        let mut all = some_of(own)?;
        for other in others {
            let panicked = |_| Error::new(ErrorKind::Internal, "a thread of a listing failed");
            all.extend(other.join().map_err(panicked)??);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_durations_as_docker_does() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human(std::time::Duration::from_secs(seconds)), words);
        }
    }
}
