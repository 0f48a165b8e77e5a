//! What happened: written by who does it (the engine here, monitors for what
//! happens while nobody looks), read by `events`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::str::FromStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use state::{ContainerConfig, ContainerId, Event, EventKind, Record, Timestamp};
use sys::{Context as _, Error, Result};

use crate::Engine;
use crate::parse::Filter;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventsRequest {
    /// Events of the past are told only if this or `until` is given.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub filters: Vec<EventFilter>,
}

/// One `--filter`. Two of one kind: either; of different kinds: both
/// (labels: all of them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    Kind(EventKind),
    Action(String),
    /// Name, id or prefix of the id.
    Container(String),
    Image(String),
    Volume(String),
    Network(String),
    Label(String, Option<String>),
}

/// `key=value`.
impl FromStr for EventFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let filter = Filter::split(text)?;
        Ok(match filter.key {
            "type" => Self::Kind(match filter.value {
                "container" => EventKind::Container,
                "image" => EventKind::Image,
                "volume" => EventKind::Volume,
                "network" => EventKind::Network,
                _ => return Err(filter.wrong("use container, image, volume or network")),
            }),
            "event" => Self::Action(filter.owned()),
            "container" => Self::Container(filter.owned()),
            "image" => Self::Image(filter.owned()),
            "volume" => Self::Volume(filter.owned()),
            "network" => Self::Network(filter.owned()),
            "label" => {
                let (key, value) = filter.label();
                Self::Label(key, value)
            }
            _ => return Err(filter.wrong(
                    "there is no such filter; there are type, event, container, image, volume, network and \
                     label",
                )),
        })
    }
}

impl Engine {
    /// Writes an event about a container down. What cannot be written is
    /// lost: no act fails for it.
    pub(crate) fn tell(&self, config: &ContainerConfig, action: &str, extra: &[(&str, String)]) {
        let mut event = Event::now(EventKind::Container, action, config.id.to_string());
        event.attributes = attributes(config);
        for (key, value) in extra {
            event.attributes.insert((*key).to_owned(), value.clone());
        }
        let _ = event.append(&self.layout().events());
    }

    /// As [`Engine::tell`], about anything else.
    pub(crate) fn tell_of(&self, kind: EventKind, action: &str, id: &str, name: Option<&str>) {
        let mut event = Event::now(kind, action, id.to_owned());
        if let Some(name) = name {
            event = event.with("name", name);
        }
        let _ = event.append(&self.layout().events());
    }

    /// Hands over events as they come, oldest first, until `until` (for ever
    /// if that is absent) or until `take` fails.
    pub fn events(
        &self,
        request: &EventsRequest,
        take: &mut dyn FnMut(&Event) -> Result<()>,
    ) -> Result<()> {
        let path = self.layout().events();
        let begin = Timestamp::now();
        let watch = Watch::new(self)?;
        let mut teller = Teller {
            engine: self,
            request,
            // Nothing of the past unless asked for.
            since: match (request.since, request.until) {
                (None, None) => Some(begin),
                (since, _) => since,
            },
            known: HashMap::new(),
        };
        if let Ok(file) = File::open(state::events::earlier(&path)) {
            teller.tell(&mut BufReader::new(file), take)?;
        }
        let mut current = open(&path)?;
        loop {
            if let Some(reader) = &mut current {
                teller.tell(reader, take)?;
            }
            let next = open(&path)?;
            let inode = |reader: &Option<BufReader<File>>| {
                let metadata = reader.as_ref()?.get_ref().metadata().ok()?;
                Some((metadata.dev(), metadata.ino()))
            };
            if inode(&next) != inode(&current) {
                // The file was moved away; what came meanwhile was read above
                // or comes now.
                if let Some(reader) = &mut current {
                    teller.tell(reader, take)?;
                }
                current = next;
                continue;
            }
            let left = match request.until {
                Some(until) if until <= Timestamp::now() => return Ok(()),
                Some(until) => Some(until.since(Timestamp::now())),
                None => None,
            };
            watch.wait(left)?;
        }
    }
}

fn attributes(config: &ContainerConfig) -> BTreeMap<String, String> {
    let mut attributes = config.labels.clone();
    attributes.insert("image".to_owned(), config.image.name.clone());
    attributes.insert("name".to_owned(), config.name.to_string());
    attributes
}

fn open(path: &std::path::Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("read {}", path.display())),
    }
}

struct Teller<'a> {
    engine: &'a Engine,
    request: &'a EventsRequest,
    since: Option<Timestamp>,
    /// Names and images of containers, which monitors do not know.
    known: HashMap<String, BTreeMap<String, String>>,
}

impl Teller<'_> {
    /// All whole lines from where the reader stands.
    fn tell(
        &mut self,
        reader: &mut BufReader<File>,
        take: &mut dyn FnMut(&Event) -> Result<()>,
    ) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            let length = reader
                .read_line(&mut line)
                .context(|| "read the record of events")?;
            if length == 0 {
                return Ok(());
            }
            if !line.ends_with('\n') {
                // Its end is not written yet.
                let back = i64::try_from(length).unwrap_or_default();
                reader
                    .seek(SeekFrom::Current(-back))
                    .context(|| "read the record of events")?;
                return Ok(());
            }
            // A line that a full disk cut off is not worth an error.
            if let Ok(mut event) = serde_json::from_str::<Event>(&line) {
                self.complete(&mut event);
                if self.is_wanted(&event) {
                    take(&event)?;
                }
            }
        }
    }

    /// Adds name, image and labels to what a monitor wrote.
    fn complete(&mut self, event: &mut Event) {
        if event.kind != EventKind::Container {
            return;
        }
        if event.attributes.contains_key("name") {
            let mut known = event.attributes.clone();
            for own in ["signal", "exitCode", "execDuration", "oldName"] {
                known.remove(own);
            }
            self.known.insert(event.id.clone(), known);
            return;
        }
        if !self.known.contains_key(&event.id)
            && let Ok(id) = event.id.parse::<ContainerId>()
            && let Ok(config) =
                Record::read::<ContainerConfig>(&self.engine.layout().container_config(&id))
        {
            self.known.insert(event.id.clone(), attributes(&config));
        }
        if let Some(known) = self.known.get(&event.id) {
            for (key, value) in known {
                let entry = event.attributes.entry(key.clone());
                entry.or_insert_with(|| value.clone());
            }
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let in_time = self.since.is_none_or(|since| event.time >= since)
            && self.request.until.is_none_or(|until| event.time <= until);
        let filters = &self.request.filters;
        in_time
            && filters.iter().all(|filter| {
                fits(filter, event)
                    || (!matches!(filter, EventFilter::Label(..))
                        && filters.iter().any(|other| {
                            std::mem::discriminant(other) == std::mem::discriminant(filter)
                                && fits(other, event)
                        }))
            })
    }
}

fn fits(filter: &EventFilter, event: &Event) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    let is_named = |kind: EventKind, wanted: &str| {
        event.kind == kind
            && (event.id == wanted
                || attribute("name") == Some(wanted)
                || (wanted.len() >= 3 && event.id.starts_with(wanted)))
    };
    match filter {
        EventFilter::Kind(kind) => event.kind == *kind,
        // Docker's `health_status` and `exec_start` carry more after a colon.
        EventFilter::Action(action) => {
            event.action == *action
                || event
                    .action
                    .split_once(':')
                    .is_some_and(|(word, _)| word == action)
        }
        EventFilter::Container(wanted) => is_named(EventKind::Container, wanted),
        EventFilter::Image(wanted) => {
            is_named(EventKind::Image, wanted)
                || (event.kind == EventKind::Container && attribute("image") == Some(wanted))
        }
        EventFilter::Volume(wanted) => is_named(EventKind::Volume, wanted),
        EventFilter::Network(wanted) => is_named(EventKind::Network, wanted),
        EventFilter::Label(key, value) => {
            attribute(key).is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found))
        }
    }
}

/// Sleeps until the record grows or is replaced.
struct Watch {
    inotify: std::os::fd::OwnedFd,
}

impl Watch {
    fn new(engine: &Engine) -> Result<Self> {
        let watch = || -> Result<Self> {
            let inotify =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            // The store's root holds little else that changes.
            let flags = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVE;
            inotify::add_watch(&inotify, engine.layout().root(), flags)?;
            Ok(Self { inotify })
        };
        watch().context(|| "watch the record of events")
    }

    fn wait(&self, left: Option<Duration>) -> Result<()> {
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for events"),
        }
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.inotify, &mut buffer).is_ok() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_kind_are_alternatives() {
        let event = Event::now(
            EventKind::Container,
            "health_status: healthy",
            "abc123".into(),
        )
        .with("name", "web")
        .with("image", "nginx")
        .with("tier", "front");
        for (text, passes) in [
            ("type=container", true),
            ("type=image", false),
            ("event=health_status", true),
            ("event=health_status: healthy", true),
            ("event=start", false),
            ("container=web", true),
            ("container=abc", true),
            ("container=db", false),
            ("image=nginx", true),
            ("label=tier", true),
            ("label=tier=back", false),
        ] {
            let filter: EventFilter = text.parse().unwrap();
            assert_eq!(fits(&filter, &event), passes, "{text}");
        }
        for bad in ["", "type", "type=what", "nope=1"] {
            assert!(bad.parse::<EventFilter>().is_err(), "{bad}");
        }
    }
}
