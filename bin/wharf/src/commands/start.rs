//! `wharf start`.

use engine::AttachRequest;
use engine::containers::Started;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Call;
use super::attached::{OnClosedPipe, detach_keys, take_part};
use super::each::each;
use super::run::starts_cold;
use crate::args::Given as _;
use crate::output;
use crate::terminal;
use crate::terminal::session::{Manner, require_terminal};
use crate::terminal::signals::Signals;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let names = call.given.texts("CONTAINER");
    let interactive = call.given.on("interactive");
    if interactive || call.given.on("attach") {
        let [name] = names[..] else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "only one container at a time can be started and attached",
            ));
        };
        return attached(call, name, interactive);
    }
    let engine = call.engine()?;
    each(call, &names, |name| {
        let started = engine
            .containers()
            .start_telling(name, &starts_cold)
            .context(|| format!("start {name}"))?;
        if started == Started::Resumed {
            output::note(&format!("{name} was suspended and goes on where it was"));
        }
        Ok(Some(name.to_owned()))
    })
}

fn attached(call: &Call<'_>, name: &str, interactive: bool) -> Result<u8> {
    let engine = call.engine()?;
    let config = engine
        .containers()
        .inspect(name)
        .context(|| format!("start {name}"))?
        .config;
    let manner = Manner {
        stdin: interactive && config.open_stdin,
        stdout: true,
        stderr: true,
        tty: config.tty,
        forward: true,
        keys: detach_keys(call.given)?,
    };
    require_terminal(&manner)?;
    let signals = Signals::new()?;
    let attach = AttachRequest {
        stdin: manner.stdin,
        size: manner.tty.then(terminal::size).flatten(),
    };
    let session = engine
        .containers()
        .start_attached(name, &attach, &starts_cold)
        .context(|| format!("start {name}"))?;
    take_part(session, &manner, &signals, OnClosedPipe::Leave)
}
