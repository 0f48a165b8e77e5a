//! Rings of native asynchronous I/O: made by the kernel wherever it likes,
//! and moved, of which it takes note.

use sys::{Context as _, Error, ErrorKind, Result, process_vm};

use super::{MREMAP, Puppet, Work};
use crate::image::hex;
use crate::image::schema::{Backing, Mapping, Memory};
use crate::inject::{Program, number};

const IO_SETUP: u32 = 206;
const IO_SUBMIT: u32 = 209;
const MREMAP_MAYMOVE_FIXED: u32 = 3;
/// `struct aio_ring`, `struct io_event`, `struct iocb`.
const HEADER: u64 = 32;
const EVENT: u64 = 32;
const REQUEST: usize = 64;
/// Submitted at a time.
const BATCH: usize = 64;

/// Before there is any other memory: the kernel may choose an address that
/// is somebody's.
pub(super) fn make(puppet: &Puppet, memory: &Memory, work: &Work<'_>) -> Result<()> {
    for mapping in &memory.mappings {
        if let Backing::Ring { length, events } = &mapping.backing {
            one(puppet, mapping, (*length, events), work)
                .context(|| "make a ring of asynchronous I/O")?;
        }
    }
    Ok(())
}

fn one(
    puppet: &Puppet,
    mapping: &Mapping,
    (length, events): (u32, &[String]),
    work: &Work<'_>,
) -> Result<()> {
    let mut program = Program::default();
    let place = program.room(8);
    // The kernel doubles it, and adds two.
    let wanted = length.saturating_sub(2) / 2;
    program.call("make a ring", IO_SETUP, &[wanted.into(), place.into()]);
    let made = puppet.run(&program)?.number(place, 0);
    let mut header = [0; 16];
    process_vm::read_exact(puppet.thread.tid, made, &mut header)?;
    if number(&header, 0) >> 32 != u64::from(length) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the kernel here makes them in other sizes (it counts processors); restore it where \
             it was made",
        ));
    }
    if made != mapping.start {
        let mut program = Program::default();
        let size = mapping.end - mapping.start;
        let arguments = [
            made.into(),
            size.into(),
            size.into(),
            MREMAP_MAYMOVE_FIXED.into(),
            mapping.start.into(),
        ];
        program.call("move a ring", MREMAP, &arguments);
        puppet.run(&program)?;
    }
    for batch in events.chunks(BATCH) {
        let mut program = Program::default();
        submit(&mut program, mapping.start, batch.len(), work);
        puppet.run(&program)?;
    }
    // What came of these was nothing; what is to be read lies there now.
    for (place, event) in events.iter().enumerate() {
        let at = mapping.start + HEADER + place as u64 * EVENT;
        process_vm::write(puppet.thread.tid, at, &hex::decode(event)?)?;
    }
    Ok(())
}

/// Requests that are done at once: to read no bytes of the image.
fn submit(program: &mut Program, ring: u64, count: usize, work: &Work<'_>) {
    let mut request = [0; REQUEST];
    // `aio_lio_opcode` 0 reads.
    request[20..24].copy_from_slice(&work.pool.pages(0).to_le_bytes());
    let requests = program.data(&request.repeat(count));
    let pointers = program.room(8 * count);
    for index in 0..count {
        let request = crate::inject::tail(requests, index * REQUEST);
        program.point(pointers, index * 8, request);
    }
    let arguments = [ring.into(), (count as u64).into(), pointers.into()];
    program.call("fill a ring", IO_SUBMIT, &arguments);
}
