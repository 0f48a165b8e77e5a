//! Pipes, with what was in them.

use sys::{Context as _, Result};

use super::pool::OPENED;
use super::{Puppet, Work, files};
use crate::image::hex;
use crate::image::schema::{Kind, Pipe};
use crate::inject::Program;

const WRITE: u32 = 1;
const CLOSE: u32 = 3;
const FCNTL: u32 = 72;
const DUP3: u32 = 292;
const PIPE2: u32 = 293;
const F_SETFL: u32 = 4;
const F_SETPIPE_SZ: u32 = 1031;
const O_NONBLOCK: u32 = 0o4000;
const O_RDWR: u32 = 2;
const O_ACCMODE: u32 = 3;
/// What fcntl(2) can set.
const SETTABLE: u32 = 0o66_000;

pub(super) fn make(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    for (index, pipe) in work.checkpoint.pipes.iter().enumerate() {
        make_one(puppet, index, pipe, work).context(|| "make a pipe again")?;
    }
    Ok(())
}

fn make_one(puppet: &Puppet, index: usize, pipe: &Pipe, work: &Work<'_>) -> Result<()> {
    let mut program = Program::default();
    let (read, write) = (OPENED, OPENED + 1);
    if let Some(path) = &pipe.path {
        // Both ends at once: neither waits for the other.
        files::open_path(&mut program, path, O_RDWR | O_NONBLOCK);
        files::open_path(&mut program, path, O_RDWR | O_NONBLOCK);
    } else {
        let ends = program.room(8);
        program.call("make a pipe", PIPE2, &[ends.into(), O_NONBLOCK.into()]);
    }
    program.attempt(
        FCNTL,
        &[write.into(), F_SETPIPE_SZ.into(), pipe.capacity.into()],
    );
    let content = hex::decode(&pipe.content)?;
    for piece in content.chunks(64 << 10) {
        let bytes = program.data(piece);
        let length = piece.len() as u64;
        program.call(
            "fill a pipe",
            WRITE,
            &[write.into(), bytes.into(), length.into()],
        );
        if program.data_length() > 512 << 10 {
            puppet.run(&program)?;
            program = Program::default();
        }
    }
    // Those with a name are opened by it, each for itself.
    let mut taken = [pipe.path.is_some(); 2];
    for (place, description) in work.checkpoint.descriptions.iter().enumerate() {
        if description.kind != (Kind::Pipe { pipe: index }) {
            continue;
        }
        let place = work.pool.description(place);
        let access = description.flags & O_ACCMODE;
        let (end, fd) = if access == 0 { (0, read) } else { (1, write) };
        if access < 2 && !taken[end] {
            taken[end] = true;
            program.call("take a pipe", DUP3, &[fd.into(), place.into(), 0.into()]);
        } else {
            // A description of its own, as by opening /dev/stdin.
            let flags = description.flags & (O_ACCMODE | O_NONBLOCK);
            files::reopen(&mut program, fd, flags);
            let opened = OPENED + 2;
            program.call(
                "take a pipe",
                DUP3,
                &[opened.into(), place.into(), 0.into()],
            );
            program.call("close a descriptor", CLOSE, &[opened.into()]);
        }
        let flags = description.flags & SETTABLE;
        program.call(
            "set the flags of a pipe",
            FCNTL,
            &[place.into(), F_SETFL.into(), flags.into()],
        );
    }
    for fd in [read, write] {
        program.call("close a descriptor", CLOSE, &[fd.into()]);
    }
    puppet.run(&program).map(drop)
}
