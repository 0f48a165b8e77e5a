//! Snapshots of a container's files: in constant time if it does not run, else
//! as a copy.

use state::{ContainerConfig, Timestamp};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::connect;
use super::commit::Sorted;
use super::start::Locked;
use super::still::Still;
use super::stop::{end_by, no_such, suspended};
use super::{Change, Containers, observe};
use crate::copy::Mirror;
use crate::crash::crash_point;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    pub name: String,
    pub created: Timestamp,
    /// Bytes that were written since the one before.
    pub size: u64,
}

/// What becomes of a container that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Running {
    /// It goes on; `Conflict` for what cannot be done so.
    #[default]
    GoOn,
    /// It is stopped as `stop` does, and started again afterwards.
    Restart,
}

impl Containers<'_> {
    /// Seals the files as they are under a name (`snap0`, `snap1` … if there is
    /// none); gives the name. Volumes are not in it. Of a container that goes on
    /// they are copied, and it stands still for the last of it.
    pub fn snapshot(
        &self,
        container: &str,
        name: Option<&str>,
        running: Running,
    ) -> Result<String> {
        if running == Running::GoOn {
            let locked = Locked::take(self.engine, self.resolve(container)?)?;
            if locked.observed.is_running() {
                let copied = self.copy_running(&locked, name);
                return copied.context(|| format!("container {container}"));
            }
        }
        self.at_rest(container, running, |locked| self.seal(locked, name))
    }

    fn copy_running(&self, locked: &Locked<'_>, name: Option<&str>) -> Result<String> {
        let engine = self.engine;
        let config = &locked.observed.config;
        let store = engine.images().store()?;
        let snapshots = store.snapshots();
        let copying = snapshots.begin_copy(&config.id, name)?;
        let copied = || -> Result<()> {
            // What does not change any more is copied while it runs.
            let mirror = Mirror::begin(&copying.from, &copying.into)?;
            crash_point!(engine, "after first copy");
            let still = Still::make(locked)?;
            let finished = mirror.finish();
            still.let_go()?;
            finished?;
            crash_point!(engine, "after copy");
            snapshots.keep_copy(&config.id, &copying)
        };
        if let Err(error) = copied() {
            return Err(match snapshots.drop_copy(&copying) {
                Ok(()) => error,
                Err(second) => error.wrap(format!("and a copy stays behind ({second})")),
            });
        }
        let name = copying.name;
        engine.tell(config, "snapshot", &[("snapshot", name.clone())]);
        Ok(name)
    }

    /// The container does not run.
    pub(super) fn seal(&self, locked: &Locked<'_>, name: Option<&str>) -> Result<String> {
        let config = &locked.observed.config;
        let store = self.engine.images().store()?;
        store.snapshots().heal(&config.id, &config.image.chain)?;
        let name = store
            .snapshots()
            .seal(&config.id, &config.image.chain, name)?;
        self.limit_again(config)?;
        self.engine
            .tell(config, "snapshot", &[("snapshot", name.clone())]);
        Ok(name)
    }

    /// Oldest first.
    pub fn snapshots(&self, container: &str) -> Result<Vec<SnapshotSummary>> {
        let id = self.resolve(container)?;
        let store = self.engine.images().store()?;
        let all = store.snapshots().snapshots(&id)?;
        let summary = |(snapshot, size): (image::Snapshot, u64)| SnapshotSummary {
            name: snapshot.name,
            created: snapshot.created,
            size,
        };
        Ok(all.into_iter().map(summary).collect())
    }

    /// Forgets a snapshot; the container may run.
    pub fn remove_snapshot(&self, container: &str, name: &str) -> Result<()> {
        let locked = Locked::take(self.engine, self.resolve(container)?)?;
        let config = &locked.observed.config;
        let store = self.engine.images().store()?;
        store
            .snapshots()
            .forget(&config.id, &config.image.chain, name)?;
        self.engine
            .tell(config, "snapshot-remove", &[("snapshot", name.to_owned())]);
        Ok(())
    }

    /// Goes back to a snapshot; what was written since is lost.
    pub fn restore_snapshot(&self, container: &str, name: &str, running: Running) -> Result<()> {
        self.at_rest(container, running, |locked| {
            let config = &locked.observed.config;
            let store = self.engine.images().store()?;
            store.snapshots().heal(&config.id, &config.image.chain)?;
            store
                .snapshots()
                .restore(&config.id, &config.image.chain, name)?;
            self.limit_again(config)?;
            self.engine
                .tell(config, "snapshot-restore", &[("snapshot", name.to_owned())]);
            Ok(())
        })
    }

    /// What changed from a snapshot to another, or to now; sorted by path.
    pub fn diff_snapshots(
        &self,
        container: &str,
        from: &str,
        to: Option<&str>,
    ) -> Result<Vec<Change>> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let config = &observed.config;
        let store = self.engine.images().store()?;
        let changes = store
            .snapshots()
            .changes_since(&id, &config.image.chain, from, to)?;
        Ok(Sorted::by_author(changes, config).container)
    }

    /// The new writable directory has the limit of the old one.
    fn limit_again(&self, config: &ContainerConfig) -> Result<()> {
        match config.resources.storage {
            Some(size) => self.limit_storage(&config.id, size),
            None => Ok(()),
        }
    }

    pub(super) fn at_rest<R>(
        &self,
        container: &str,
        running: Running,
        act: impl FnOnce(&mut Locked<'_>) -> Result<R>,
    ) -> Result<R> {
        let id = self.resolve(container)?;
        let mut locked = Locked::take(self.engine, id)?;
        if locked.observed.is_suspended() {
            // Its memory relies on its files.
            return Err(suspended(container, "resume it first"));
        }
        let config = locked.observed.config.clone();
        let Some(channel) = connect(self.engine, &id)? else {
            self.engine.clear_run(&id, &locked.observed)?;
            return act(&mut locked);
        };
        if running == Running::GoOn {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} is running: stop it first, or say --restart"),
            ));
        }
        self.engine.tell(&config, "stop", &[]);
        end_by(&channel, &id, config.stop.signal, config.stop.timeout)?;
        locked.observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        self.engine.clear_run(&id, &locked.observed)?;
        let done = act(&mut locked);
        // It runs again whatever came of it.
        locked.start(None)?;
        done
    }
}
