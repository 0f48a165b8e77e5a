//! The OCI runtime command line (as runc has it), read by hand: this program
//! starts once per container.

use std::path::PathBuf;

use sys::{Error, ErrorKind, Result};

/// The most `--preserve-fds` that make sense.
const PRESERVE_MAX: u32 = 0;

/// Options before the verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create(Bring),
    Run { bring: Bring, detach: bool },
    Start { id: String },
    State { id: String },
    Kill { id: String, signal: i32, all: bool },
    Delete { id: String, force: bool },
    Exec(Box<Exec>),
    List { format: ListFormat, quiet: bool },
    Ps { id: String, format: ListFormat },
    Pause { id: String },
    Resume { id: String },
    Spec { bundle: PathBuf },
    Features,
    Version,
    Help,
}

/// A container to bring into being.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bring {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
}

/// A process to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) caps: Vec<String>,
    pub(crate) tty: bool,
    pub(crate) detach: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFormat {
    Table,
    Json,
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: Vec<String>) -> Result<(Global, Verb)> {
    let mut words = Words::new(words);
    let mut global = Global {
        root: PathBuf::from("/run/wharf-runtime"),
        log: None,
        log_format: LogFormat::Text,
    };
    let verb = loop {
        let Some(word) = words.next() else {
            return Ok((global, Verb::Help));
        };
        match word.as_str() {
            "--root" => global.root = words.value(&word)?.into(),
            "--log" => global.log = Some(words.value(&word)?.into()),
            "--log-format" => {
                global.log_format = match words.value(&word)?.as_str() {
                    "json" => LogFormat::Json,
                    "text" => LogFormat::Text,
                    other => return Err(usage(format!("--log-format {other}: not text or json"))),
                }
            }
            // Nothing is logged that would need it; there is no systemd driver yet.
            "--debug" => {}
            "--systemd-cgroup" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "--systemd-cgroup is not supported yet",
                ));
            }
            "--version" | "-v" => return Ok((global, Verb::Version)),
            "--help" | "-h" => return Ok((global, Verb::Help)),
            _ if word.starts_with('-') => return Err(unknown(&word)),
            _ => break word,
        }
    };
    let verb = parse_verb(&verb, &mut words)?;
    match words.next() {
        Some(extra) => Err(usage(format!("unexpected argument {extra:?}"))),
        None => Ok((global, verb)),
    }
}

fn parse_verb(verb: &str, words: &mut Words) -> Result<Verb> {
    Ok(match verb {
        "create" => Verb::Create(bring(words)?.0),
        "run" => {
            let (bring, detach) = bring(words)?;
            Verb::Run { bring, detach }
        }
        "start" => Verb::Start {
            id: words.only_id()?,
        },
        "state" => Verb::State {
            id: words.only_id()?,
        },
        "pause" => Verb::Pause {
            id: words.only_id()?,
        },
        "resume" => Verb::Resume {
            id: words.only_id()?,
        },
        "kill" => kill(words)?,
        "delete" => {
            let (id, flags) = words.id_with_flags(&["--force", "-f"])?;
            Verb::Delete {
                id,
                force: !flags.is_empty(),
            }
        }
        "exec" => Verb::Exec(Box::new(exec(words)?)),
        "list" => {
            let (mut format, mut quiet) = (ListFormat::Table, false);
            while let Some(word) = words.next() {
                match word.as_str() {
                    "--format" | "-f" => format = words.format(&word)?,
                    "--quiet" | "-q" => quiet = true,
                    _ => return Err(unknown(&word)),
                }
            }
            Verb::List { format, quiet }
        }
        "ps" => {
            let (mut format, mut id) = (ListFormat::Table, None);
            while let Some(word) = words.next() {
                match word.as_str() {
                    "--format" | "-f" => format = words.format(&word)?,
                    _ if word.starts_with('-') => return Err(unknown(&word)),
                    _ if id.is_none() => id = Some(check_id(word)?),
                    // What else runc hands to ps(1).
                    _ => {}
                }
            }
            let id = id.ok_or_else(|| usage("the container's id is missing".to_owned()))?;
            Verb::Ps { id, format }
        }
        "spec" => {
            let mut bundle = PathBuf::from(".");
            while let Some(word) = words.next() {
                match word.as_str() {
                    "--bundle" | "-b" => bundle = words.value(&word)?.into(),
                    _ => return Err(unknown(&word)),
                }
            }
            Verb::Spec { bundle }
        }
        "features" => Verb::Features,
        "help" => Verb::Help,
        other => return Err(usage(format!("unknown command {other:?}"))),
    })
}

fn bring(words: &mut Words) -> Result<(Bring, bool)> {
    let mut bring = Bring {
        bundle: PathBuf::from("."),
        ..Bring::default()
    };
    let mut detach = false;
    let mut id = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bundle" | "-b" => bring.bundle = words.value(&word)?.into(),
            "--pid-file" => bring.pid_file = Some(words.value(&word)?.into()),
            "--console-socket" => bring.console_socket = Some(words.value(&word)?.into()),
            "--detach" | "-d" => detach = true,
            // Neither a pivot-less root nor a keyring of its own exists here.
            "--no-pivot" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "--no-pivot is not supported",
                ));
            }
            "--no-new-keyring" => {}
            "--preserve-fds" => {
                let count = words.value(&word)?;
                if count
                    .parse::<u32>()
                    .ok()
                    .is_none_or(|count| count > PRESERVE_MAX)
                {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("--preserve-fds {count} is not supported yet"),
                    ));
                }
            }
            _ if word.starts_with('-') => return Err(unknown(&word)),
            _ if id.is_none() => id = Some(check_id(word)?),
            _ => return Err(usage(format!("unexpected argument {word:?}"))),
        }
    }
    bring.id = id.ok_or_else(|| usage("the container's id is missing".to_owned()))?;
    Ok((bring, detach))
}

fn kill(words: &mut Words) -> Result<Verb> {
    let (mut id, mut signal, mut all) = (None, None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--all" | "-a" => all = true,
            _ if word.starts_with('-') && id.is_none() => return Err(unknown(&word)),
            _ if id.is_none() => id = Some(check_id(word)?),
            _ if signal.is_none() => signal = Some(signal_number(&word)?),
            _ => return Err(usage(format!("unexpected argument {word:?}"))),
        }
    }
    Ok(Verb::Kill {
        id: id.ok_or_else(|| usage("the container's id is missing".to_owned()))?,
        signal: signal.unwrap_or(15),
        all,
    })
}

fn exec(words: &mut Words) -> Result<Exec> {
    let mut exec = Exec::default();
    loop {
        let word = words
            .next()
            .ok_or_else(|| usage("the container's id is missing".to_owned()))?;
        match word.as_str() {
            "--process" | "-p" => exec.process = Some(words.value(&word)?.into()),
            "--env" | "-e" => exec.env.push(words.value(&word)?),
            "--cwd" => exec.cwd = Some(words.value(&word)?),
            "--user" | "-u" => exec.user = Some(words.value(&word)?),
            "--cap" | "-c" => exec.caps.push(words.value(&word)?),
            "--tty" | "-t" => exec.tty = true,
            "--detach" | "-d" => exec.detach = true,
            "--no-new-privs" => exec.no_new_privileges = true,
            "--pid-file" => exec.pid_file = Some(words.value(&word)?.into()),
            "--console-socket" => exec.console_socket = Some(words.value(&word)?.into()),
            _ if word.starts_with('-') => return Err(unknown(&word)),
            _ => {
                exec.id = check_id(word)?;
                break;
            }
        }
    }
    exec.args = words.rest();
    if exec.args.first().is_some_and(|word| word == "--") {
        exec.args.remove(0);
    }
    if exec.args.is_empty() && exec.process.is_none() {
        return Err(usage("no program to run".to_owned()));
    }
    Ok(exec)
}

struct Words(std::collections::VecDeque<String>);

impl Words {
    /// `--name=value` is read as two words.
    fn new(words: Vec<String>) -> Self {
        Self(words.into())
    }

    fn next(&mut self) -> Option<String> {
        let word = self.0.pop_front()?;
        if word.starts_with("--")
            && let Some((name, value)) = word.split_once('=')
        {
            self.0.push_front(value.to_owned());
            return Some(name.to_owned());
        }
        Some(word)
    }

    fn value(&mut self, option: &str) -> Result<String> {
        self.0
            .pop_front()
            .ok_or_else(|| usage(format!("{option} needs a value")))
    }

    fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).into()
    }

    fn only_id(&mut self) -> Result<String> {
        Ok(self.id_with_flags(&[])?.0)
    }

    fn id_with_flags(&mut self, known: &[&str]) -> Result<(String, Vec<String>)> {
        let (mut id, mut flags) = (None, Vec::new());
        while let Some(word) = self.next() {
            if known.contains(&word.as_str()) {
                flags.push(word);
            } else if word.starts_with('-') {
                return Err(unknown(&word));
            } else if id.is_none() {
                id = Some(check_id(word)?);
            } else {
                return Err(usage(format!("unexpected argument {word:?}")));
            }
        }
        let id = id.ok_or_else(|| usage("the container's id is missing".to_owned()))?;
        Ok((id, flags))
    }

    fn format(&mut self, option: &str) -> Result<ListFormat> {
        match self.value(option)?.as_str() {
            "table" => Ok(ListFormat::Table),
            "json" => Ok(ListFormat::Json),
            other => Err(usage(format!("{option} {other}: not table or json"))),
        }
    }
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
pub(crate) fn signal_number(text: &str) -> Result<i32> {
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
    NAMES
        .iter()
        .zip(1..)
        .find(|(known, _)| **known == name)
        .map(|(_, number)| number)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("no signal is called {text:?}"),
            )
        })
}

fn usage(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn unknown(word: &str) -> Error {
    usage(format!("unknown option {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Global, Verb)> {
        parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn reads_what_other_engines_write() {
        let (global, verb) = read(
            "--root /r --log /l --log-format=json create --bundle /b --pid-file=/p \
             --console-socket /c web",
        )
        .unwrap();
        assert_eq!(global.root, PathBuf::from("/r"));
        assert_eq!(global.log_format, LogFormat::Json);
        let Verb::Create(bring) = verb else {
            panic!("{verb:?}");
        };
        assert_eq!((bring.id.as_str(), bring.bundle), ("web", "/b".into()));
        assert_eq!(bring.console_socket, Some("/c".into()));
        let (_, verb) = read("kill web SIGKILL").unwrap();
        assert!(matches!(verb, Verb::Kill { signal: 9, .. }));
        let (_, verb) = read("exec -u 1 web sh -c --x=y").unwrap();
        let Verb::Exec(exec) = verb else {
            panic!("{verb:?}");
        };
        assert_eq!(exec.args, ["sh", "-c", "--x=y"]);
    }

    #[test]
    fn refuses_ids_that_lead_elsewhere() {
        for bad in [
            "start ../x",
            "start .",
            "delete a/b",
            "frobnicate x",
            "start",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
