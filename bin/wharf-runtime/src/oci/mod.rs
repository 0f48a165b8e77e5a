//! The verbs of the OCI runtime command line, for containerd, podman, Docker
//! and people: one file for each.
//!
//! Start reading at [`args`], what can be asked, then at [`container`], what
//! is known of a container.

mod args;
mod checkpoint;
mod console;
mod container;
mod create;
mod delete;
mod events;
mod example;
mod exec;
mod features;
mod freeze;
mod help;
mod kill;
mod list;
mod listen_fds;
mod log;
mod output;
mod pidfd;
mod ps;
mod restore;
mod run;
mod start;
mod timings;
mod update;

use sys::{Error, ErrorKind, Result};

use args::{Global, Verb};
pub(crate) use log::error as report;

/// Runs a command line and says what went wrong; the exit code.
pub(crate) fn run() -> u8 {
    let words: Result<Vec<String>> = std::env::args_os()
        .skip(1)
        .map(|word| {
            word.into_string().map_err(|word| {
                let message = format!("{} is not text", word.display());
                Error::new(ErrorKind::InvalidInput, message)
            })
        })
        .collect();
    let (global, verb) = match words {
        Ok(words) => {
            let (global, verb) = args::parse(words, default_root());
            (Some(global), verb)
        }
        Err(error) => (None, Err(error)),
    };
    let done = match (&global, verb) {
        (Some(global), Ok(verb)) => perform(global, verb),
        (None, Ok(_)) => unreachable!(),
        (_, Err(error)) => Err(error),
    };
    if let Some(global) = &global {
        log::timings(global);
    }
    match done {
        Ok(code) => code,
        Err(error) => {
            report(global.as_ref(), &error);
            code_of(&error)
        }
    }
}

/// Where root keeps what is gone at reboot; another user's place is in the
/// directory that the session gave it.
fn default_root() -> std::path::PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    match own {
        Some(own) if !rustix::process::geteuid().is_root() => {
            std::path::Path::new(&own).join("wharf-runtime")
        }
        _ => "/run/wharf-runtime".into(),
    }
}

fn perform(global: &Global, verb: Verb) -> Result<u8> {
    let done = match verb {
        Verb::Run {
            bring,
            detach: false,
            keep,
        } => return run::attached(global, &bring, keep),
        Verb::Exec(exec) => return exec::exec(global, &exec),
        Verb::Restore(restore) if !restore.detach => {
            return restore::attached(global, &restore);
        }
        Verb::Restore(restore) => restore::detached(global, &restore),
        Verb::Checkpoint(asked) => checkpoint::checkpoint(global, &asked),
        Verb::Run { bring, .. } => run::detached(global, &bring),
        Verb::Create(bring) => create::create(global, &bring),
        Verb::Start { id } => start::start(global, &id),
        Verb::State { id } => list::state(global, &id),
        Verb::Kill { id, signal, all } => kill::kill(global, &id, signal, all),
        Verb::Delete { id, force } => delete::delete(global, &id, force),
        Verb::List { format, quiet } => list::list(global, format, quiet),
        Verb::Ps {
            id,
            format,
            options,
        } => ps::ps(global, &id, format, &options),
        Verb::Pause { id } => freeze::pause(global, &id),
        Verb::Resume { id } => freeze::resume(global, &id),
        Verb::Update(update) => update::update(global, &update),
        Verb::Events { id, interval, once } => events::events(global, &id, interval, once),
        Verb::Spec { bundle, rootless } => example::write(&bundle, rootless),
        Verb::Features => output::print(&output::json(&features::features())?),
        Verb::Version => output::print(&features::version()),
        Verb::Help(verb) => output::print(&help::text(verb.as_deref())?),
    };
    done.map(|()| 0)
}

/// Exit code of a failure: 127 and 126 as shells have them.
fn code_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::CommandNotFound => 127,
        ErrorKind::CommandNotExecutable => 126,
        _ => 1,
    }
}
