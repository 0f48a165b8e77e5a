//! System V objects that would be lost: segments that nobody has attached,
//! semaphores, message queues.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use sys::{Error, ErrorKind, Result};

use super::{Collection, Inside};
use crate::freeze::StoppedProcess;
use crate::image::schema::SharedKind;
use crate::inject::{Program, number};

const SHMCTL: u32 = 31;
const SEMCTL: u32 = 66;
const MSGCTL: u32 = 71;
const SHM_INFO: u32 = 14;
const SEM_INFO: u32 = 19;
const MSG_INFO: u32 = 12;

/// What a segment is beside its content.
pub(super) fn segment(
    process: &StoppedProcess,
    inside: &Inside,
    id: i32,
    key: i32,
) -> Result<SharedKind> {
    const DEST: u32 = 0o1000;
    // The caller may be allowed to read it only.
    const SHM_STAT_ANY: u32 = 15;
    let mut program = Program::default();
    // struct shmid64_ds: key, uid, gid, cuid, cgid, mode
    let room = program.room(112);
    let index = id & 0x7fff;
    program.call(
        "look at a System V segment",
        SHMCTL,
        &[index.into(), SHM_STAT_ANY.into(), room.into()],
    );
    let outcome = process.main()?.thread.run(inside.area, &program)?;
    let word = |at: usize| {
        let word = number(outcome.bytes(room), at) & 0xffff_ffff;
        u32::try_from(word).unwrap_or(0)
    };
    Ok(SharedKind::SystemV {
        id,
        key,
        mode: word(20) & 0o777,
        uid: word(4),
        gid: word(8),
        removed: word(20) & DEST != 0,
    })
}

/// How many segments, sets of semaphores and queues there are in the
/// container; nothing if it shares those of the host.
pub(super) fn count(process: &StoppedProcess, inside: &Inside) -> Result<[u64; 3]> {
    let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/ipc")).map(|it| it.ino());
    if inode(&process.pid.to_string())? == inode("self")? {
        return Ok([0; 3]);
    }
    let mut program = Program::default();
    // struct shm_info, seminfo, msginfo
    let places = [program.room(128), program.room(128), program.room(128)];
    let ask = "count System V objects";
    program.call(ask, SHMCTL, &[0.into(), SHM_INFO.into(), places[0].into()]);
    let arguments = [0.into(), 0.into(), SEM_INFO.into(), places[1].into()];
    program.call(ask, SEMCTL, &arguments);
    program.call(ask, MSGCTL, &[0.into(), MSG_INFO.into(), places[2].into()]);
    let outcome = process.main()?.thread.run(inside.area, &program)?;
    let word = |index: usize, at: usize| number(outcome.bytes(places[index]), at) & 0xffff_ffff;
    Ok([word(0, 0), word(1, 28), word(2, 0)])
}

/// Once all mappings are known.
pub(super) fn refuse_lost(counted: [u64; 3], all: &Collection) -> Result<()> {
    let shared = all.checkpoint.shared.iter();
    let carried = shared
        .filter(|it| matches!(it.kind, SharedKind::SystemV { .. }))
        .count();
    let refuse = |what: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("there are System V {what} in the container, which are not carried yet"),
        ))
    };
    match counted {
        [segments, ..] if segments > carried as u64 => {
            refuse("segments that no process has attached")
        }
        [_, sets, _] if sets > 0 => refuse("semaphores"),
        [.., queues] if queues > 0 => refuse("message queues"),
        _ => Ok(()),
    }
}
