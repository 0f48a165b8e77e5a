//! `checkpoint` and `restore`, with the options that runc has.

use std::path::PathBuf;

use checkpoint::TcpPolicy;
use sys::{Error, ErrorKind, Result};

use super::bring::{self, Bring};
use super::id_and;
use super::words::Words;

/// A checkpoint to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    /// Where to say what it came to.
    pub(crate) work: Option<PathBuf>,
    pub(crate) leave_running: bool,
    pub(crate) tcp: TcpPolicy,
    pub(crate) external_sockets: bool,
    /// It is taken again later, and goes on until then.
    pub(crate) is_before: bool,
    /// Where an earlier one is, relative to the image.
    pub(crate) parent: Option<PathBuf>,
}

/// A container to make from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restore {
    pub(crate) bring: Bring,
    pub(crate) image: PathBuf,
    pub(crate) detach: bool,
}

const IMAGE: &str = "checkpoint";

pub(super) fn checkpoint(words: &mut Words) -> Result<Checkpoint> {
    let (mut image, mut leave_running) = (PathBuf::from(IMAGE), false);
    let (mut tcp, mut external_sockets) = (TcpPolicy::Refuse, false);
    let (mut work, mut parent, mut is_before) = (None, None, false);
    let id = id_and(words, |name, words| match name {
        "image-path" => words.value().map(|value| image = value.into()),
        "work-path" => words.value().map(|value| work = Some(value.into())),
        "pre-dump" => words.flag().map(|flag| is_before = flag),
        "parent-path" => words
            .value()
            .map(|value| parent = Some(PathBuf::from(value))),
        "leave-running" => words.flag().map(|flag| leave_running = flag),
        "tcp-established" => words.flag().map(|flag| {
            if flag {
                tcp = TcpPolicy::Keep;
            }
        }),
        "tcp-close" => words.flag().map(|flag| {
            if flag {
                tcp = TcpPolicy::Close;
            }
        }),
        "ext-unix-sk" => words.flag().map(|flag| external_sockets = flag),
        name => granted(name, words),
    })?;
    Ok(Checkpoint {
        id,
        image,
        work,
        leave_running,
        tcp,
        external_sockets,
        is_before,
        parent: parent.filter(|path| !path.as_os_str().is_empty()),
    })
}

pub(super) fn restore(words: &mut Words) -> Result<Restore> {
    let (mut image, mut detach) = (PathBuf::from(IMAGE), false);
    let bring = bring::bring(words, |name, words| match name {
        "image-path" => words.value().map(|value| image = value.into()),
        "detach" | "d" => words.flag().map(|flag| detach = flag),
        "no-subreaper" => words.flag().map(drop),
        name => granted(name, words),
    })?;
    Ok(Restore {
        bring,
        image,
        detach,
    })
}

/// What is so without being asked for: locks and unlinked files are carried,
/// there are no files of logs that would need a place, and cgroups are those
/// of the specification.
fn granted(name: &str, words: &mut Words) -> Result<()> {
    match name {
        "file-locks" | "link-remap" | "auto-dedup" => words.flag().map(drop),
        "work-path" | "manage-cgroups-mode" => words.value().map(drop),
        // Of no use where no such thing is carried at all.
        "tcp-established" | "tcp-close" | "tcp-skip-in-flight" | "ext-unix-sk" | "shell-job" => {
            words.flag().map(drop)
        }
        "lazy-pages" | "page-server" | "status-fd" | "empty-ns" | "lsm-profile"
        | "lsm-mount-context" => Err(Error::new(
            ErrorKind::Unsupported,
            format!("--{name} is not supported"),
        )),
        _ => Err(words.unknown()),
    }
}
