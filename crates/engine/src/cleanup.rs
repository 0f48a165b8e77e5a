//! Everything that remains to be done after a container's end, in one
//! idempotent place. It is called by the session that launched the container
//! (which holds the clean-up lease), by `wharf internal cleanup ID` (which
//! monitors run), by `stop` and `rm`, and by `reconcile.rs` for those whose
//! monitor died.

use std::fs;
use std::path::PathBuf;

use state::{
    ContainerConfig, ContainerId, Durability, FileLock, Layout, MountKind, Names, NetworkMode,
    Record,
};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::Engine;
use crate::cgroup::Hierarchies;
use crate::containers::observe::{self, Observed};
use crate::crash::crash_point;
use crate::runtime_spec::{cgroup_path, usual_cgroup_path};
use crate::{templates, volumes};

/// What becomes of anonymous volumes on removal. It is part of the name that
/// the configuration gets when the removal begins, so that whoever finishes
/// it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    Keep,
    Remove,
}

impl Anonymous {
    pub(crate) const ALL: [Self; 2] = [Self::Keep, Self::Remove];

    /// The configuration's name while the container is being removed.
    pub(crate) fn record(self, layout: &Layout, id: &ContainerId) -> PathBuf {
        layout.container(id).join(match self {
            Self::Keep => "removing.json",
            Self::Remove => "removing-volumes.json",
        })
    }
}

impl Engine {
    /// Everything that is left to do after a container's end; nothing if it
    /// has not ended. Idempotent. For `wharf internal cleanup ID`, which
    /// monitors run.
    pub fn cleanup(&self, id: &ContainerId) -> Result<()> {
        match FileLock::exclusive_existing(&self.layout().container(id)) {
            Ok(lock) => self.cleanup_locked(id, &lock),
            // It was removed, and cleaned up before.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .context(|| format!("clean up after container {}", id.short()))
    }

    /// As [`Engine::cleanup`], unless somebody works on the container.
    pub(crate) fn cleanup_if_free(&self, id: &ContainerId) -> Result<()> {
        match FileLock::try_exclusive_existing(&self.layout().container(id)) {
            Ok(Some(lock)) => self.cleanup_locked(id, &lock),
            Ok(None) => Ok(()),
            // A run directory without a container: nothing of it is needed.
            Err(error) if error.kind() == ErrorKind::NotFound => self
                .give_back(id, None)
                .and_then(|()| self.remove_run_directory(id)),
            Err(error) => Err(error),
        }
        .context(|| format!("clean up after container {}", id.short()))
    }

    fn cleanup_locked(&self, id: &ContainerId, _lock: &FileLock) -> Result<()> {
        let Some(observed) = observe::observe(self, id)? else {
            self.finish_removal(id)?;
            return self.remove_run_directory(id);
        };
        let has_run = observed.exit.is_some() || self.layout().run_container(id).exists();
        if !has_run || !is_over(&observed) {
            return Ok(());
        }
        if !observed.config.auto_remove || observed.is_suspended() {
            return self.clear_run(id, &observed);
        }
        self.clear_used(id, &observed)?;
        self.begin_removal(id, Anonymous::Remove)?;
        self.finish_removal(id)?;
        self.remove_run_directory(id)
    }

    /// What a run that is over left: address, cgroup, run directory. The
    /// caller holds the container's lock.
    pub(crate) fn clear_run(&self, id: &ContainerId, observed: &Observed) -> Result<()> {
        self.clear_used(id, observed)?;
        self.remove_run_directory(id)
    }

    /// Last: as long as it is there, somebody will come and try again.
    fn remove_run_directory(&self, id: &ContainerId) -> Result<()> {
        volumes::remove_tree(&self.layout().run_container(id))
    }

    /// As [`Engine::clear_run`], but for the run directory.
    fn clear_used(&self, id: &ContainerId, observed: &Observed) -> Result<()> {
        let directory = self.layout().run_container(id);
        if !directory.exists() {
            return Ok(());
        }
        if !is_over(observed) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {} is about to go on: wait until it runs, or stop it first",
                    id.short()
                ),
            ));
        }
        // Nobody wrote down its end: its monitor was killed.
        let ended_unseen = observed
            .facts
            .as_ref()
            .filter(|facts| facts.started.is_some());
        if observed.exit.is_none()
            && !observed.is_suspended()
            && let Some(facts) = ended_unseen
        {
            let record = observe::unknown_exit(Some(facts));
            let path = self.layout().container_exit(id);
            Record::write(&path, &record, Durability::Fast)?;
        }
        if !observed.is_suspended() {
            // What it went on from, or a suspension that did not come about.
            volumes::remove_tree(&self.layout().container_memory(id))?;
        }
        self.give_back(id, Some(&observed.config))
    }

    fn give_back(&self, id: &ContainerId, config: Option<&ContainerConfig>) -> Result<()> {
        let mut errors = Errors::new();
        let group = config.map_or_else(|| usual_cgroup_path(id), cgroup_path);
        // First the processes, then what they used.
        errors.keep(Hierarchies::find().and_then(|all| all.remove(&group)));
        crash_point!(self, "after cgroup removal");
        if config.is_none_or(|config| config.network == NetworkMode::Bridge) {
            errors.keep(self.network_host().detach(id));
        }
        crash_point!(self, "after detach");
        errors.into_result()
    }

    /// From here on there is no such container; what it was made of goes by
    /// [`Engine::finish_removal`], now or by whoever comes after a crash.
    pub(crate) fn begin_removal(&self, id: &ContainerId, anonymous: Anonymous) -> Result<()> {
        let from = self.layout().container_config(id);
        fs::rename(&from, anonymous.record(self.layout(), id))
            .context(|| format!("remove {}", from.display()))?;
        crash_point!(self, "after removal began");
        Ok(())
    }

    /// Whether a removal was begun and not finished.
    pub(crate) fn is_half_removed(&self, id: &ContainerId) -> bool {
        let records = Anonymous::ALL.iter();
        records
            .map(|anonymous| anonymous.record(self.layout(), id))
            .any(|record| record.exists())
    }

    /// Takes away what a removed container was made of. Fine if no removal
    /// was begun.
    pub(crate) fn finish_removal(&self, id: &ContainerId) -> Result<()> {
        let layout = self.layout();
        let mut found = None;
        for anonymous in Anonymous::ALL {
            let path = anonymous.record(layout, id);
            if let Some(config) = Record::read_if_exists::<ContainerConfig>(&path)? {
                found = Some((anonymous, config, path));
                break;
            }
        }
        let Some((anonymous, config, path)) = found else {
            return Ok(());
        };
        let mut errors = Errors::new();
        if anonymous == Anonymous::Remove {
            for mount in &config.mounts {
                if let MountKind::Volume(volume) = &mount.kind
                    && volume.anonymous
                {
                    errors.keep(volumes::remove(layout, &volume.name));
                }
            }
        }
        if config.resources.storage.is_some() {
            let upper = layout.active_snapshot(id).join("upper");
            errors.keep(volumes::forget_limit(&upper));
        }
        errors.keep(
            self.images()
                .store()
                .and_then(|store| store.snapshots().remove(id)),
        );
        crash_point!(self, "after snapshot removal");
        if let Some(origin) = &config.clone_of {
            errors.keep(templates::release(layout, &origin.template, id));
        }
        errors.keep(Names::new(layout).release(&config.name, id));
        errors.into_result()?;
        self.remove_directory(id, &path)?;
        self.tell(&config, "destroy", &[]);
        Ok(())
    }

    /// The record goes last, so that nothing is forgotten.
    fn remove_directory(&self, id: &ContainerId, record: &std::path::Path) -> Result<()> {
        let directory = self.layout().container(id);
        for entry in crate::entries(&directory)? {
            let path = directory.join(&entry);
            if path != record {
                volumes::remove_tree_or_file(&path)?;
            }
        }
        volumes::remove_tree_or_file(record)?;
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", directory.display()))
            }
            _ => Ok(()),
        }
    }
}

/// True if nothing of it runs or will run again by itself.
fn is_over(observed: &Observed) -> bool {
    let facts = observed.facts.as_ref();
    let is_about_to_go_on = facts.is_some_and(|facts| facts.started.is_none());
    observed.exit.is_some()
        || !observe::is_supervised(facts)
        || (observed.is_suspended() && !is_about_to_go_on)
}
