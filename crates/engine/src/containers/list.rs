//! `ps`: two small files per container, no locks.

use std::collections::BTreeMap;

use spec::Digest;
use state::{
    ContainerConfig, ContainerId, HealthStatus, MountKind, NetworkMode, PortMapping, PortRange,
    Protocol, Status, Timestamp,
};
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::observe::{self, Observed};
use super::words::{state_word, status_text};
use crate::parse::Filter;

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

/// One `--filter`. Two of one kind: either; of different kinds: both
/// (labels: all of them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFilter {
    /// Prefix of the id.
    Id(String),
    /// Part of the name; `^` and `$` tie it to the ends.
    Name(String),
    Label {
        key: String,
        value: Option<String>,
    },
    Status(StatusFilter),
    /// `None`: not probed.
    Health(Option<HealthStatus>),
    Exited(u8),
    /// Reference or id of the image.
    Ancestor(String),
    /// Created before this container.
    Before(String),
    Since(String),
    /// Name of a volume or a mount's target.
    Volume(String),
    Network(String),
    Publish(PortRange, Protocol),
    Expose(PortRange, Protocol),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Suspended,
    Exited,
    Dead,
}

/// `key=value`.
impl std::str::FromStr for ListFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let filter = Filter::split(text)?;
        Ok(match filter.key {
            "id" => Self::Id(filter.owned()),
            "name" => Self::Name(filter.owned()),
            "label" => {
                let (key, value) = filter.label();
                Self::Label { key, value }
            }
            "status" => Self::Status(match filter.value {
                "created" => StatusFilter::Created,
                "running" => StatusFilter::Running,
                "paused" => StatusFilter::Paused,
                "restarting" => StatusFilter::Restarting,
                "removing" => StatusFilter::Removing,
                "suspended" => StatusFilter::Suspended,
                "exited" => StatusFilter::Exited,
                "dead" => StatusFilter::Dead,
                _ => return Err(filter.wrong("there is no such status")),
            }),
            "health" => Self::Health(match filter.value {
                "none" => None,
                "starting" => Some(HealthStatus::Starting),
                "healthy" => Some(HealthStatus::Healthy),
                "unhealthy" => Some(HealthStatus::Unhealthy),
                _ => return Err(filter.wrong("use starting, healthy, unhealthy or none")),
            }),
            "exited" => Self::Exited(
                filter
                    .value
                    .parse()
                    .map_err(|_| filter.wrong("an exit code is a number up to 255"))?,
            ),
            "ancestor" => Self::Ancestor(filter.owned()),
            "before" => Self::Before(filter.owned()),
            "since" => Self::Since(filter.owned()),
            "volume" => Self::Volume(filter.owned()),
            "network" => Self::Network(filter.owned()),
            "publish" => {
                let (range, protocol) = crate::parse::expose(filter.value)?;
                Self::Publish(range, protocol)
            }
            "expose" => {
                let (range, protocol) = crate::parse::expose(filter.value)?;
                Self::Expose(range, protocol)
            }
            _ => return Err(filter.wrong("there is no such filter")),
        })
    }
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
        let mut all = self.observe_all(wants_ended)?;
        // Cached: each is moved once, and they are large.
        all.sort_by_cached_key(|one| std::cmp::Reverse(one.config.created));
        let goes_on =
            |one: &Observed| one.is_running() || matches!(one.status, Status::Restarting(_));
        all.retain(|one| (wants_ended || goes_on(one)) && filters.pass(one));
        if let Some(last) = request.last {
            all.truncate(last);
        }
        spread(all, |observed| {
            self.summary(observed, request.size).map(Some)
        })
    }

    /// Whatever runs, and what ended and was not cleaned up after, has a run
    /// directory: the others are looked at only if they are wanted.
    fn observe_all(&self, wants_ended: bool) -> Result<Vec<Observed>> {
        let layout = self.engine.layout();
        let entries = if wants_ended {
            crate::entries(&layout.containers())?
        } else {
            crate::entries(&layout.run_containers())?
        };
        let ids: Vec<ContainerId> = entries
            .iter()
            .filter_map(|entry| entry.parse().ok())
            .collect();
        spread(ids, |id| self.observe_healed(&id))
    }

    /// As it is, after mending what a killed monitor or a cut off removal left.
    fn observe_healed(&self, id: &ContainerId) -> Result<Option<Observed>> {
        let observed = observe::observe(self.engine, id)?;
        let needs_mending = match &observed {
            Some(observed) => observed.ended_unseen(),
            None => self.engine.is_half_removed(id),
        };
        if !needs_mending {
            return Ok(observed);
        }
        // What fails here is said by the next command that changes it.
        let _ = self.engine.cleanup_if_free(id);
        observe::observe(self.engine, id)
    }

    fn summary(&self, observed: Observed, with_size: bool) -> Result<ContainerSummary> {
        let is_running = observed.is_running();
        let config = observed.config;
        let networks = network_names(&config);
        let mut ports = Vec::new();
        if is_running && config.network == NetworkMode::Bridge {
            for record in observe::networks(self.engine, &config.id)? {
                ports.extend(record.ports);
            }
        }
        let size = if with_size {
            let store = self.engine.images().store()?;
            Some(store.snapshots().usage(&config.id)?)
        } else {
            None
        };
        let mut command = config.process.entrypoint;
        command.extend(config.process.command);
        let is_volume = |kind: &MountKind| matches!(kind, MountKind::Volume(_));
        Ok(ContainerSummary {
            id: config.id,
            name: config.name.to_string(),
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
            size,
            parent: config
                .clone_of
                .map(|origin| (origin.parent, origin.parent_name.to_string())),
        })
    }

    /// Looks up what the filters name.
    fn prepare<'f>(&self, filters: &'f [ListFilter]) -> Result<Filters<'f>> {
        let created = |name: &str| -> Result<Timestamp> {
            let id = self.resolve(name)?;
            observe::observe(self.engine, &id)?
                .map(|observed| observed.config.created)
                .ok_or_else(|| super::stop::no_such(name))
        };
        let mut prepared = Filters {
            all: filters,
            before: None,
            since: None,
            ancestors: Vec::new(),
        };
        for filter in filters {
            match filter {
                ListFilter::Before(name) => prepared.before = Some(created(name)?),
                ListFilter::Since(name) => prepared.since = Some(created(name)?),
                ListFilter::Ancestor(name) => match self.engine.images().find(name) {
                    Ok(image) => prepared.ancestors.push(image.id),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        Ok(prepared)
    }
}

struct Filters<'f> {
    all: &'f [ListFilter],
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<Digest>,
}

impl Filters<'_> {
    /// Of each kind one has to fit, of labels all.
    fn pass(&self, one: &Observed) -> bool {
        self.all.iter().all(|filter| {
            let is_label = matches!(filter, ListFilter::Label { .. });
            self.fits(filter, one)
                || (!is_label
                    && self.all.iter().any(|other| {
                        std::mem::discriminant(other) == std::mem::discriminant(filter)
                            && self.fits(other, one)
                    }))
        })
    }

    fn fits(&self, filter: &ListFilter, one: &Observed) -> bool {
        let config = &one.config;
        match filter {
            ListFilter::Id(prefix) => config.id.to_string().starts_with(prefix.as_str()),
            ListFilter::Name(pattern) => name_fits(pattern, config.name.as_str()),
            ListFilter::Label { key, value } => config
                .labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found)),
            ListFilter::Status(wanted) => status_fits(*wanted, &one.status),
            ListFilter::Health(wanted) => {
                let facts = one.facts.as_ref().filter(|_| one.is_running());
                facts.and_then(|facts| facts.health) == *wanted
            }
            ListFilter::Exited(code) => {
                matches!(&one.status, Status::Exited(exit) if exit.status.code() == *code)
            }
            ListFilter::Ancestor(name) => {
                config.image.name == *name || self.ancestors.contains(&config.image.id)
            }
            ListFilter::Before(_) => self.before.is_some_and(|time| config.created < time),
            ListFilter::Since(_) => self.since.is_some_and(|time| config.created > time),
            ListFilter::Volume(wanted) => config.mounts.iter().any(|mount| {
                mount.target == std::path::Path::new(wanted)
                    || source(&mount.kind).as_ref() == Some(wanted)
            }),
            ListFilter::Network(wanted) => network_names(config).contains(wanted),
            ListFilter::Publish(range, protocol) => config.ports.iter().any(|port| {
                port.protocol == *protocol
                    && (overlaps(port.container, *range)
                        || port.host.is_some_and(|host| overlaps(host, *range)))
            }),
            ListFilter::Expose(range, protocol) => exposes(config, *range, *protocol),
        }
    }
}

fn exposes(config: &ContainerConfig, range: PortRange, protocol: Protocol) -> bool {
    let published = config
        .ports
        .iter()
        .map(|port| (port.container, port.protocol));
    published
        .chain(config.exposed.iter().copied())
        .any(|(port, known)| known == protocol && overlaps(port, range))
}

fn overlaps(one: PortRange, other: PortRange) -> bool {
    one.first <= other.last && other.first <= one.last
}

fn name_fits(pattern: &str, name: &str) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let (start, body) = match pattern.strip_prefix('^') {
        Some(body) => (true, body.strip_prefix('/').unwrap_or(body)),
        None => (false, pattern),
    };
    match (start, body.strip_suffix('$')) {
        (true, Some(body)) => name == body,
        (true, None) => name.starts_with(body),
        (false, Some(body)) => name.ends_with(body),
        (false, None) => name.contains(body),
    }
}

fn status_fits(wanted: StatusFilter, status: &Status) -> bool {
    matches!(
        (wanted, status),
        (StatusFilter::Created, Status::Created)
            | (StatusFilter::Running, Status::Running { .. })
            | (StatusFilter::Paused, Status::Paused { .. })
            | (StatusFilter::Restarting, Status::Restarting(_))
            | (StatusFilter::Suspended, Status::Suspended(_))
            | (StatusFilter::Exited, Status::Exited(_))
    )
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
pub(super) fn network_names(config: &ContainerConfig) -> Vec<String> {
    match &config.network {
        NetworkMode::Bridge => {
            let endpoints = config.networks().into_iter();
            endpoints.map(|endpoint| endpoint.network).collect()
        }
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::Container(other) => vec![format!("container:{other}")],
    }
}

/// As `--network` had it.
pub(super) fn network_name(config: &ContainerConfig) -> String {
    let mut names = network_names(config);
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
    if items.len() < FEW {
        return some_of(items);
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(workers.min(AT_ONCE_MAX));
    let mut parts = Vec::new();
    let mut items = items.into_iter();
    while items.len() > 0 {
        parts.push(items.by_ref().take(share).collect());
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(|| some_of(part)))
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            let panicked = |_| Error::new(ErrorKind::Internal, "a thread of a listing failed");
            all.extend(worker.join().map_err(panicked)??);
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

    #[test]
    fn names_fit_in_part_or_whole() {
        for (pattern, name, fits) in [
            ("we", "web", true),
            ("^web$", "web", true),
            ("^/web$", "web", true),
            ("^we$", "web", false),
            ("b$", "web", true),
            ("^e", "web", false),
        ] {
            assert_eq!(name_fits(pattern, name), fits, "{pattern}");
        }
    }

    #[test]
    fn filters_of_one_kind_are_alternatives_but_labels_add_up() {
        let mut config = super::super::test_config();
        config.labels.insert("a".into(), "1".into());
        let one = Observed {
            config,
            facts: None,
            exit: None,
            status: Status::Created,
        };
        let pass = |texts: &[&str]| {
            let filters: Vec<ListFilter> = texts.iter().map(|text| text.parse().unwrap()).collect();
            Filters {
                all: &filters,
                before: None,
                since: None,
                ancestors: Vec::new(),
            }
            .pass(&one)
        };
        assert!(pass(&[]) && pass(&["name=es", "status=created"]));
        assert!(pass(&["name=nope", "name=test"]));
        assert!(!pass(&["name=test", "status=running"]));
        assert!(pass(&["label=a", "label=a=1"]) && !pass(&["label=a", "label=b"]));
        assert!(pass(&["ancestor=img", "network=bridge"]) && !pass(&["volume=v"]));
    }

    #[test]
    fn reads_filters() {
        assert_eq!(
            "label=a=b".parse::<ListFilter>().unwrap(),
            ListFilter::Label {
                key: "a".into(),
                value: Some("b".into())
            }
        );
        for bad in ["", "name", "status=what", "exited=300", "nope=1"] {
            assert!(bad.parse::<ListFilter>().is_err(), "{bad}");
        }
    }
}
