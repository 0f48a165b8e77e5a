//! `suspend` and `resume`: memory goes to the disk, and comes back.
//!
//! The order of a suspension is the text of [`write_down`] and
//! [`Locked::suspend`]. The record `suspended.json` decides: before it is
//! there the container goes on, whoever dies; afterwards it is on the disk,
//! whole. In between its monitor keeps it from moving.

use std::fs::{self, DirBuilder, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use state::checkpoint::CHECKPOINT_VERSION;
use state::{
    Channel, Connections, Departure, DumpJob, Durability, IpcMode, MemoryImage, NetworkMode,
    PidMode, Record, Status, SuspendRecord, Timestamp, ToMonitor,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::running;
use super::pause::ask;
use super::start::{Locked, namespace_of};
use super::stop::no_such;
use super::wait::{Heard, exit_of};
use super::{Containers, observe};
use crate::crash::crash_point;
use crate::dumper::Dumper;
use crate::volumes;

/// How much of a container's memory is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpProgress {
    /// Bytes.
    pub written: u64,
    /// About so many will be written, if that is known.
    pub total: Option<u64>,
}

pub(super) const SHARED_IPC: &str = "its shared memory is another container's, which would not \
     come along; run it without --ipc container:NAME";

impl Containers<'_> {
    /// Takes the processes of a running container to the disk and ends them;
    /// [`Containers::resume`] lets them go on. On failure the container runs
    /// on.
    pub fn suspend(
        &self,
        container: &str,
        connections: Connections,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<SuspendRecord> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        if matches!(locked.observed.status, Status::Suspended(_)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} is suspended already"),
            ));
        }
        let channel = running(self.engine, &id, container)?;
        locked
            .suspend(&channel, connections, tell)
            .context(|| format!("container {container}"))
    }

    /// Lets a suspended container go on. On failure it stays suspended.
    pub fn resume(&self, container: &str) -> Result<()> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        if !matches!(locked.observed.status, Status::Suspended(_)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} is not suspended"),
            ));
        }
        locked.start(None).map(drop)
    }
}

/// What becomes of a container whose memory was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    Ends,
    GoesOn {
        /// It stands for longer, and nothing that it did right before or after
        /// that is a reason to fail.
        is_exact: bool,
    },
}

/// Once more, exactly, if the container changed how it uses its memory in the
/// wrong moment, as some programs do all the time.
pub(super) fn write_twice<T>(mut write: impl FnMut(Afterwards) -> Result<T>) -> Result<T> {
    match write(Afterwards::GoesOn { is_exact: false }) {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            write(Afterwards::GoesOn { is_exact: true })
        }
        done => done,
    }
}

impl Locked<'_> {
    fn suspend(
        self,
        monitor: &Channel,
        connections: Connections,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<SuspendRecord> {
        let engine = self.engine;
        let id = self.observed.config.id;
        let memory = engine.layout().container_memory(&id);
        let path = engine.layout().container_suspended(&id);
        // One that was not finished, or that it went on from.
        volumes::remove_tree(&memory)?;
        ask(monitor, &ToMonitor::Hold, &[])?;
        let (dumper, image) =
            match self.write_down(&memory, (connections, Afterwards::Ends), tell, &mut || {}) {
                Ok(written) => written,
                Err(error) => {
                    let _ = volumes::remove_tree(&memory);
                    ask(monitor, &ToMonitor::Release, &[])?;
                    return Err(error);
                }
            };
        crash_point!(engine, "after dump");
        let record = SuspendRecord {
            version: CHECKPOINT_VERSION,
            at: Timestamp::now(),
            started: self.observed.facts.as_ref().and_then(|facts| facts.started),
            memory: image,
        };
        let decided = sync(&memory, engine.layout().root()).and_then(|()| {
            let seal = ToMonitor::Seal {
                record: Some(path.clone()),
            };
            ask(monitor, &seal, &[])?;
            crash_point!(engine, "after seal");
            Record::write(&path, &record, Durability::Synced)
        });
        if let Err(error) = decided {
            let _ = fs::remove_file(&path);
            let _ = volumes::remove_tree(&memory);
            // The dumper first: it gives the processes what they go on with.
            dumper.let_go()?;
            ask(monitor, &ToMonitor::Release, &[])?;
            return Err(error);
        }
        crash_point!(engine, "after suspend record");
        self.keep_peers_away(connections);
        depart(dumper, monitor, Departure::Suspended)?;
        crash_point!(engine, "after departure");
        let observed = observe::observe(engine, &id)?
            .ok_or_else(|| no_such(self.observed.config.name.as_str()))?;
        engine.clear_run(&id, &observed)?;
        Ok(record)
    }

    /// Writes its memory to the new directory `memory`; its processes stand
    /// then, for a short time if they are to go on. `meanwhile` is done while
    /// they stand: what it did before the last time counts for nothing.
    pub(super) fn write_down(
        &self,
        memory: &Path,
        (connections, afterwards): (Connections, Afterwards),
        tell: &dyn Fn(DumpProgress),
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(Dumper, MemoryImage)> {
        if self.observed.config.namespaces.pid != PidMode::Private {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "its process ids are not its own (--pid), so its processes could not get them \
                 back; run it without --pid",
            ));
        }
        if matches!(self.observed.config.namespaces.ipc, IpcMode::Container(_)) {
            return Err(Error::new(ErrorKind::Unsupported, SHARED_IPC));
        }
        let sandbox = self
            .observed
            .facts
            .as_ref()
            .and_then(|facts| facts.sandbox.as_ref())
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "it just ended"))?;
        DirBuilder::new()
            .mode(0o700)
            .create(memory)
            .context(|| format!("make {}", memory.display()))?;
        let directory = File::open(memory).context(|| format!("open {}", memory.display()))?;
        let job = DumpJob {
            init: sandbox.init,
            stdio: sandbox.stdio,
            cgroup: sandbox.cgroup.clone(),
            connections,
            goes_on: matches!(afterwards, Afterwards::GoesOn { .. }),
            is_exact: afterwards == Afterwards::GoesOn { is_exact: true },
            only_check: false,
        };
        let dumper = Dumper::start(self.engine, &job, Some(directory.as_fd()))?;
        let total = self.memory_in_use();
        let told = |written| tell(DumpProgress { written, total });
        let image = dumper.wait(memory, &told, meanwhile)?;
        Ok((dumper, image))
    }

    /// Before its processes end, if their connections are to go on later: the
    /// network namespace outlives the sockets for a moment, and would answer a
    /// peer with a reset.
    pub(super) fn keep_peers_away(&self, connections: Connections) {
        let config = &self.observed.config;
        if connections != Connections::Keep || config.network != NetworkMode::Bridge {
            return;
        }
        let namespace = namespace_of(self.engine, &config.id, "net", "network is shut");
        // What is decided is gone through with, at the risk of a connection.
        let _ = namespace.and_then(|namespace| sys::netlink::hold::shut(namespace.as_fd()));
    }

    fn memory_in_use(&self) -> Option<u64> {
        let path = crate::runtime_spec::cgroup_path(&self.observed.config);
        let all = crate::cgroup::Hierarchies::find().ok()?;
        all.usage(&path).ok()?.memory
    }
}

/// Ends the processes that `dumper` holds, for they are on the disk.
pub(super) fn depart(dumper: Dumper, monitor: &Channel, how: Departure) -> Result<()> {
    // The monitor first: it has to know why they end before they do. If one of
    // the two is gone, the other does it alone.
    let left = ask(monitor, &ToMonitor::Leave(how), &[]);
    let ended = dumper.end().and_then(|()| dumper.finish());
    ended.or_else(|error| left.map_err(|_| error))?;
    match exit_of(monitor, Some(super::stop::KILL_PATIENCE))? {
        Heard::TimeOut => Err(Error::new(
            ErrorKind::Unavailable,
            "its processes are on the disk and do not end after SIGKILL",
        )),
        Heard::Exited(_) | Heard::Suspended | Heard::Gone => Ok(()),
    }
}

/// The image, and the files that belong to it: after a power cut one without
/// the other is worth nothing.
pub(super) fn sync(memory: &Path, root: &Path) -> Result<()> {
    let sync = || -> Result<()> {
        rustix::fs::syncfs(File::open(memory)?)?;
        rustix::fs::syncfs(File::open(root)?)?;
        Ok(())
    };
    sync().context(|| format!("write {} to the disk", memory.display()))
}
