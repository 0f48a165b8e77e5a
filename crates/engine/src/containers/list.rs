//! `ps`: two small files per container, no locks.

use std::collections::BTreeMap;

use spec::Digest;
use state::{ContainerId, PortMapping, PortRange, Protocol, Status, Timestamp};
use sys::{Error, ErrorKind, Result};

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
    Exited,
    Dead,
}

/// `key=value`.
impl std::str::FromStr for ListFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid filter {shown:?}: {why}"),
            )
        };
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("write it as key=value"))?;
        let owned = || value.to_owned();
        Ok(match key {
            "id" => Self::Id(owned()),
            "name" => Self::Name(owned()),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label {
                    key: key.to_owned(),
                    value: Some(value.to_owned()),
                },
                None => Self::Label {
                    key: owned(),
                    value: None,
                },
            },
            "status" => Self::Status(match value {
                "created" => StatusFilter::Created,
                "running" => StatusFilter::Running,
                "paused" => StatusFilter::Paused,
                "restarting" => StatusFilter::Restarting,
                "removing" => StatusFilter::Removing,
                "exited" => StatusFilter::Exited,
                "dead" => StatusFilter::Dead,
                _ => return Err(wrong("there is no such status")),
            }),
            "exited" => Self::Exited(
                value
                    .parse()
                    .map_err(|_| wrong("an exit code is a number up to 255"))?,
            ),
            "ancestor" => Self::Ancestor(owned()),
            "before" => Self::Before(owned()),
            "since" => Self::Since(owned()),
            "volume" => Self::Volume(owned()),
            "network" => Self::Network(owned()),
            "publish" => {
                let (range, protocol) = crate::parse::expose(value)?;
                Self::Publish(range, protocol)
            }
            "expose" => {
                let (range, protocol) = crate::parse::expose(value)?;
                Self::Expose(range, protocol)
            }
            _ => return Err(wrong("there is no such filter")),
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
}

impl ContainerSummary {
    /// `created`, `running`, `paused`, `exited`.
    pub fn state(&self) -> &'static str {
        state_word(&self.status)
    }

    /// As `Up 5 minutes` or `Exited (0) 2 hours ago`.
    pub fn status_text(&self, now: Timestamp) -> String {
        status_text(&self.status, now)
    }
}

/// Docker's word for a status.
pub fn state_word(status: &Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running { .. } => "running",
        Status::Paused { .. } => "paused",
        Status::Exited(_) => "exited",
    }
}

/// Docker's words for a status.
pub fn status_text(status: &Status, now: Timestamp) -> String {
    match status {
        Status::Created => "Created".to_owned(),
        Status::Running { since } => format!("Up {}", human(now.since(*since))),
        Status::Paused { since } => format!("Up {} (Paused)", human(now.since(*since))),
        Status::Exited(exit) => format!(
            "Exited ({}) {} ago",
            exit.status.code(),
            human(now.since(exit.finished))
        ),
    }
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
