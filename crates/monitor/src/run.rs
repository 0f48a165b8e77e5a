//! The loop: whatever happens is an event, whatever is done an action.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use checkpoint::Template;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use state::channel::{Frame, PAYLOAD_MAX};
use state::{
    Channel, Facts, FdRole, FromMonitor, Listener, MonitorJob, StdinMode, Timestamp, ToMonitor,
};
use sys::{Context as _, Error, Result};

use crate::checkup::Checkup;
use crate::control::{Client, Role, may_command};
use crate::exit::Exit;
use crate::log::Log;
use crate::perform::first_facts;
use crate::settle;
use crate::stdio::{Got, Stdio};
use crate::suspend::Hold;
use crate::task::{Given, GivenMemory, Task};
use crate::transition::{self, End, Event, Supervised};

/// How long output may still come after the process ended, from others that
/// hold its pipes.
const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// What a pipe can hold: so much is read after the end in any case.
const PIPE_SIZE: usize = 64 << 10;
/// How long we wait for clients to close, once they were told of the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// After so much quiet, memory goes back to the kernel.
const QUIET: Duration = Duration::from_millis(500);
/// More connections than anybody needs.
const CLIENTS_MAX: usize = 256;
/// Frames taken from one client before others have their turn.
const FRAMES_PER_TURN: usize = 16;

/// Supervises one job to its end. `fds` are those that the job lists, in its
/// order; `template` is what a clone's memory comes from. The calling process
/// must have one thread only.
pub fn run(
    job: MonitorJob,
    control: OwnedFd,
    fds: Vec<OwnedFd>,
    template: Option<Template>,
) -> Result<()> {
    let mut monitor = Monitor::new(job, control, fds, template)?;
    monitor.begin();
    loop {
        while let Some(event) = monitor.events.pop_front() {
            let (state, actions) = transition::next(&monitor.state, event);
            monitor.state = state;
            for action in actions {
                monitor.perform(action);
            }
        }
        if monitor.is_done() {
            return monitor.exit.clean_up();
        }
        monitor.turn()?;
    }
}

pub(crate) struct Monitor {
    began: Instant,
    pub(crate) state: Supervised,
    pub(crate) events: VecDeque<Event>,
    pub(crate) task: Task,
    pub(crate) stdio: Stdio,
    stdin: StdinMode,
    pub(crate) log: Log,
    pub(crate) clients: Vec<Client>,
    listener: Option<Listener>,
    pub(crate) run_dir: PathBuf,
    pub(crate) exit: Exit,
    /// Written down with each start.
    pub(crate) facts: Option<Facts>,
    pub(crate) checkup: Option<Box<Checkup>>,
    /// The record of events.
    pub(crate) record: Option<PathBuf>,
    /// Why it has to end, if the rest of its memory cannot be had.
    pub(crate) lost_memory: Option<Error>,
    /// Somebody writes the container down.
    pub(crate) held: Option<Hold>,
    /// The process ended, its output did not yet.
    draining: Option<Draining>,
    /// When the clients were told of the end.
    pub(crate) told: Option<Duration>,
    buffer: Vec<u8>,
    /// Something happened since memory was given back.
    is_warm: bool,
    has_left_session: bool,
    /// Published ports: held until the end, never used.
    pub(crate) ports: Vec<OwnedFd>,
    /// What else is joined at each start: held under the numbers that they
    /// came with.
    _namespaces: Vec<OwnedFd>,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    end: End,
    until: Duration,
    read: usize,
}

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug)]
enum Source {
    Process,
    /// Whoever brings the rest of its memory.
    Pager,
    Listener,
    Input,
    /// The health check's process.
    Probe,
    ProbeOutput,
    Output(usize),
    Client(usize),
}

impl Monitor {
    fn new(
        job: MonitorJob,
        control: OwnedFd,
        fds: Vec<OwnedFd>,
        template: Option<Template>,
    ) -> Result<Self> {
        let mut network = None;
        let mut memory = template.map(|template| GivenMemory::Template(Box::new(template)));
        let (mut ports, mut namespaces) = (Vec::new(), Vec::new());
        for (fd, role) in fds.into_iter().zip(&job.fds) {
            match role {
                FdRole::NetworkNamespace => network = Some(fd),
                FdRole::Namespace => namespaces.push(fd),
                FdRole::Port => ports.push(fd),
                FdRole::Memory => match &mut memory {
                    Some(GivenMemory::Image(_, parents)) => parents.push(fd),
                    _ => memory = Some(GivenMemory::Image(fd, Vec::new())),
                },
            }
        }
        let launcher = Client::new(Channel::from_fd(control), Role::Launcher)?;
        let given = Given { network, memory };
        Ok(Self {
            began: Instant::now(),
            state: Supervised::new(job.restart),
            events: VecDeque::new(),
            task: Task::new(job.id, job.run_dir.clone(), job.work, job.stdin, given),
            stdio: Stdio::unconnected(),
            stdin: job.stdin,
            log: Log::new(job.log),
            clients: vec![launcher],
            listener: None,
            run_dir: job.run_dir.clone(),
            exit: Exit::new(job.exit_record, job.run_dir, job.on_exit),
            facts: None,
            checkup: job.health.map(|health| Box::new(Checkup::new(health))),
            record: job.events,
            lost_memory: None,
            held: None,
            draining: None,
            told: None,
            buffer: Vec::new(),
            is_warm: true,
            has_left_session: false,
            ports,
            _namespaces: namespaces,
        })
    }

    /// Since the monitor began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn launcher(&mut self) -> Option<&mut Client> {
        self.clients
            .iter_mut()
            .find(|client| client.role == Role::Launcher)
    }

    /// True if nothing is left to supervise or to tell.
    fn is_done(&self) -> bool {
        let Some(told) = self.told else {
            return self.state.is_finished();
        };
        self.state.is_finished()
            && (self.clients.is_empty()
                || self.now() >= told + FAREWELL && !self.clients.iter().any(Client::has_queue))
    }

    /// Makes what can be made before the start.
    fn begin(&mut self) {
        let prepared = self.task.create(&mut self.stdio).and_then(|()| {
            // Init sets itself up beside us from here on.
            self.listen()?;
            if !self.task.is_exec() {
                self.facts = Some(first_facts()?);
            }
            if self.task.is_restore() {
                // It takes its time, in which nobody may think us dead.
                self.write_facts()?;
            }
            Ok(self.task.new_network_namespace())
        });
        let network = match prepared {
            Ok(network) => network,
            Err(error) => {
                self.task.abandon();
                self.events.push_back(Event::StartFailed(error));
                return;
            }
        };
        if let Some(launcher) = self.launcher() {
            match network {
                Some(network) => launcher.send_with_fd(&FromMonitor::Ready, network.as_fd()),
                None => launcher.send(FromMonitor::Ready),
            }
        }
    }

    fn listen(&mut self) -> Result<()> {
        if self.run_dir.as_os_str().is_empty() {
            return Ok(());
        }
        let socket = self.run_dir.join("control.sock");
        self.listener = Some(match Listener::bind(&socket) {
            Err(error)
                if error.errno() == Some(Errno::ADDRINUSE.raw_os_error())
                    && !self.task.is_exec() =>
            {
                // Whoever starts us holds the container's lock: the socket is
                // that of a monitor that was killed.
                std::fs::remove_file(&socket).context(|| format!("remove {}", socket.display()))?;
                Listener::bind(&socket)?
            }
            result => result?,
        });
        Ok(())
    }

    /// Lets no more clients in; those that wait already still come in.
    pub(crate) fn stop_listening(&mut self) {
        while self.listener.as_ref().is_some_and(|listener| {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            matches!(
                rustix::event::poll(&mut fds, Some(&Timespec::default())),
                Ok(1)
            )
        }) {
            self.let_in();
        }
        if self.listener.take().is_some() && self.task.is_exec() {
            // A container's goes with its run directory.
            let _ = std::fs::remove_file(self.run_dir.join("control.sock"));
        }
    }

    /// Waits for something to happen and turns it into events.
    fn turn(&mut self) -> Result<()> {
        let ready = self.wait()?;
        let is_quiet = ready.is_empty();
        let is_output_ready = ready
            .iter()
            .any(|source| matches!(source, Source::Output(_)));
        for source in ready {
            match source {
                Source::Process => self.process_ended(),
                Source::Pager => self.pager_ended(),
                Source::Listener => self.let_in(),
                Source::Input => self.stdio.input.write(),
                Source::Probe => self.probe_ended(),
                Source::ProbeOutput => self.take_probe_output(),
                Source::Output(index) => self.take_output(index),
                Source::Client(index) => self.serve(index),
            }
        }
        self.stdio.outputs.retain(|output| !output.is_over);
        self.dismiss_gone_clients();
        let at = self.now();
        self.drain(at, is_output_ready);
        if self.state.wake_at().is_some_and(|wake| at >= wake) {
            self.events.push_back(Event::Tick { at });
        }
        self.see_to_health(at);
        self.see_to_clean_up(at);
        self.settle(is_quiet, at);
        Ok(())
    }

    /// Polls all sources until one is ready or time is up.
    fn wait(&self) -> Result<Vec<Source>> {
        let now = self.now();
        let mut sources = Vec::with_capacity(8);
        let mut fds = Vec::with_capacity(8);
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(pidfd) = self.task.pidfd() {
            add(Source::Process, pidfd, PollFlags::IN);
        }
        if let Some(pager) = self.task.pager.as_ref().filter(|it| !it.is_over()) {
            add(Source::Pager, pager.pidfd(), PollFlags::IN);
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        if let Some(sink) = self.stdio.input.waiting_sink() {
            add(Source::Input, sink, PollFlags::OUT);
        }
        if let Some((probe, output)) = self.checkup.as_ref().and_then(|checkup| checkup.sources()) {
            add(Source::ProbeOutput, output, PollFlags::IN);
            add(Source::Probe, probe, PollFlags::IN);
        }
        // A container waits for its slowest client, an ended one for none.
        let has_room = self.draining.is_some() || !self.clients.iter().any(Client::is_behind);
        for (index, output) in self.stdio.outputs.iter().enumerate() {
            if has_room && output.asleep_until.is_none_or(|until| now >= until) {
                add(Source::Output(index), output.source(), PollFlags::IN);
            }
        }
        let input_is_full = self.stdio.input.is_full();
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !(input_is_full && client.sends_input));
            flags.set(PollFlags::OUT, client.has_queue());
            // Without flags poll still tells of a hang-up, again and again.
            if !flags.is_empty() {
                add(Source::Client(index), client.as_fd(), flags);
            }
        }
        let timeout = self.deadline().map(|deadline| {
            // Rounded up, so that the time has come when we look.
            let left = deadline.saturating_sub(now) + Duration::from_micros(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(Error::from(errno)).context(|| "wait for events"),
        }
        Ok(fds
            .iter()
            .zip(sources)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, source)| source)
            .collect())
    }

    /// When something is to be done even if nothing happens.
    fn deadline(&self) -> Option<Duration> {
        let now = self.now();
        let asleep = self
            .stdio
            .outputs
            .iter()
            .filter_map(|output| output.asleep_until.filter(|until| *until > now));
        let farewell = self.told.map(|told| told + FAREWELL);
        let is_late = farewell.is_some_and(|farewell| now >= farewell);
        [
            self.state.wake_at(),
            self.checkup.as_ref().and_then(|checkup| checkup.wake_at()),
            self.draining.map(|draining| draining.until),
            farewell.filter(|_| !is_late),
            self.is_warm.then(|| now + QUIET),
        ]
        .into_iter()
        .flatten()
        .chain(asleep)
        .min()
    }

    fn process_ended(&mut self) {
        self.run_ended();
        self.dismiss_pager();
        let end = self.task.reap();
        self.stdio.process_ended();
        for output in &mut self.stdio.outputs {
            output.asleep_until = None;
        }
        self.draining = Some(Draining {
            end,
            until: self.now() + DRAIN_GRACE,
            read: 0,
        });
    }

    /// After the end all that the pipes held is read; whoever still holds
    /// their other ends does not keep us for longer than the grace.
    fn drain(&mut self, at: Duration, is_output_ready: bool) {
        let Some(draining) = self.draining else {
            return;
        };
        let is_empty = !is_output_ready || draining.read >= PIPE_SIZE * self.stdio.outputs.len();
        if self.stdio.outputs.is_empty() || at >= draining.until && is_empty {
            self.draining = None;
            self.stdio.disconnect();
            self.log.finish(Timestamp::now());
            let end = draining.end;
            self.events.push_back(Event::Ended { end, at });
        }
    }

    fn take_output(&mut self, index: usize) {
        let now = self.now();
        if self.buffer.is_empty() {
            self.buffer = vec![0; PAYLOAD_MAX];
        }
        let Some(output) = self.stdio.outputs.get_mut(index) else {
            return;
        };
        match output.read(&mut self.buffer, now) {
            Got::Nothing => {}
            Got::End => output.is_over = output.ends_for_good() || self.draining.is_some(),
            Got::Bytes(length) => {
                let (stream, data) = (output.stream, &self.buffer[..length]);
                for client in self.clients.iter_mut().filter(|client| client.is_attached) {
                    client.send_output(stream, data);
                }
                self.log.append(stream, data, Timestamp::now());
                if let Some(draining) = &mut self.draining {
                    draining.read += length;
                }
            }
        }
    }

    fn let_in(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        // A client that cannot come in sees its connection closed.
        if let Ok(channel) = listener.accept()
            && self.clients.len() < CLIENTS_MAX
            && may_command(&channel)
            && let Ok(client) = Client::new(channel, Role::Visitor)
        {
            self.clients.push(client);
        }
    }

    fn serve(&mut self, index: usize) {
        for _ in 0..FRAMES_PER_TURN {
            let Some(client) = self.clients.get_mut(index) else {
                return;
            };
            client.flush();
            if self.stdio.input.is_full() && client.sends_input {
                return;
            }
            let Some((frame, fds)) = client.receive() else {
                return;
            };
            self.hear(index, frame, fds);
        }
    }

    /// Descriptors that nobody asked for are closed.
    fn hear(&mut self, index: usize, frame: Frame<ToMonitor>, fds: Vec<OwnedFd>) {
        let client = &mut self.clients[index];
        match frame {
            Frame::Stdin(data) if client.sends_input => self.stdio.input.push(&data),
            Frame::StdinEnd if client.sends_input && self.stdin == StdinMode::Once => {
                self.stdio.input.end();
            }
            Frame::Message(message) => match message {
                ToMonitor::Go if client.role == Role::Launcher => {
                    self.events.push_back(Event::Go);
                }
                ToMonitor::Attach { stdin } => {
                    client.is_attached = true;
                    client.sends_input = stdin && self.stdin != StdinMode::Closed;
                }
                ToMonitor::Detach => client.detach(),
                ToMonitor::Resize(size) => self.stdio.resize(size),
                ToMonitor::StopRequested => self.events.push_back(Event::StopRequested),
                ToMonitor::Signal(signal) => {
                    if let Some(running) = &self.task.running {
                        // It may be gone by now, and then there is nobody to tell.
                        let _ = running.signal(signal);
                    }
                    self.thaw_for(signal);
                }
                ToMonitor::Pause => self.answer(index, Self::pause),
                ToMonitor::Unpause => self.answer(index, Self::unpause),
                ToMonitor::Update(update) => {
                    self.answer(index, |monitor| monitor.update(&update, &fds));
                }
                ToMonitor::HoldPorts { count } => {
                    self.answer(index, |monitor| monitor.hold_ports(count, fds));
                }
                ToMonitor::ChangeMounts => {
                    self.answer(index, |monitor| monitor.change_mounts(&fds));
                }
                ToMonitor::KeepPorts => self.answer(index, |monitor| monitor.keep_ports(&fds)),
                ToMonitor::Hold if self.task.pager.is_some() => client.waits_for_memory = true,
                ToMonitor::Hold => self.answer(index, |monitor| monitor.hold(index)),
                ToMonitor::Seal { record } => {
                    self.answer(index, |monitor| monitor.seal(index, record));
                }
                ToMonitor::Release => self.answer(index, |monitor| monitor.release(index)),
                ToMonitor::Leave(departure) => {
                    self.answer(index, |monitor| monitor.leave(index, departure));
                }
                // Everybody is told of the exit; go is not everybody's to say.
                ToMonitor::Wait | ToMonitor::Go => {}
            },
            // Input of somebody who may not send any, or output.
            _ => {}
        }
    }

    fn dismiss_gone_clients(&mut self) {
        let (stdin, input, events) = (self.stdin, &mut self.stdio.input, &mut self.events);
        let mut holder_is_gone = false;
        self.clients.retain(|client| {
            if client.is_gone {
                if client.sends_input && stdin == StdinMode::Once {
                    input.end();
                }
                if client.role == Role::Launcher {
                    events.push_back(Event::LauncherGone);
                }
                holder_is_gone |= client.holds;
            }
            !client.is_gone
        });
        if holder_is_gone {
            self.holder_is_gone();
        }
    }

    /// After the end: the launching engine cleans up while it is connected.
    /// If it leaves or hangs, the clean-up is ours.
    fn see_to_clean_up(&mut self, at: Duration) {
        let Some(told) = self.told else { return };
        if self.launcher().is_none() || at >= told + FAREWELL {
            // Nobody is left who could be told; the next command repairs it.
            let _ = self.exit.clean_up();
        }
    }

    /// Quiet: gives memory back, and leaves the session that may end.
    fn settle(&mut self, is_quiet: bool, at: Duration) {
        let is_running = self.task.running.is_some();
        if is_quiet && self.is_warm {
            self.buffer = Vec::new();
            self.log.release_memory();
            sys::heap::trim();
        }
        self.is_warm = !is_quiet;
        if is_running && !self.has_left_session && (is_quiet || at >= QUIET) {
            self.has_left_session = true;
            settle::leave_session();
        }
    }
}
