//! Native asynchronous I/O (io_setup(2)): a ring of events that lies in the
//! process's memory, where it can be read. What was asked for and is not done
//! yet the kernel tells nobody; so that is waited for.

use std::fs;
use std::time::{Duration, Instant};

use sys::{Error, ErrorKind, Result, process_vm};

use crate::freeze::refusal;
use crate::image::hex;
use crate::image::schema::Backing;
use crate::inject::number;
use crate::maps::Line;

/// `struct aio_ring`, and one `struct io_event`.
const HEADER: u64 = 32;
const EVENT: u64 = 32;
const MAGIC: u64 = 0xa10a_10a1;
/// For so long nothing may have come, and no disk of the machine may be at
/// work at some moment of it.
const QUIET: Duration = Duration::from_millis(10);
/// What a disk has not done then it is not about to do for us.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

pub(crate) fn is_ring(line: &Line) -> bool {
    line.name.starts_with("/[aio]")
}

/// Waits until all that the process asked for is done. Its threads stand, so
/// nothing is added to that.
pub(super) fn settle(pid: i32, lines: &[Line]) -> Result<()> {
    let rings: Vec<&Line> = lines.iter().filter(|line| is_ring(line)).collect();
    if rings.is_empty() {
        return Ok(());
    }
    let tails = || rings.iter().map(|ring| Ok(Header::read(pid, ring)?.tail));
    let begin = Instant::now();
    let (mut last, mut since, mut were_idle) = (Vec::new(), begin, false);
    loop {
        let now = tails().collect::<Result<Vec<u32>>>()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        were_idle |= disks_are_idle();
        let is_quiet = since.elapsed() >= QUIET && were_idle;
        if is_quiet || since.elapsed() >= PATIENCE {
            return Ok(());
        }
        if begin.elapsed() >= 3 * PATIENCE {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "asynchronous I/O does not come to an end; try again",
            ));
        }
        std::thread::sleep(LOOK);
    }
}

fn disks_are_idle() -> bool {
    let Ok(disks) = fs::read_dir("/sys/block") else {
        return false;
    };
    disks.flatten().all(|disk| {
        let text = fs::read_to_string(disk.path().join("inflight")).unwrap_or_default();
        text.split_whitespace().all(|count| count == "0")
    })
}

/// A ring, with what is in it and was not taken.
pub(super) fn ring(pid: i32, line: &Line) -> Result<Backing> {
    let header = Header::read(pid, line)?;
    let mut events = Vec::new();
    let mut at = header.head;
    while at != header.tail {
        let mut event = [0; 32];
        let place = line.start + HEADER + u64::from(at) * EVENT;
        process_vm::read_exact(pid, place, &mut event)?;
        events.push(hex::encode(&event));
        at = (at + 1) % header.length;
    }
    Ok(Backing::Ring {
        length: header.length,
        events,
    })
}

struct Header {
    length: u32,
    head: u32,
    tail: u32,
}

impl Header {
    fn read(pid: i32, line: &Line) -> Result<Self> {
        let mut bytes = [0; 32];
        process_vm::read_exact(pid, line.start, &mut bytes)?;
        let word = |at: usize| u32::try_from(number(&bytes, at) & 0xffff_ffff).unwrap_or(0);
        let header = Self {
            length: word(4),
            head: word(8),
            tail: word(12),
        };
        let end = u64::from(header.length) * EVENT + HEADER;
        let is_sound = u64::from(word(16)) == MAGIC
            && end <= line.end - line.start
            && header.head < header.length
            && header.tail < header.length;
        if is_sound {
            return Ok(header);
        }
        Err(refusal(
            pid,
            "has a ring of asynchronous I/O (io_setup) that is not in order",
        ))
    }
}
