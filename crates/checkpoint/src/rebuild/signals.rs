//! Signal handlers and signals that wait.

use sys::Result;

use crate::image::hex;
use crate::image::schema::Action;
use crate::inject::Program;

const RT_SIGACTION: u32 = 13;
const RT_SIGTIMEDWAIT: u32 = 128;
const RT_SIGQUEUEINFO: u32 = 129;
const RT_TGSIGQUEUEINFO: u32 = 297;

/// What our own doings send: SIGHUP, SIGCHLD, SIGCONT.
const OURS: [u64; 3] = [1, 17, 18];

/// Nobody shall hear of deaths that were ours, nor of terminals that came and
/// went.
pub(super) fn drop_ours(program: &mut Program) {
    let set = OURS
        .iter()
        .fold(0, |set, signal| set | 1u64 << (signal - 1));
    let set = program.data(&set.to_le_bytes());
    let now = program.room(16);
    for _ in OURS {
        let arguments = [set.into(), 0.into(), now.into(), 8.into()];
        program.attempt(RT_SIGTIMEDWAIT, &arguments);
    }
}

pub(super) fn set_actions(program: &mut Program, actions: &[Action]) {
    for action in actions {
        let fields = [action.handler, action.flags, action.restorer, action.mask];
        let place = program.data(&fields.map(u64::to_le_bytes).concat());
        program.call(
            "set a signal handler",
            RT_SIGACTION,
            &[action.signal.into(), place.into(), 0.into(), 8.into()],
        );
    }
}

/// Sent by the thread to itself; all are blocked now.
pub(super) fn queue_for_thread(
    program: &mut Program,
    pid: i32,
    tid: i32,
    pending: &[String],
) -> Result<()> {
    for info in pending {
        let (signal, info) = parse(info)?;
        let info = program.data(&info);
        program.call(
            "queue a signal",
            RT_TGSIGQUEUEINFO,
            &[pid.into(), tid.into(), signal.into(), info.into()],
        );
    }
    Ok(())
}

pub(super) fn queue_for_process(program: &mut Program, pid: i32, pending: &[String]) -> Result<()> {
    for info in pending {
        let (signal, info) = parse(info)?;
        let info = program.data(&info);
        program.call(
            "queue a signal",
            RT_SIGQUEUEINFO,
            &[pid.into(), signal.into(), info.into()],
        );
    }
    Ok(())
}

fn parse(info: &str) -> Result<(u32, Vec<u8>)> {
    let mut bytes = hex::decode(info)?;
    bytes.resize(128, 0);
    let signal = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok((signal, bytes))
}
