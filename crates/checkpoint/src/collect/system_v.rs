//! System V objects: semaphores, message queues, segments.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use sys::pagemap::PAGE;
use sys::{Context as _, Result};

use super::shared_memory::{self, Place, Runs};
use super::{Collection, Inside};
use crate::freeze::StoppedProcess;
use crate::image::hex;
use crate::image::schema::{Owner, Queue, Semaphores, SharedKind, SharedMemory};
use crate::inject::{Arg, Outcome, Program, number};

const SHMCTL: u32 = 31;
const SEMCTL: u32 = 66;
const MSGCTL: u32 = 71;
const SHMAT: u32 = 30;
const SHMDT: u32 = 67;
const SHM_RDONLY: u32 = 0o10000;
const SHM_INFO: u32 = 14;
/// As `SHM_STAT`, for those too who may not read it.
const SHM_STAT_ANY: u32 = 15;
const SEM_INFO: u32 = 19;
const MSG_INFO: u32 = 12;
const MSG_STAT_ANY: u32 = 13;
const SEM_STAT_ANY: u32 = 20;
const GETALL: u32 = 13;
const MSGRCV: u32 = 70;
/// Of `struct msqid64_ds` and `semid64_ds`, the longer, and what is where.
const STATUS: usize = 120;
const SEMAPHORES: usize = 80;
const MESSAGES: usize = 80;
const CAPACITY: usize = 88;
/// Of `struct shmid64_ds`.
const SIZE: usize = 48;
const ATTACHED: usize = 88;
/// The kernel's own bounds (`SEMMSL`, `IPCMNI`), and more than its usual one
/// for a message.
const SEMAPHORES_MAX: u64 = 32_000;
const OBJECTS_MAX: u32 = 32 << 10;
const MESSAGE_MAX: usize = 64 << 10;

/// What a segment is beside its content.
pub(super) fn segment(
    process: &StoppedProcess,
    inside: &Inside,
    id: i32,
    key: i32,
) -> Result<SharedKind> {
    const DEST: u32 = 0o1000;
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

/// Segments that no process has attached: this one does, for a moment.
pub(super) fn unattached(
    process: &StoppedProcess,
    inside: &Inside,
    all: &mut Collection,
) -> Result<()> {
    let [segments, ..] = all.system_v;
    let run = |program: &Program| process.main()?.thread.run(inside.area, program);
    let (mut found, mut index) = (0, 0);
    while found < segments && index < OBJECTS_MAX {
        let look = [index.into(), SHM_STAT_ANY.into()];
        index += 1;
        let Some((owner, status)) = look_at(run, SHMCTL, &look)? else {
            continue;
        };
        found += 1;
        if number(&status, ATTACHED) > 0 {
            continue;
        }
        let mut program = Program::default();
        let arguments = [owner.id.into(), 0.into(), SHM_RDONLY.into()];
        let attached = program.call(
            format!("attach System V segment {}, which nobody has", owner.id),
            SHMAT,
            &arguments,
        );
        let address = run(&program)?.value(attached)?;
        let size = number(&status, SIZE);
        let place = Place::Piece(all.checkpoint.shared.len());
        let saved = save(process, (address, size), place, all);
        let mut program = Program::default();
        program.call("detach a System V segment", SHMDT, &[address.into()]);
        run(&program)?;
        let kind = SharedKind::SystemV {
            id: owner.id,
            key: owner.key,
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
            removed: false,
        };
        all.checkpoint.shared.push(SharedMemory {
            kind,
            size,
            pages: saved?,
        });
    }
    Ok(())
}

fn save(
    process: &StoppedProcess,
    (address, size): (u64, u64),
    place: Place,
    all: &mut Collection,
) -> Result<Runs> {
    let end = address + size.next_multiple_of(PAGE);
    let path = format!("/proc/{}/map_files/{address:x}-{end:x}", process.pid);
    let file = fs::File::open(&path).context(|| "open a System V segment")?;
    let about = file.metadata()?;
    shared_memory::save(&file, (about.dev(), about.ino()), size, place, all)
}

/// Sets of semaphores and queues, if [`count`] found any.
pub(super) fn collect(
    process: &StoppedProcess,
    inside: &Inside,
    all: &mut Collection,
) -> Result<()> {
    let [_, sets, queues] = all.system_v;
    let run = |program: &Program| process.main()?.thread.run(inside.area, program);
    let mut index = 0;
    while (all.checkpoint.semaphores.len() as u64) < sets && index < OBJECTS_MAX {
        let look = [index.into(), 0.into(), SEM_STAT_ANY.into()];
        if let Some((owner, status)) = look_at(run, SEMCTL, &look)? {
            let count = number(&status, SEMAPHORES).min(SEMAPHORES_MAX);
            let mut program = Program::default();
            let values = program.room(usize::try_from(count).unwrap_or(0) * 2);
            let arguments = [owner.id.into(), 0.into(), GETALL.into(), values.into()];
            program.call("read semaphores", SEMCTL, &arguments);
            let outcome = run(&program)?;
            let (values, _) = outcome.bytes(values).as_chunks::<2>();
            let values = values.iter().map(|it| u16::from_le_bytes(*it)).collect();
            all.checkpoint.semaphores.push(Semaphores { owner, values });
        }
        index += 1;
    }
    let mut index = 0;
    while (all.checkpoint.queues.len() as u64) < queues && index < OBJECTS_MAX {
        let look = [index.into(), MSG_STAT_ANY.into()];
        if let Some((owner, status)) = look_at(run, MSGCTL, &look)? {
            let mut messages = Vec::new();
            for place in 0..number(&status, MESSAGES) {
                messages.push(message(run, owner.id, place)?);
            }
            let capacity = number(&status, CAPACITY);
            all.checkpoint.queues.push(Queue {
                owner,
                capacity,
                messages,
            });
        }
        index += 1;
    }
    Ok(())
}

/// The object at an index of the kernel's, if there is one: `ask` and room.
fn look_at(
    run: impl Fn(&Program) -> Result<Outcome>,
    call: u32,
    ask: &[Arg],
) -> Result<Option<(Owner, Vec<u8>)>> {
    let mut program = Program::default();
    let room = program.room(STATUS);
    let mut arguments = ask.to_vec();
    arguments.push(room.into());
    let looked = program.attempt(call, &arguments);
    let outcome = run(&program)?;
    let Ok(id) = outcome.value(looked) else {
        return Ok(None);
    };
    let status = outcome.bytes(room).to_vec();
    let word = |at: usize| u32::try_from(number(&status, at) & 0xffff_ffff).unwrap_or(0);
    let owner = Owner {
        id: i32::try_from(id).unwrap_or(-1),
        key: word(0).cast_signed(),
        mode: word(20) & 0o777,
        uid: word(4),
        gid: word(8),
    };
    Ok(Some((owner, status)))
}

/// A copy of one message; the queue keeps it.
fn message(
    run: impl Fn(&Program) -> Result<Outcome>,
    id: i32,
    place: u64,
) -> Result<(i64, String)> {
    /// `MSG_COPY`, `IPC_NOWAIT`
    const FLAGS: u32 = 0o44_000;
    let mut program = Program::default();
    let room = program.room(8 + MESSAGE_MAX);
    let arguments = [
        id.into(),
        room.into(),
        (MESSAGE_MAX as u64).into(),
        place.into(),
        FLAGS.into(),
    ];
    let got = program.call("look at a message", MSGRCV, &arguments);
    let outcome = run(&program)?;
    let length = usize::try_from(outcome.value(got)?).unwrap_or(0);
    let text = outcome.bytes(room).get(8..8 + length).unwrap_or_default();
    Ok((outcome.number(room, 0).cast_signed(), hex::encode(text)))
}
