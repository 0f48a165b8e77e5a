//! `create` and `run`.

use std::path::PathBuf;

use runtime::{Keyring, RootSwitch};
use sys::Result;

use super::words::{Word, Words, usage};
use super::{Verb, check_id, no_id, unexpected};

/// The place above is where this program keeps itself, see `exe_guard`.
const PRESERVE_MAX: u32 = sys::exe::PLACE.unsigned_abs() - 3;

/// A container to bring into being.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bring {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// The configuration in the bundle.
    pub(crate) config: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    /// Who gets a pidfd of the container's init.
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// How many of our descriptors from 3 on the program gets.
    pub(crate) preserve_fds: u32,
    pub(crate) root_switch: RootSwitch,
    pub(crate) keyring: Keyring,
}

pub(super) fn create(words: &mut Words) -> Result<Bring> {
    bring(words, |_, words| Err(words.unknown()))
}

pub(super) fn run(words: &mut Words) -> Result<Verb> {
    let (mut detach, mut keep) = (false, false);
    let bring = bring(words, |name, words| match name {
        "detach" | "d" => words.flag().map(|flag| detach = flag),
        "keep" => words.flag().map(|flag| keep = flag),
        // We never are one: a container's orphans go to its own init.
        "no-subreaper" => words.flag().map(drop),
        _ => Err(words.unknown()),
    })?;
    Ok(Verb::Run {
        bring,
        detach,
        keep,
    })
}

/// `other` reads what a verb has beside the options of `create`.
pub(super) fn bring(
    words: &mut Words,
    mut other: impl FnMut(&str, &mut Words) -> Result<()>,
) -> Result<Bring> {
    let mut bring = Bring {
        bundle: ".".into(),
        config: "config.json".into(),
        ..Bring::default()
    };
    let mut id = None;
    while let Some(word) = words.next()? {
        let name = match word {
            Word::Option(name) => name,
            Word::Plain(word) if id.is_none() => {
                id = Some(check_id(word)?);
                continue;
            }
            Word::Plain(word) => return Err(unexpected(&word)),
        };
        match name.as_str() {
            "bundle" | "b" => bring.bundle = words.value()?.into(),
            "config" | "f" => bring.config = words.value()?.into(),
            "pid-file" => bring.pid_file = Some(words.value()?.into()),
            "console-socket" => bring.console_socket = Some(words.value()?.into()),
            "pidfd-socket" => bring.pidfd_socket = Some(words.value()?.into()),
            "preserve-fds" => bring.preserve_fds = preserve_fds(words)?,
            "no-pivot" => {
                if words.flag()? {
                    bring.root_switch = RootSwitch::Move;
                }
            }
            "no-new-keyring" => {
                if words.flag()? {
                    bring.keyring = Keyring::Inherited;
                }
            }
            name => other(name, words)?,
        }
    }
    bring.id = id.ok_or_else(no_id)?;
    Ok(bring)
}

pub(super) fn preserve_fds(words: &mut Words) -> Result<u32> {
    let count = words.number()?;
    if count > PRESERVE_MAX {
        return Err(usage(format!(
            "--preserve-fds {count}: at most {PRESERVE_MAX} descriptors can be handed on"
        )));
    }
    Ok(count)
}
