//! What happened in a store: one line of JSON per event, appended by whoever
//! did it, the engine or a monitor. An append of one line is atomic, so no
//! lock is needed; a reader that meets a line without its end waits for it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// At this size a new file begins; the one before is kept.
const SIZE_MAX: u64 = 8 << 20;

/// One event, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// `start`, `die`, `pull` …
    pub action: String,
    /// Id of the container, digest or name of the image, name of the volume.
    pub id: String,
    /// Name, image and labels of a container, and what belongs to the action.
    /// A monitor, which knows no names, gives the latter only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Container,
    Image,
    Volume,
    Network,
}

impl EventKind {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
        }
    }
}

impl Event {
    /// Happening now, without attributes.
    pub fn now(kind: EventKind, action: &str, id: String) -> Self {
        Self {
            time: Timestamp::now(),
            kind,
            action: action.to_owned(),
            id,
            attributes: BTreeMap::new(),
        }
    }

    /// With one more attribute.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }

    /// Appends it to the record at `path`, which is made if it is not there.
    pub fn append(&self, path: &Path) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.len() >= SIZE_MAX && make_room(path, &file)? {
            return self.append(path);
        }
        file.write_all(&line)
    }
}

/// Where the older events are.
pub fn earlier(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// Moves the full file away; false if another process is about to.
fn make_room(path: &Path, file: &File) -> io::Result<bool> {
    if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    // Whoever held the lock before us may have moved it.
    if fs::metadata(path)?.ino() == file.metadata()?.ino() {
        fs::rename(path, earlier(path))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_do_not_lose_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..100 {
                        let id = format!("{writer}-{number}");
                        Event::now(EventKind::Container, "start", id)
                            .with("exitCode", "0")
                            .append(path)
                            .unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        let events: Vec<Event> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), 400);
        assert_eq!(events[0].attributes["exitCode"], "0");
    }

    #[test]
    fn a_full_file_makes_room_and_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let file = File::create(&path).unwrap();
        file.set_len(SIZE_MAX).unwrap();
        Event::now(EventKind::Image, "pull", "a".into())
            .append(&path)
            .unwrap();
        assert_eq!(fs::metadata(earlier(&path)).unwrap().len(), SIZE_MAX);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("\"type\":\"image\",\"action\":\"pull\",\"id\":\"a\"}"),
            "{text}"
        );
    }
}
