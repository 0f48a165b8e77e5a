//! Memory that several mappings or descriptors show. It cannot be shared
//! copy-on-write, so it is copied.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::MemfdFlags;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use super::pool::{OPENED, put};
use super::{Puppet, Work};
use crate::copies;
use crate::image::schema::{Mapping, SharedKind, SharedMemory};
use crate::inject::Program;

const WRITE: u32 = 1;
const CLOSE: u32 = 3;
const SHMGET: u32 = 29;
const SHMAT: u32 = 30;
const SHMCTL: u32 = 31;
const SHMDT: u32 = 67;
const FCNTL: u32 = 72;
const FTRUNCATE: u32 = 77;
const UNLINK: u32 = 87;
const FCHMOD: u32 = 91;
const FCHOWN: u32 = 93;
const OPENAT: u32 = 257;
const PREADV: u32 = 295;
const MEMFD_CREATE: u32 = 319;
const FSOPEN: u32 = 430;
const FSCONFIG: u32 = 431;
const FSMOUNT: u32 = 432;
const AT_FDCWD: i32 = -100;
const F_ADD_SEALS: u32 = 1033;
const F_SEAL_SEAL: u32 = 1;
const IPC_CREAT_EXCL: u32 = 0o3000;
const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const SHM_RDONLY: u32 = 0o10000;
const SHM_EXEC: u32 = 0o100_000;
const O_RDWR: u32 = 2;
const O_CREAT_EXCL: u32 = 0o300;
const O_TMPFILE: u32 = 0o20_200_000;

impl<'a> Work<'a> {
    /// The piece, if it is a System V segment.
    pub(super) fn system_v(&self, memory: usize) -> Option<&'a SharedKind> {
        self.checkpoint
            .shared
            .get(memory)
            .map(|memory| &memory.kind)
            .filter(|kind| matches!(kind, SharedKind::SystemV { .. }))
    }
}

/// Makes and fills all of it; each piece has its number in the pool.
pub(super) fn make(puppet: &Puppet, pidfd: BorrowedFd<'_>, work: &Work<'_>) -> Result<()> {
    for (index, memory) in work.checkpoint.shared.iter().enumerate() {
        if let SharedKind::SystemV { .. } = memory.kind {
            make_system_v(puppet, work, memory).context(|| "make a System V segment")?;
            continue;
        }
        if work.copies.get(index).is_some() {
            // It came with the process.
            continue;
        }
        let place = work.pool.shared(index);
        open(puppet, memory, place)?;
        let ours = pidfd_getfd(pidfd, place, PidfdGetfdFlags::empty())
            .context(|| "take hold of shared memory")?;
        copies::fill(memory, work.pages, ours.as_fd())?;
    }
    Ok(())
}

fn open(puppet: &Puppet, memory: &SharedMemory, place: i32) -> Result<()> {
    let mut program = Program::default();
    match &memory.kind {
        SharedKind::Removed {
            path,
            mode,
            uid,
            gid,
        } => {
            if open_removed(puppet, path).is_err() {
                // Its directory is gone too, or cannot be written to.
                create_memfd(&mut program, "removed", MemfdFlags::ALLOW_SEALING);
            }
            let owner = [OPENED.into(), (*uid).into(), (*gid).into()];
            program.attempt(FCHOWN, &owner);
            program.attempt(FCHMOD, &[OPENED.into(), (*mode).into()]);
        }
        kind => {
            let (name, flags) = copies::memfd(kind).unwrap_or(("shared", MemfdFlags::empty()));
            create_memfd(&mut program, name, flags);
        }
    }
    program.call(
        "size shared memory",
        FTRUNCATE,
        &[OPENED.into(), memory.size.into()],
    );
    put(&mut program, OPENED, place);
    puppet.run(&program).map(drop)
}

fn create_memfd(program: &mut Program, name: &str, flags: MemfdFlags) {
    let name = program.text(name.as_bytes());
    program.call(
        "make shared memory",
        MEMFD_CREATE,
        &[name.into(), flags.bits().into()],
    );
}

/// A file without a name where it was: there it counts and is limited as it
/// was.
fn open_removed(puppet: &Puppet, path: &str) -> Result<()> {
    let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
    let mut program = Program::default();
    let parent = program.text(format!("{parent}/").as_bytes());
    let flags = O_TMPFILE | O_RDWR;
    program.call(
        "make a file without a name",
        OPENAT,
        &[AT_FDCWD.into(), parent.into(), flags.into(), 0o600.into()],
    );
    if puppet.run(&program).is_ok() {
        return Ok(());
    }
    let mut program = Program::default();
    let name = program.text(format!("{path}.wharf-restore").as_bytes());
    let flags = O_CREAT_EXCL | O_RDWR;
    program.call(
        "make a file",
        OPENAT,
        &[AT_FDCWD.into(), name.into(), flags.into(), 0o600.into()],
    );
    program.call("remove a file", UNLINK, &[name.into()]);
    puppet.run(&program).map(drop)
}

/// Once everything is mapped: what was sealed is sealed, what was marked for
/// removal goes with its last user.
pub(super) fn seal(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    let mut program = Program::default();
    for (index, memory) in work.checkpoint.shared.iter().enumerate() {
        match memory.kind {
            SharedKind::Memfd { seals, .. } if seals & !F_SEAL_SEAL != 0 => {
                let place = work.pool.shared(index);
                let arguments = [place.into(), F_ADD_SEALS.into(), seals.into()];
                program.call("seal shared memory", FCNTL, &arguments);
            }
            SharedKind::SystemV {
                id, removed: true, ..
            } => {
                program.call("remove a segment", SHMCTL, &[id.into(), IPC_RMID.into()]);
            }
            _ => {}
        }
    }
    puppet.run(&program).map(drop)
}

fn make_system_v(puppet: &Puppet, work: &Work<'_>, memory: &SharedMemory) -> Result<()> {
    let SharedKind::SystemV {
        id,
        key,
        mode,
        uid,
        gid,
        ..
    } = memory.kind
    else {
        return Ok(());
    };
    ask_for_id(puppet, "shm_next_id", id)?;
    let mut program = Program::default();
    let made = program.call(
        "make a segment",
        SHMGET,
        &[
            key.into(),
            memory.size.into(),
            (IPC_CREAT_EXCL | mode).into(),
        ],
    );
    let outcome = puppet.run(&program)?;
    if outcome.value(made)? != u64::from(id.unsigned_abs()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("segment {id} cannot have its number again"),
        ));
    }
    let mut program = Program::default();
    // struct shmid64_ds begins with key, uid, gid, cuid, cgid, mode.
    let mut new = vec![0; 112];
    new[4..8].copy_from_slice(&uid.to_le_bytes());
    new[8..12].copy_from_slice(&gid.to_le_bytes());
    new[20..24].copy_from_slice(&mode.to_le_bytes());
    let new = program.data(&new);
    program.call(
        "give a segment away",
        SHMCTL,
        &[id.into(), IPC_SET.into(), new.into()],
    );
    // Nothing else is mapped in this process yet.
    let at = puppet.area.base + puppet.area.size;
    program.call("attach a segment", SHMAT, &[id.into(), at.into(), 0.into()]);
    for (first, count, stored) in &memory.pages {
        let mut place = at + first * PAGE;
        for part in work.pages.extents(stored * PAGE, count * PAGE) {
            let vector = [place, part.length];
            let vector = program.data(&vector.map(u64::to_le_bytes).concat());
            program.call(
                "read a segment from the checkpoint",
                PREADV,
                &[
                    work.pool.pages(part.index).into(),
                    vector.into(),
                    1.into(),
                    part.offset.into(),
                    0.into(),
                ],
            );
            place += part.length;
        }
    }
    program.call("detach a segment", SHMDT, &[at.into()]);
    puppet.run(&program).map(drop)
}

/// The next System V object gets this number (CONFIG_CHECKPOINT_RESTORE).
/// The container's own /proc/sys is read-only, so through another procfs.
pub(super) fn ask_for_id(puppet: &Puppet, file: &str, id: i32) -> Result<()> {
    let mut program = Program::default();
    let kind = program.text(b"proc");
    let path = program.text(format!("sys/kernel/{file}").as_bytes());
    let text = id.to_string();
    let bytes = program.data(text.as_bytes());
    let (context, mount, opened) = (OPENED, OPENED + 1, OPENED + 2);
    program.call("make a procfs", FSOPEN, &[kind.into(), 0.into()]);
    // FSCONFIG_CMD_CREATE
    let create = [context.into(), 6.into(), 0.into(), 0.into(), 0.into()];
    program.call("make a procfs", FSCONFIG, &create);
    program.call(
        "make a procfs",
        FSMOUNT,
        &[context.into(), 0.into(), 0.into()],
    );
    let arguments = [mount.into(), path.into(), O_RDWR.into(), 0.into()];
    program.call(format!("open /proc/sys/kernel/{file}"), OPENAT, &arguments);
    let length = text.len() as u64;
    program.call(
        "choose a number",
        WRITE,
        &[opened.into(), bytes.into(), length.into()],
    );
    for fd in [opened, mount, context] {
        program.call("close a descriptor", CLOSE, &[fd.into()]);
    }
    puppet.run(&program).map(drop)
}

/// Adds the attaching of a segment where a mapping was.
pub(super) fn attach(program: &mut Program, mapping: &Mapping, kind: Option<&SharedKind>) {
    let Some(SharedKind::SystemV { id, .. }) = kind else {
        return;
    };
    let mut flags = 0;
    if mapping.protection & 2 == 0 {
        flags |= SHM_RDONLY;
    }
    if mapping.protection & 4 != 0 {
        flags |= SHM_EXEC;
    }
    let arguments = [(*id).into(), mapping.start.into(), flags.into()];
    program.call("attach a segment", SHMAT, &arguments);
}
