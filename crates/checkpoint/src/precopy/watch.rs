//! The watch over one process: a descriptor that it made and we hold.

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sys::pagemap::{self, PAGE};
use sys::userfaultfd::{CALL, CLOSE_ON_EXEC, USER_MODE_ONLY, Userfault};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::collect::refuse_flags;
use crate::copy::PageReader;
use crate::freeze::{StoppedProcess, refusal};
use crate::image::{Ledger, PageWriter};
use crate::inject::find_syscall;
use crate::maps::{self, Detail, Line};
use crate::procfs;

const CLOSE: u32 = 3;
/// `EBUSY`
const BUSY: i32 = 16;
/// Smaller mappings are left to the last stop.
const MAPPING_MIN: u64 = 256 << 10;
/// Looked at, and let go of, at a time (bytes): the process's own changes of
/// its mappings wait for it.
const AT_A_TIME: u64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Watch {
    userfault: Userfault,
    /// Where it is, or was.
    ranges: Vec<(u64, u64)>,
    /// Somebody else watches over memory of the process.
    has_company: bool,
}

impl Watch {
    /// Has the process, which stands, make the descriptor. It keeps none.
    pub(super) fn begin(process: &StoppedProcess) -> Result<Self> {
        let lines = maps::read(process.pid, Detail::Places)?;
        if let Some(what) = lines.iter().find_map(refuse_flags) {
            return Err(refusal(process.pid, &what));
        }
        let thread = process.main()?.thread;
        thread.quiet()?;
        let vdso = lines
            .iter()
            .find(|line| line.name == "[vdso]")
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "no vdso"))?;
        let syscall = find_syscall(process.pid, vdso.start, vdso.end)?;
        let flags = u64::from(CLOSE_ON_EXEC | USER_MODE_ONLY);
        let theirs = thread
            .single(syscall, CALL, &[flags])
            .context(|| "make a userfaultfd")?;
        let ours = take(process.pid, theirs);
        thread.single(syscall, CLOSE, &[theirs])?;
        Ok(Self {
            userfault: Userfault::for_written(ours?)?,
            ranges: Vec::new(),
            has_company: false,
        })
    }

    pub(super) fn is_alone(&self) -> bool {
        !self.has_company
    }

    /// Copies what was written since the last time, and whatever is new; the
    /// process runs. Gives the number of pages.
    pub(super) fn copy(
        &mut self,
        pid: i32,
        ledger: &mut Ledger,
        writer: &mut PageWriter,
    ) -> Result<u64> {
        let pagemap = procfs::open(pid, "pagemap")?;
        let mut reader = PageReader::open(pid)?;
        let mut copied = 0;
        let mut lines = maps::read(pid, Detail::Places)?;
        lines.retain(is_worth_it);
        for line in &lines {
            if !pagemap::is_noted(&pagemap, line.start) {
                // Whatever was here before is not what is here now.
                ledger.forget(line.start, line.end, writer);
                if !self.extend(line)? {
                    continue;
                }
            }
            let mut start = line.start;
            while start < line.end {
                let (written, next) =
                    pagemap::protect_written(&pagemap, start, line.end, AT_A_TIME / PAGE)?;
                copied += reader.save_moving(&written, ledger, writer)?;
                start = next;
            }
        }
        Ok(copied)
    }

    /// Watches over one more mapping; whether that could be.
    fn extend(&mut self, line: &Line) -> Result<bool> {
        match self.userfault.note_writes(line.start, line.end) {
            Ok(()) => {
                self.ranges.push((line.start, line.end));
                Ok(true)
            }
            Err(error) if error.errno() == Some(NO_MEMORY_MAP) => Err(error),
            Err(error) => {
                self.has_company |= error.errno() == Some(BUSY);
                Ok(false)
            }
        }
    }
}

/// `ESRCH`: it runs another program by now, or none.
const NO_MEMORY_MAP: i32 = 3;

impl Drop for Watch {
    /// Bit by bit: the kernel does it in one go when the descriptor is closed,
    /// and whoever changes mappings would have to wait for so long.
    fn drop(&mut self) {
        for (start, end) in &self.ranges {
            let mut at = *start;
            // What is as large as many of them is mostly empty.
            let step = AT_A_TIME.max((end - start) / 1024 / PAGE * PAGE);
            while at < *end {
                let next = (at + step).min(*end);
                // There may be nothing any more.
                let _ = self.userfault.forget(at, next);
                at = next;
            }
        }
    }
}

fn take(pid: i32, number: u64) -> Result<std::os::fd::OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Error::new(ErrorKind::Internal, "not a pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let number = i32::try_from(number).unwrap_or(-1);
    Ok(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())?)
}

/// Anonymous memory of some size that the process uses.
fn is_worth_it(line: &Line) -> bool {
    line.is_anonymous()
        && line.is_readable()
        && line.end - line.start >= MAPPING_MIN
        && (line.name.is_empty() || line.name == "[heap]" || line.name.starts_with("[anon:"))
}
