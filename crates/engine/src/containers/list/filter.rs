//! `--filter` of `ps`: which containers are wanted.

use spec::Digest;
use state::{HealthStatus, PortRange, Protocol, Status, Timestamp};
use sys::{Error, ErrorKind, Result};

use super::{Listed, source};
use crate::containers::Containers;
use crate::containers::observe::{self, Observed};
use crate::parse::Filter;

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
            _ => return Err(filter.wrong(
                "there is no such filter: use id, name, label, status, health, exited, ancestor, \
                 before, since, volume, network, publish or expose",
            )),
        })
    }
}

impl Containers<'_> {
    /// Looks up what the filters name.
    pub(super) fn prepare<'f>(&self, filters: &'f [ListFilter]) -> Result<Filters<'f>> {
        let created = |name: &str| -> Result<Timestamp> {
            let id = self.resolve(name)?;
            observe::observe(self.engine, &id)?
                .map(|observed| observed.config.created)
                .ok_or_else(|| crate::containers::stop::no_such(name))
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

pub(super) struct Filters<'f> {
    all: &'f [ListFilter],
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<Digest>,
}

impl Filters<'_> {
    /// Of each kind one has to fit, of labels all.
    pub(super) fn pass(&self, one: &Observed<Listed>) -> bool {
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

    fn fits(&self, filter: &ListFilter, one: &Observed<Listed>) -> bool {
        let config = &one.config;
        match filter {
            ListFilter::Id(prefix) => config.id.to_string().starts_with(prefix.as_str()),
            ListFilter::Name(pattern) => name_fits(pattern, &config.name),
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
            ListFilter::Network(wanted) => config.networks().contains(wanted),
            ListFilter::Publish(range, protocol) => config.ports.iter().any(|port| {
                port.protocol == *protocol
                    && (overlaps(port.container, *range)
                        || port.host.is_some_and(|host| overlaps(host, *range)))
            }),
            ListFilter::Expose(range, protocol) => exposes(config, *range, *protocol),
        }
    }
}

fn exposes(config: &Listed, range: PortRange, protocol: Protocol) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut config = crate::containers::test_config();
        config.labels.insert("a".into(), "1".into());
        let config = serde_json::to_vec(&config).unwrap();
        let config = serde_json::from_slice(&config).unwrap();
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
