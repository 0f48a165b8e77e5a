//! `wharf-runtime dump`: takes a container's processes to the disk for the
//! engine, holds them until it says what becomes of them, and ends. Whatever
//! happens to us or to the engine, the kernel lets them go on.

use std::os::fd::OwnedFd;

use checkpoint::{DumpOptions, TcpPolicy};
use runtime::{Cgroup, CgroupManager};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, Connections, DumpJob, Frame, FromDumper, MemoryImage, ProcessRef, ToDumper};
use sys::{Context as _, Error, ErrorKind, Result, inherited};

/// Larger than any job.
const JOB_MAX: usize = 64 << 10;
/// Signals that would tear us away from a container that stands: the engine
/// says what is to be done, and its death is noticed.
const TOLERATED: [i32; 7] = [1, 2, 3, 10, 12, 13, 15];

/// Runs until the processes are let go or ended.
pub(crate) fn run() -> Result<()> {
    let channel = Channel::from_fd(inherited::take(CONTROL_FD)?);
    match prepare() {
        Ok(asked) if asked.only_check => {
            let found = checkpoint::check(asked.init, &asked.cgroup, asked.options);
            channel.send(&found.map_or_else(FromDumper::Failed, FromDumper::Checked))
        }
        Ok(asked) => dump(&asked, &channel),
        Err(error) => channel.send(&FromDumper::Failed(error)),
    }
}

fn dump(asked: &Asked, channel: &Channel) -> Result<()> {
    let dumped = inherited::take(FIRST_EXTRA_FD).and_then(|directory: OwnedFd| {
        // Who is not there any more need not be told.
        let mut stand = || drop(channel.send(&FromDumper::Stand));
        checkpoint::hold(
            asked.init,
            &asked.cgroup,
            &directory,
            asked.options,
            &mut stand,
        )
    });
    let (held, dumped) = match dumped {
        Ok(dumped) => dumped,
        Err(error) => return channel.send(&FromDumper::Failed(error)),
    };
    let image = MemoryImage {
        processes: u64::try_from(dumped.processes).unwrap_or(u64::MAX),
        size: dumped.pages,
        connections: u64::try_from(dumped.connections).unwrap_or(u64::MAX),
    };
    channel.send(&FromDumper::Dumped(image))?;
    let done = match channel.receive::<ToDumper>() {
        Ok(Some((Frame::Message(ToDumper::End), _))) => held.end(),
        _ => held.release().map(drop),
    };
    // Who is not there any more need not be told.
    let _ = channel.send(&match done {
        Ok(()) => FromDumper::Done,
        Err(error) => FromDumper::Failed(error),
    });
    Ok(())
}

struct Asked {
    init: ProcessRef,
    cgroup: Cgroup,
    options: DumpOptions,
    only_check: bool,
}

fn prepare() -> Result<Asked> {
    sys::signalfd::tolerate(&TOLERATED)?;
    let job = read_job().context(|| "read what is to be written down")?;
    let options = DumpOptions {
        leave_running: job.goes_on,
        is_exact: job.is_exact,
        stdio: job.stdio,
        tcp: match job.connections {
            Connections::Refuse => TcpPolicy::Refuse,
            Connections::Close => TcpPolicy::Close,
            Connections::Keep => TcpPolicy::Keep,
            Connections::KeepInner => TcpPolicy::KeepInner,
        },
        ..DumpOptions::default()
    };
    Ok(Asked {
        init: job.init,
        cgroup: Cgroup::made_by(CgroupManager::Cgroupfs, &job.cgroup)?,
        options,
        only_check: job.only_check,
    })
}

fn read_job() -> Result<DumpJob> {
    let text = sys::memfd::read_sealed(inherited::take(JOB_FD)?, JOB_MAX)?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}
