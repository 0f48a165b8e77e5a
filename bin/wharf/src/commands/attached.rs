//! What `run`, `start -a`, `attach` and `exec` share: a session with its end
//! told.

use clap::ArgMatches;
use engine::containers::session::Session;
use state::ExitRecord;
use sys::{Error, ErrorKind, Result};

use crate::args::Given as _;
use crate::errors::INTERRUPTED;
use crate::output::{self, PIPE_CLOSED};
use crate::terminal::detach_keys::DetachKeys;
use crate::terminal::session::{End, Manner, run};
use crate::terminal::signals::Signals;

/// `--detach-keys`.
pub(crate) fn detach_keys(given: &ArgMatches) -> Result<DetachKeys> {
    given
        .text("detach-keys")
        .map_or_else(|| Ok(DetachKeys::default()), DetachKeys::parse)
}

/// What becomes of a container whose output nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnClosedPipe {
    /// It ends, as a program in a pipe does.
    Kill,
    Leave,
}

/// Takes part until the end; gives the exit code.
pub(crate) fn take_part(
    session: Session,
    manner: &Manner,
    signals: &Signals,
    on_closed_pipe: OnClosedPipe,
) -> Result<u8> {
    match run(&session, manner, signals)? {
        End::Exited(record) => exit(record),
        End::Suspended => {
            let id = session.id().short();
            output::note(&format!(
                "wharf: the container was suspended\nhint: wharf resume {id} lets it go on"
            ));
            Ok(0)
        }
        End::Detached => {
            session.detach()?;
            // The cursor stands behind the container's last words.
            output::note("");
            Ok(0)
        }
        End::GaveUp => {
            let id = session.id().to_string();
            let id = id.get(..12).unwrap_or(&id).to_owned();
            session.detach()?;
            output::note(&format!(
                "wharf: the container goes on\nhint: wharf stop {id} or wharf kill {id} ends it"
            ));
            Ok(INTERRUPTED)
        }
        End::PipeClosed if on_closed_pipe == OnClosedPipe::Kill => {
            // If it ended meanwhile there is nobody to be killed.
            let _ = session.signal(rustix::process::Signal::KILL.as_raw());
            // Its end is awaited so that it is cleaned up.
            while !matches!(
                session.next_event(),
                Ok(engine::containers::session::SessionEvent::Exited(_)
                    | engine::containers::session::SessionEvent::Suspended
                    | engine::containers::session::SessionEvent::Closed)
                    | Err(_)
            ) {}
            Ok(PIPE_CLOSED)
        }
        End::PipeClosed => Ok(PIPE_CLOSED),
        End::Lost => Err(Error::new(
            ErrorKind::Unavailable,
            "the container's monitor went away without saying how it ended",
        )),
    }
}

/// The container's own code, or why it never ran.
fn exit(record: ExitRecord) -> Result<u8> {
    match record.error {
        Some(error) => Err(error),
        None => Ok(record.status.code()),
    }
}
