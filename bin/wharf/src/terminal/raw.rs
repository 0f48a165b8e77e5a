//! Raw mode of stdin's terminal, and the way back from it.

use std::io::stdin;
use std::sync::Mutex;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sys::{Context as _, Result};

/// How the terminal was before. The terminal is one for the whole process,
/// and a panic has to find it, too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// While it lives, the terminal is changed.
#[derive(Debug)]
pub(crate) struct Changed(());

impl Drop for Changed {
    fn drop(&mut self) {
        restore();
    }
}

/// Every key goes to the container: none is a signal, none is echoed.
pub(crate) fn raw() -> Result<Changed> {
    change(Termios::make_raw)
}

/// Typed passwords are not shown.
pub(crate) fn no_echo() -> Result<Changed> {
    change(|modes| {
        modes.local_modes.remove(LocalModes::ECHO);
        modes.local_modes.insert(LocalModes::ECHONL);
    })
}

/// Puts the terminal back as it was, from anywhere: the end of a scope, a
/// panic, before an exit.
pub(crate) fn restore() {
    // A panic elsewhere must not keep the terminal raw.
    let mut before = BEFORE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(modes) = before.take() {
        // Nothing can be done if it is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &modes);
    }
}

fn change(change: impl FnOnce(&mut Termios)) -> Result<Changed> {
    let modes = tcgetattr(stdin()).context(|| "read the terminal's modes")?;
    let mut changed = modes.clone();
    change(&mut changed);
    let mut before = BEFORE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if before.is_none() {
        *before = Some(modes);
        // In a release build a panic ends the program without unwinding.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    }
    drop(before);
    let guard = Changed(());
    tcsetattr(stdin(), OptionalActions::Drain, &changed).context(|| "set the terminal's modes")?;
    Ok(guard)
}
