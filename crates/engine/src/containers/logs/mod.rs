//! `logs`: what a container has printed, from wherever its driver keeps it.

mod files;
mod journal;
mod pack;

use std::collections::{BTreeMap, VecDeque};

use state::channel::Stream;
use state::{Channel, ContainerConfig, LogDriver, LogTarget, Timestamp};
use sys::{Error, ErrorKind, Result};

use super::attach::connect;
use super::request::{LogsRequest, Streams};
use super::stop::no_such;
use super::{Containers, observe};
use crate::Engine;
use files::Form;
pub use pack::pack;

/// One line, or a piece of one that was too long for a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    pub stream: Stream,
    /// With its line feed, if it had one. Docker's form knows UTF-8 only, the
    /// others keep what was printed.
    pub text: Vec<u8>,
}

type Take<'a> = dyn FnMut(LogEntry) -> Result<()> + 'a;

impl Containers<'_> {
    /// Hands over the lines of its log, oldest first, until they end (or the
    /// container does, if they are followed).
    pub fn logs(
        &self,
        container: &str,
        request: &LogsRequest,
        take: &mut dyn FnMut(LogEntry) -> Result<()>,
    ) -> Result<()> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let follow = request.follow && observed.is_running();
        let monitor = || -> Result<Option<Channel>> {
            if follow {
                connect(self.engine, &id)
            } else {
                Ok(None)
            }
        };
        let path = self.engine.layout().container_log(&id);
        match observed.config.log.driver {
            LogDriver::JsonFile => files::logs(&path, Form::Json, monitor()?, request, take),
            LogDriver::Local => files::logs(&path, Form::Local, monitor()?, request, take),
            LogDriver::Journald => journal::logs(&id, monitor()?, request, take),
            LogDriver::None => Err(Error::new(
                ErrorKind::Unsupported,
                format!("container {container} keeps no log (--log-driver none)"),
            )),
        }
    }

    /// The labels and variables that `--log-opt` names, as each entry of the
    /// log carries them.
    pub fn log_attributes(&self, container: &str) -> Result<BTreeMap<String, String>> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        Ok(attributes(&observed.config))
    }
}

fn attributes(config: &ContainerConfig) -> BTreeMap<String, String> {
    let labels = config.log.labels.iter().filter_map(|name| {
        let value = config.labels.get(name)?;
        Some((name.clone(), value.clone()))
    });
    let variables = config.log.env.iter().filter_map(|name| {
        let entry = config.process.env.iter().find_map(|entry| {
            let (known, value) = entry.split_once('=')?;
            (known == name).then_some(value)
        });
        Some((name.clone(), entry?.to_owned()))
    });
    labels.chain(variables).collect()
}

/// Where the monitor keeps what the container prints.
pub(super) fn target(engine: &Engine, config: &ContainerConfig) -> LogTarget {
    let path = engine.layout().container_log(&config.id);
    let (max_size, max_files) = (config.log.max_size, config.log.max_files);
    match config.log.driver {
        LogDriver::None => LogTarget::None,
        LogDriver::JsonFile => LogTarget::JsonFile {
            path,
            max_size,
            max_files,
            attributes: attributes(config),
        },
        LogDriver::Local => LogTarget::Local {
            path,
            max_size,
            max_files,
            pack: engine.internal_command("pack-log"),
        },
        LogDriver::Journald => LogTarget::Journald {
            fields: journal::fields(config, attributes(config)),
        },
    }
}

fn wanted(entry: &LogEntry, request: &LogsRequest) -> bool {
    let stream = match request.streams {
        Streams::Both => true,
        Streams::Stdout => entry.stream == Stream::Stdout,
        Streams::Stderr => entry.stream == Stream::Stderr,
    };
    stream
        && request.since.is_none_or(|since| entry.time >= since)
        && request.until.is_none_or(|until| entry.time <= until)
}

/// Lets through what is wanted of what is there already: all, or the last.
#[derive(Default)]
struct Back {
    kept: VecDeque<LogEntry>,
}

impl Back {
    fn add(&mut self, entry: LogEntry, request: &LogsRequest, take: &mut Take<'_>) -> Result<()> {
        if !wanted(&entry, request) {
            return Ok(());
        }
        match request.tail {
            None => return take(entry),
            Some(0) => {}
            Some(tail) => {
                if self.kept.len() == tail {
                    self.kept.pop_front();
                }
                self.kept.push_back(entry);
            }
        }
        Ok(())
    }

    fn finish(self, take: &mut Take<'_>) -> Result<()> {
        self.kept.into_iter().try_for_each(take)
    }
}
