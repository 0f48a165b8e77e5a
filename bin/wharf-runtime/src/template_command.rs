//! `wharf-runtime template`: holds the memory of an image, and for each
//! request forks a process that becomes the monitor of a new container, whose
//! memory is a copy-on-write copy of ours. Our death harms none of them.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use checkpoint::{Copies, Template};
use runtime::cgroup::{Membership, make_and_enter};
use runtime::{Cgroup, CgroupPath};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, Frame, FromTemplate, Listener, ProcessRef, TemplateJob, ToClone, ToTemplate};
use sys::clone::Child;
use sys::signalfd::SignalFd;
use sys::{Context as _, Error, ErrorKind, Result, inherited};

use crate::exe_guard::Guard;
use crate::monitor_command;

/// Larger than any job.
const JOB_MAX: usize = 64 << 10;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
/// What ends a session must not end us.
const TOLERATED: [i32; 6] = [1, 2, 3, 10, 12, 13];
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long nobody has come before a copy is made beforehand: a clone that is
/// being made has the processors to itself.
const QUIET: Duration = Duration::from_millis(50);
/// More descriptors than any monitor is given.
const FDS_MAX: usize = 1024;

/// Runs until it is ended.
pub(crate) fn run(guard: &Guard) -> Result<()> {
    let control = Channel::from_fd(inherited::take(CONTROL_FD)?);
    let mut held = match Held::prepare(guard, &control) {
        Ok(held) => held,
        Err(error) => return control.send(&FromTemplate::Failed(error)),
    };
    let ready = || -> Result<FromTemplate> {
        Ok(FromTemplate::Ready {
            process: ProcessRef::of(std::process::id().cast_signed())?,
            size: held.template.as_ref().map_or(0, Template::size),
        })
    };
    let said = ready().and_then(|ready| control.send(&ready));
    let done = said.and_then(|()| held.serve(control));
    held.clean_up();
    done
}

/// Everything that we have.
struct Held<'a> {
    guard: &'a Guard,
    job: TemplateJob,
    /// Taken by the child that becomes a monitor; always there in ourselves.
    template: Option<Template>,
    cgroup: Cgroup,
    /// Where we came from.
    home: Membership,
    listener: Listener,
    signals: SignalFd,
    pool: Pool,
}

/// Copies of shared memory for the next clones.
#[derive(Default)]
struct Pool {
    filled: Vec<Copies>,
    /// Being filled, and by whom.
    filling: Option<(Child, Copies)>,
    /// It cannot be done, or the host is short of memory.
    has_failed: bool,
}

impl<'a> Held<'a> {
    fn prepare(guard: &'a Guard, control: &Channel) -> Result<Self> {
        let job = read_job().context(|| "read the template's job")?;
        let directory = inherited::take(FIRST_EXTRA_FD)?;
        let keep: Vec<_> = [control.as_fd(), directory.as_fd()]
            .into_iter()
            .chain(guard.program().map(OwnedFd::as_fd))
            .collect();
        sys::process::close_all_except(&keep).context(|| "close what was inherited by accident")?;
        sys::signalfd::tolerate(&TOLERATED)?;
        let signals = SignalFd::new(&[SIGTERM, SIGCHLD])?;
        rustix::process::chdir("/").context(|| "change to /")?;
        // What `ps` shows.
        let _ = rustix::thread::set_name(c"wharf-template");
        let home = Membership::of(std::process::id().cast_signed())?;
        let cgroup = make_and_enter(&CgroupPath::parse(&job.cgroup)?, &job.resources)
            .inspect_err(|_| drop(home.join()))?;
        let listen = || -> Result<(Template, Listener)> {
            let template = Template::read(&directory).context(|| "make a template")?;
            Ok((template, Listener::bind(&job.socket)?))
        };
        // The memory stays in the cgroup, which limits it; whoever is forked
        // from us need not be moved out of it, and what it takes is not the
        // template's.
        match listen().and_then(|made| home.join().map(|()| made)) {
            Ok((template, listener)) => Ok(Self {
                guard,
                job,
                template: Some(template),
                cgroup,
                home,
                listener,
                signals,
                pool: Pool::default(),
            }),
            Err(error) => {
                let _ = home.join().and_then(|()| cgroup.remove());
                Err(error)
            }
        }
    }

    fn serve(&mut self, control: Channel) -> Result<()> {
        let mut control = Some(control);
        loop {
            let (client, launcher, signal) = self.wait(control.as_ref())?;
            if !(client || launcher || signal) {
                self.fill_pool();
            }
            if signal && self.is_told_to_end()? {
                return Ok(());
            }
            if launcher && let Some(channel) = control.take() {
                match channel.receive::<ToTemplate>() {
                    Ok(Some((Frame::Message(ToTemplate::Keep), _))) => {}
                    // It is gone, and did not want us to stay.
                    _ => return Ok(()),
                }
            }
            if client {
                self.let_in();
            }
        }
    }

    /// Which of client, launcher and signal is there; none of them if nobody
    /// came for a while and there is something to fill.
    fn wait(&self, control: Option<&Channel>) -> Result<(bool, bool, bool)> {
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        fds.extend(control.map(|control| PollFd::new(control, PollFlags::IN)));
        let quiet = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: QUIET.subsec_nanos().into(),
        };
        let patience = self.is_to_be_filled().then_some(&quiet);
        match rustix::event::poll(&mut fds, patience) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::from(errno)).context(|| "wait for clients"),
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok((is_ready(0), is_ready(2), is_ready(1)))
    }

    fn is_told_to_end(&mut self) -> Result<bool> {
        while let Some(signal) = self.signals.read()? {
            if signal == SIGTERM {
                return Ok(true);
            }
            self.take_filled();
            // A monitor ended. It is nobody's business but its own.
            while let Ok(Some(_)) =
                rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            {
            }
        }
        Ok(false)
    }

    fn is_to_be_filled(&self) -> bool {
        let wanted = usize::try_from(self.job.copies).unwrap_or(usize::MAX);
        let pool = &self.pool;
        let has_shared = self.template.as_ref().is_some_and(|it| it.copied() > 0);
        has_shared && !pool.has_failed && pool.filling.is_none() && pool.filled.len() < wanted
    }

    /// A process of its own writes the next copy, so that we need not wait.
    fn fill_pool(&mut self) {
        let Some(template) = &self.template else {
            return;
        };
        let pool = &mut self.pool;
        if !leaves_room(template.copied()) {
            pool.has_failed = true;
            return;
        }
        let begin = || -> Result<(Child, Copies)> {
            let copies = template.prepare_copies()?;
            let child = sys::clone::clone_child(0, None, || {
                // It goes with us, and others come first.
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                let _ = rustix::process::setpriority_process(None, 19);
                i32::from(template.fill_copies(&copies).is_err())
            })?;
            Ok((child, copies))
        };
        match begin() {
            Ok(begun) => pool.filling = Some(begun),
            // A clone makes its own, and says what is wrong.
            Err(_) => pool.has_failed = true,
        }
    }

    fn take_filled(&mut self) {
        let pool = &mut self.pool;
        let Some((child, copies)) = pool.filling.take() else {
            return;
        };
        let id = WaitId::PidFd(child.pidfd.as_fd());
        match rustix::process::waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => pool.filling = Some((child, copies)),
            Ok(Some(status)) if status.exit_status() == Some(0) => pool.filled.push(copies),
            _ => pool.has_failed = true,
        }
    }

    /// A process of its own for each client, which so never waits for another.
    fn let_in(&mut self) {
        let Ok(client) = self.listener.accept() else {
            return;
        };
        let own = rustix::process::geteuid();
        let Ok(peer) = client.peer() else {
            return;
        };
        if peer.uid != own {
            return;
        }
        let copies = self.pool.filled.pop();
        let template = &mut self.template;
        let (guard, home) = (self.guard, &self.home);
        // If it cannot be made, the client sees the connection close.
        let _ = sys::clone::clone_child(0, None, || {
            let peer = peer.pid.as_raw_nonzero().get();
            let served = template.take().map(|mut template| {
                if let Some(copies) = copies {
                    template.give(copies);
                }
                serve_client(guard, home, template, client, peer)
            });
            match served {
                Some(Ok(())) => 0,
                _ => 1,
            }
        });
    }

    fn clean_up(&self) {
        let _ = std::fs::remove_file(&self.job.socket);
        // Whoever finds it later removes it.
        let _ = self.cgroup.remove();
    }
}

/// Whether one more copy of `size` bytes leaves the host as much again.
fn leaves_room(size: u64) -> bool {
    let available = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    available().is_some_and(|kilobytes| size.saturating_mul(2) < kilobytes.saturating_mul(1024))
}

/// In the child: becomes the monitor that the client wants.
fn serve_client(
    guard: &Guard,
    home: &Membership,
    template: Template,
    client: Channel,
    peer: i32,
) -> Result<()> {
    sys::process::unblock_signals()?;
    let mut fds = receive(&client)?;
    drop(client);
    if fds.len() < 2 {
        return Err(Error::new(ErrorKind::InvalidInput, "no job came"));
    }
    let rest = fds.split_off(2);
    let (Some(control), Some(job)) = (fds.pop(), fds.pop()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "no job came"));
    };
    // A monitor lives where the one that asks for it does; ours would be
    // removed with everybody in it.
    let moved = Membership::of(peer)
        .and_then(|membership| membership.join())
        .or_else(|_| home.join());
    match moved {
        Ok(()) => monitor_command::begin(guard, (job, control, rest), template),
        Err(error) => Channel::from_fd(control).send(&state::FromMonitor::Failed(error)),
    }
}

fn receive(client: &Channel) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    loop {
        if !client.wait_readable(Some(PATIENCE))? {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the client says nothing",
            ));
        }
        let Some((Frame::Message(message), more)) = client.receive::<ToClone>()? else {
            return Err(Error::new(ErrorKind::InvalidInput, "the client is gone"));
        };
        fds.extend(more);
        match message {
            ToClone::Go => return Ok(fds),
            ToClone::Descriptors if fds.len() > FDS_MAX => {
                return Err(Error::new(ErrorKind::InvalidInput, "too many descriptors"));
            }
            ToClone::Descriptors => {}
        }
    }
}

fn read_job() -> Result<TemplateJob> {
    let text = sys::memfd::read_sealed(inherited::take(JOB_FD)?, JOB_MAX)?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}
