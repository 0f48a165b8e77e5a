//! Sets of semaphores and message queues of System V, with their numbers.

use sys::{Context as _, Error, ErrorKind, Result};

use super::shared_memory::ask_for_id;
use super::{Puppet, Work};
use crate::image::hex;
use crate::image::schema::{Owner, Queue, Semaphores};
use crate::inject::Program;

const SEMGET: u32 = 64;
const SEMCTL: u32 = 66;
const MSGGET: u32 = 68;
const MSGSND: u32 = 69;
const MSGCTL: u32 = 71;
const IPC_CREAT_EXCL: u32 = 0o3000;
const IPC_NOWAIT: u32 = 0o4000;
const IPC_SET: u32 = 1;
const SETALL: u32 = 17;
/// Of `struct msqid64_ds` and `semid64_ds`, the longer; where the first has
/// its capacity.
const STATUS: usize = 120;
const CAPACITY: usize = 88;
/// Data of one program.
const AT_ONCE: usize = 512 << 10;

pub(super) fn make(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    for set in &work.checkpoint.semaphores {
        semaphores(puppet, set).context(|| format!("make semaphores {} again", set.owner.id))?;
    }
    for queue in &work.checkpoint.queues {
        messages(puppet, queue)
            .context(|| format!("make message queue {} again", queue.owner.id))?;
    }
    Ok(())
}

fn semaphores(puppet: &Puppet, set: &Semaphores) -> Result<()> {
    let owner = &set.owner;
    ask_for_id(puppet, "sem_next_id", owner.id)?;
    let count = set.values.len() as u64;
    let flags = IPC_CREAT_EXCL | owner.mode & 0o777;
    let mut program = Program::default();
    let arguments = [owner.key.into(), count.into(), flags.into()];
    let made = program.call("make it", SEMGET, &arguments);
    has_its_number(&puppet.run(&program)?, made, owner)?;
    let mut program = Program::default();
    let values: Vec<u8> = set.values.iter().flat_map(|it| it.to_le_bytes()).collect();
    let values = program.data(&values);
    let arguments = [owner.id.into(), 0.into(), SETALL.into(), values.into()];
    program.call("set their values", SEMCTL, &arguments);
    let status = program.data(&status(owner));
    let arguments = [owner.id.into(), 0.into(), IPC_SET.into(), status.into()];
    program.call("give them away", SEMCTL, &arguments);
    puppet.run(&program).map(drop)
}

fn messages(puppet: &Puppet, queue: &Queue) -> Result<()> {
    let owner = &queue.owner;
    ask_for_id(puppet, "msg_next_id", owner.id)?;
    let flags = IPC_CREAT_EXCL | owner.mode & 0o777;
    let mut program = Program::default();
    let made = program.call("make it", MSGGET, &[owner.key.into(), flags.into()]);
    has_its_number(&puppet.run(&program)?, made, owner)?;
    let mut program = Program::default();
    let mut status = status(owner);
    status[CAPACITY..CAPACITY + 8].copy_from_slice(&queue.capacity.to_le_bytes());
    let status = program.data(&status);
    let arguments = [owner.id.into(), IPC_SET.into(), status.into()];
    program.call("size it and give it away", MSGCTL, &arguments);
    for (kind, text) in &queue.messages {
        let text = hex::decode(text)?;
        let length = text.len() as u64;
        let message = program.data(&[kind.to_le_bytes().as_slice(), &text].concat());
        let arguments = [
            owner.id.into(),
            message.into(),
            length.into(),
            IPC_NOWAIT.into(),
        ];
        program.call("put a message into it", MSGSND, &arguments);
        if program.data_length() > AT_ONCE {
            puppet.run(&program)?;
            program = Program::default();
        }
    }
    puppet.run(&program).map(drop)
}

/// Key, user, group, creator's, mode.
fn status(owner: &Owner) -> Vec<u8> {
    let mut status = vec![0; STATUS];
    status[4..8].copy_from_slice(&owner.uid.to_le_bytes());
    status[8..12].copy_from_slice(&owner.gid.to_le_bytes());
    status[20..24].copy_from_slice(&owner.mode.to_le_bytes());
    status
}

fn has_its_number(outcome: &crate::inject::Outcome, made: usize, owner: &Owner) -> Result<()> {
    if outcome.value(made)? == u64::from(owner.id.unsigned_abs()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "it cannot have its number again",
    ))
}
