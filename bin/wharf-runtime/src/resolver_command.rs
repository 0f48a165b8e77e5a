//! `wharf-runtime resolver`: answers for the names of a network until it is
//! ended. What it needs it is handed; it gives up every right that reading
//! files of its user and sending packets does not need.

use std::os::fd::AsFd as _;

use rustix::thread::set_no_new_privs;
use state::ResolverJob;
use state::network::{RESOLVER_JOB_FD, RESOLVER_TCP_FD, RESOLVER_UDP_FD};
use sys::caps::{self, Caps};
use sys::{Context as _, Error, ErrorKind, Result, inherited};

/// Larger than any job.
const JOB_MAX: usize = 1 << 20;
/// What ends a session must not end it.
const TOLERATED: [i32; 7] = [1, 2, 3, 10, 12, 13, 15];

/// Runs until it is killed.
pub(crate) fn run() -> Result<()> {
    let job = read_job()?;
    let udp = inherited::take(RESOLVER_UDP_FD)?;
    let tcp = inherited::take(RESOLVER_TCP_FD)?;
    sys::process::close_all_except(&[udp.as_fd(), tcp.as_fd()])
        .context(|| "close what was inherited by accident")?;
    sys::signalfd::tolerate(&TOLERATED)?;
    rustix::process::chdir("/").context(|| "change to /")?;
    let _ = rustix::thread::set_name(c"wharf-resolver");
    give_up_rights()?;
    resolver::serve(&job, udp, tcp)
}

fn read_job() -> Result<ResolverJob> {
    let read = || -> Result<ResolverJob> {
        let text = sys::memfd::read_sealed(inherited::take(RESOLVER_JOB_FD)?, JOB_MAX)?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
    };
    read().context(|| "read the resolver's job")
}

fn give_up_rights() -> Result<()> {
    set_no_new_privs(true).context(|| "give up new privileges")?;
    let none = Caps::default();
    caps::bound(none)?;
    caps::set(none, none, none).context(|| "give up capabilities")
}
