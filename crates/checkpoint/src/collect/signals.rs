//! Signal handlers and signals that wait.

use sys::Result;
use sys::ptrace;

use crate::image::hex;
use crate::image::schema::Action;
use crate::inject::{Arg, Outcome, Place, Program};

const RT_SIGACTION: u32 = 13;
const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;

/// Asks for every handler; [`actions`] reads the answers.
pub(super) fn ask(program: &mut Program) -> Vec<(u32, Place)> {
    (1..=64)
        .filter(|signal| *signal != SIGKILL && *signal != SIGSTOP)
        .map(|signal| {
            // handler, flags, restorer, mask
            let place = program.room(32);
            let arguments = [
                Arg::from(signal),
                Arg::Value(0),
                place.into(),
                Arg::Value(8),
            ];
            program.call("read a signal handler", RT_SIGACTION, &arguments);
            (signal, place)
        })
        .collect()
}

pub(super) fn actions(asked: &[(u32, Place)], outcome: &Outcome) -> Vec<Action> {
    asked
        .iter()
        .map(|(signal, place)| Action {
            signal: *signal,
            handler: outcome.number(*place, 0),
            flags: outcome.number(*place, 1),
            restorer: outcome.number(*place, 2),
            mask: outcome.number(*place, 3),
        })
        .filter(|action| (action.handler, action.flags, action.mask) != (0, 0, 0))
        .collect()
}

pub(super) fn pending(tid: i32, shared: bool) -> Result<Vec<String>> {
    let all = ptrace::pending_signals(tid, shared)?;
    Ok(all.iter().map(|info| hex::encode(info)).collect())
}
