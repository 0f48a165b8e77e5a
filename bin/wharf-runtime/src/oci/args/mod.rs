//! The OCI runtime command line (as runc and crun have it), read by hand: this
//! program starts once per container.

mod bring;
mod checkpoint;
mod exec;
mod update;
mod words;

use std::path::PathBuf;

use runtime::CgroupManager;
use sys::{Error, ErrorKind, Result};

pub(crate) use bring::Bring;
pub(crate) use checkpoint::{Checkpoint, Restore};
pub(crate) use exec::Exec;
pub(crate) use update::{Source, Update};
use words::{Word, Words, usage};

use super::timings::Timings;

/// Options before the verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    /// Say what is done, not only what failed.
    pub(crate) debug: bool,
    pub(crate) cgroup_manager: CgroupManager,
    pub(crate) rootless: Rootless,
    pub(crate) timings: Timings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Whether to go on without a cgroup where we may not make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rootless {
    /// If we are not root.
    Auto,
    Yes,
    No,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verb {
    Create(Bring),
    Run {
        bring: Bring,
        detach: bool,
        /// Leave the container's record when it has ended.
        keep: bool,
    },
    Start {
        id: String,
    },
    State {
        id: String,
    },
    Kill {
        id: String,
        signal: i32,
        all: bool,
    },
    Delete {
        id: String,
        force: bool,
    },
    Exec(Box<Exec>),
    List {
        format: ListFormat,
        quiet: bool,
    },
    Ps {
        id: String,
        format: ListFormat,
        /// For ps(1).
        options: Vec<String>,
    },
    Pause {
        id: String,
    },
    Resume {
        id: String,
    },
    Update(Box<Update>),
    Events {
        id: String,
        /// Of the statistics.
        interval: std::time::Duration,
        /// Print them once and end.
        once: bool,
    },
    Checkpoint(Checkpoint),
    Restore(Box<Restore>),
    Spec {
        bundle: PathBuf,
        rootless: bool,
    },
    Features,
    Version,
    Help(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFormat {
    Table,
    Json,
}

const LIST_FORMATS: [(&str, ListFormat); 2] =
    [("table", ListFormat::Table), ("json", ListFormat::Json)];

/// Reads the words after the program's name. The options before the verb come
/// back even if the rest is wrong: they say where to report that.
pub(crate) fn parse(words: Vec<String>, root: PathBuf) -> (Global, Result<Verb>) {
    let mut words = Words::new(words);
    let mut global = Global {
        root,
        log: None,
        log_format: LogFormat::Text,
        debug: false,
        cgroup_manager: CgroupManager::Cgroupfs,
        rootless: Rootless::Auto,
        timings: Timings::default(),
    };
    let verb = parse_global(&mut words, &mut global);
    (global, verb)
}

fn parse_global(words: &mut Words, global: &mut Global) -> Result<Verb> {
    let managers = [
        ("cgroupfs", CgroupManager::Cgroupfs),
        ("systemd", CgroupManager::Systemd),
        ("disabled", CgroupManager::Disabled),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let rootless = [
        ("auto", Rootless::Auto),
        ("true", Rootless::Yes),
        ("false", Rootless::No),
    ];
    while let Some(word) = words.next()? {
        let option = match word {
            Word::Option(option) => option,
            Word::Plain(verb) => return parse_verb(&verb, words),
        };
        match option.as_str() {
            "root" => global.root = words.value()?.into(),
            "log" => global.log = Some(words.value()?.into()),
            "log-format" => global.log_format = words.choice(&formats)?,
            "debug" => global.debug = words.flag()?,
            "timings" => global.timings = Timings::begin(words.flag()?),
            "systemd-cgroup" | "s" => {
                if words.flag()? {
                    global.cgroup_manager = CgroupManager::Systemd;
                }
            }
            "cgroup-manager" => global.cgroup_manager = words.choice(&managers)?,
            "rootless" => global.rootless = words.choice(&rootless)?,
            "version" | "v" | "V" => return Ok(Verb::Version),
            "help" | "h" => return Ok(Verb::Help(None)),
            _ => return Err(words.unknown()),
        }
    }
    Ok(Verb::Help(None))
}

fn parse_verb(verb: &str, words: &mut Words) -> Result<Verb> {
    // Podman finds out so whether a runtime can do a thing.
    if words.asks_for_help() {
        return Ok(Verb::Help(Some(verb.to_owned())));
    }
    let parsed = match verb {
        "create" => Verb::Create(bring::create(words)?),
        "run" => bring::run(words)?,
        "start" => Verb::Start {
            id: only_id(words)?,
        },
        "state" => Verb::State {
            id: only_id(words)?,
        },
        "pause" => Verb::Pause {
            id: only_id(words)?,
        },
        "resume" => Verb::Resume {
            id: only_id(words)?,
        },
        "kill" => kill(words)?,
        "delete" => {
            let mut force = false;
            let id = id_and(words, |name, words| match name {
                "force" | "f" => words.flag().map(|flag| force = flag),
                _ => Err(words.unknown()),
            })?;
            Verb::Delete { id, force }
        }
        "exec" => Verb::Exec(Box::new(exec::parse(words)?)),
        "checkpoint" => Verb::Checkpoint(checkpoint::checkpoint(words)?),
        "restore" => Verb::Restore(Box::new(checkpoint::restore(words)?)),
        "update" => Verb::Update(Box::new(update::parse(words)?)),
        "events" => {
            let (mut interval, mut once) = (std::time::Duration::from_secs(5), false);
            let id = id_and(words, |name, words| match name {
                "interval" => interval_of(words).map(|value| interval = value),
                "stats" => words.flag().map(|flag| once = flag),
                _ => Err(words.unknown()),
            })?;
            Verb::Events { id, interval, once }
        }
        "list" => {
            let (mut format, mut quiet) = (ListFormat::Table, false);
            no_plain_words(words, |name, words| match name {
                "format" | "f" => words.choice(&LIST_FORMATS).map(|value| format = value),
                "quiet" | "q" => words.flag().map(|flag| quiet = flag),
                _ => Err(words.unknown()),
            })?;
            Verb::List { format, quiet }
        }
        "ps" => ps(words)?,
        "spec" => {
            let (mut bundle, mut rootless) = (PathBuf::from("."), false);
            no_plain_words(words, |name, words| match name {
                "bundle" | "b" => words.value().map(|value| bundle = value.into()),
                "rootless" => words.flag().map(|flag| rootless = flag),
                _ => Err(words.unknown()),
            })?;
            Verb::Spec { bundle, rootless }
        }
        "features" => {
            no_plain_words(words, |_, words| Err(words.unknown()))?;
            Verb::Features
        }
        "help" => match words.next()? {
            Some(Word::Plain(verb)) => Verb::Help(Some(verb)),
            _ => Verb::Help(None),
        },
        other => return Err(usage(format!("unknown command {other:?}; see --help"))),
    };
    Ok(parsed)
}

fn kill(words: &mut Words) -> Result<Verb> {
    let (mut id, mut signal, mut all) = (None, None, false);
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) if name == "all" || name == "a" => all = words.flag()?,
            Word::Option(_) => return Err(words.unknown()),
            Word::Plain(word) if id.is_none() => id = Some(check_id(word)?),
            Word::Plain(word) if signal.is_none() => signal = Some(signal_number(&word)?),
            Word::Plain(word) => return Err(unexpected(&word)),
        }
    }
    Ok(Verb::Kill {
        id: id.ok_or_else(no_id)?,
        signal: signal.unwrap_or(15),
        all,
    })
}

/// What follows the id belongs to ps(1).
fn ps(words: &mut Words) -> Result<Verb> {
    let mut format = ListFormat::Table;
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) if name == "format" || name == "f" => {
                format = words.choice(&LIST_FORMATS)?;
            }
            Word::Option(_) => return Err(words.unknown()),
            Word::Plain(id) => {
                let id = check_id(id)?;
                let mut options = words.rest();
                // After the id, too, as other verbs have it. (-f is ps's own.)
                if options.first().is_some_and(|it| it.starts_with("--format")) {
                    let mut rest = Words::new(options);
                    rest.next()?;
                    format = rest.choice(&LIST_FORMATS)?;
                    options = rest.rest();
                }
                return Ok(Verb::Ps {
                    id,
                    format,
                    options,
                });
            }
        }
    }
    Err(no_id())
}

/// `5s`, `1m30s`, `500ms`, or plain seconds.
fn interval_of(words: &mut Words) -> Result<std::time::Duration> {
    let text = words.value()?;
    let wrong = || usage(format!("--interval {text}: not a time such as 5s or 500ms"));
    let mut total = std::time::Duration::ZERO;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let factor = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let seconds = number.parse::<f64>().map_err(|_| wrong())? * factor;
        total += std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        rest = after;
    }
    if total.is_zero() {
        return Err(wrong());
    }
    Ok(total)
}

fn only_id(words: &mut Words) -> Result<String> {
    id_and(words, |_, words| Err(words.unknown()))
}

/// One container's id, with options before and after it.
fn id_and(
    words: &mut Words,
    mut option: impl FnMut(&str, &mut Words) -> Result<()>,
) -> Result<String> {
    let mut id = None;
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) => option(&name, words)?,
            Word::Plain(word) if id.is_none() => id = Some(check_id(word)?),
            Word::Plain(word) => return Err(unexpected(&word)),
        }
    }
    id.ok_or_else(no_id)
}

fn no_plain_words(
    words: &mut Words,
    mut option: impl FnMut(&str, &mut Words) -> Result<()>,
) -> Result<()> {
    while let Some(word) = words.next()? {
        match word {
            Word::Option(name) => option(&name, words)?,
            Word::Plain(word) => return Err(unexpected(&word)),
        }
    }
    Ok(())
}

fn no_id() -> Error {
    usage("the container's id is missing".to_owned())
}

fn unexpected(word: &str) -> Error {
    usage(format!("unexpected argument {word:?}"))
}

/// An id becomes a directory and a cgroup, so it is a plain name.
fn check_id(id: String) -> Result<String> {
    let good = !id.is_empty()
        && id.len() <= 200
        && id != "."
        && id != ".."
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte));
    if good {
        return Ok(id);
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("container id {id:?} has other characters than letters, digits and _.+-"),
    ))
}

/// From `9`, `KILL` or `SIGKILL`.
fn signal_number(text: &str) -> Result<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse::<i32>()
        && (0..=64).contains(&number)
    {
        return Ok(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let relative = |from: &str, base: i32, sign: i32| {
        let offset = name.strip_prefix(from)?;
        let offset = match offset {
            "" => 0,
            offset => offset.get(1..)?.parse::<i32>().ok()?,
        };
        let number = base + sign * offset;
        (34..=64).contains(&number).then_some(number)
    };
    NAMES
        .iter()
        .zip(1..)
        .find(|(known, _)| **known == name)
        .map(|(_, number)| number)
        .or_else(|| relative("RTMIN", 34, 1))
        .or_else(|| relative("RTMAX", 64, -1))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("no signal is called {text:?}"),
            )
        })
}

#[cfg(test)]
mod tests;
