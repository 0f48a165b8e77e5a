//! `events`: statistics at intervals, and lack of memory when it happens, one
//! JSON object on each line, in the form that runc gave it.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use runtime::Cgroup;
use runtime::cgroup::OomNews;
use runtime::cgroup::stats::Stats;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use spec::runtime::StateStatus;
use sys::{Context as _, Result};

use super::args::Global;
use super::container::Container;
use super::output::{json_line, print};

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Stats,
    Oom,
}

/// Until the container ends; with `once`, its statistics now.
pub(super) fn events(global: &Global, id: &str, interval: Duration, once: bool) -> Result<()> {
    let container = Container::load(global, id)?;
    if container.status() == StateStatus::Stopped {
        return Err(container.conflict("is not running"));
    }
    let cgroup = container.cgroup()?;
    if once {
        return tell_stats(id, &cgroup);
    }
    follow(&container, &cgroup, interval)
}

fn follow(container: &Container, cgroup: &Cgroup, interval: Duration) -> Result<()> {
    let not_running = || container.conflict("is not running");
    let init = container.facts.sandbox.init;
    let pid = Pid::from_raw(init.pid).ok_or_else(not_running)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| not_running())?;
    if !init.is_alive() {
        return Err(not_running());
    }
    let mut watch = cgroup.watch_oom()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let (ended, news) = {
            let fd = watch.as_fd();
            let mut fds = [
                PollFd::new(&pidfd, PollFlags::IN),
                PollFd::new(&fd, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut fds, left.as_ref()))
                .context(|| "wait for events")?;
            let [ended, news] = fds.map(|fd| !fd.revents().is_empty());
            (ended, news)
        };
        if news {
            match watch.look()? {
                OomNews::Killed(0) => {}
                OomNews::Killed(_) => tell(container.id.as_str(), Kind::Oom, None)?,
                OomNews::Gone => return Ok(()),
            }
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            tell_stats(&container.id, cgroup)?;
            next += interval;
        }
    }
}

fn tell_stats(id: &str, cgroup: &Cgroup) -> Result<()> {
    tell(id, Kind::Stats, Some(cgroup.stats()?))
}

fn tell(id: &str, kind: Kind, data: Option<Stats>) -> Result<()> {
    print(&json_line(&Event { kind, id, data })?)
}
