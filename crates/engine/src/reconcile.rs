//! Healing what killed processes and reboots left.
//!
//! A cheap look ([`Engine::reconcile`], and a bounded one during each start)
//! finds run directories whose monitor is dead. [`Engine::repair`] looks at
//! everything. What each crash leaves is listed in `docs/lifecycle.md`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use state::{
    ContainerConfig, ContainerId, ContainerName, FileLock, MountKind, Names, Record, Status,
};
use sys::{Context as _, ErrorKind, Errors, Result};

use crate::cgroup::Hierarchies;
use crate::cleanup::Anonymous;
use crate::containers::observe;
use crate::containers::{ANONYMOUS_PREFIX, creation_lock};
use crate::engine::Repaired;
use crate::runtime_spec::usual_cgroup_path;
use crate::{Engine, entries, volumes};

/// So many run directories are looked at during a start at most.
const LOOK_MAX: usize = 16;

impl Engine {
    /// Heals containers whose monitor was killed: one small file and one look
    /// at /proc per running container.
    pub fn reconcile(&self) -> Result<()> {
        let mut errors = Errors::new();
        for id in self.run_directories()? {
            if self.is_forsaken(&id)? {
                errors.keep(self.cleanup_if_free(&id));
            }
        }
        errors.into_result()
    }

    /// A bounded [`Engine::reconcile`] for the time in which a start waits
    /// for the kernel. What fails here fails again, and is said, when
    /// somebody asks for it.
    pub(crate) fn look_around(&self, except: &ContainerId) {
        let id = except.as_bytes();
        // Where many run, one start in several reads the list: what a start
        // pays must not grow with them.
        let is_due = fs::metadata(self.layout().run_containers())
            .is_ok_and(|directory| usize::from(id[1]) % one_start_in(directory.nlink()) == 0);
        if !is_due {
            return;
        }
        let Ok(ids) = self.run_directories() else {
            return;
        };
        // Another part each time, if there are many.
        let from = usize::from(u16::from_be_bytes([id[2], id[3]]));
        let count = ids.len();
        for offset in 0..count.min(LOOK_MAX) {
            let id = &ids[(from + offset) % count];
            if id != except && self.is_forsaken(id).unwrap_or(false) {
                let _ = self.cleanup_if_free(id);
            }
        }
    }

    /// Looks at everything and heals it.
    pub fn repair(&self) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        let mut errors = Errors::new();
        for id in self.run_directories()? {
            if self.is_forsaken(&id)? && errors.keep(self.cleanup_if_free(&id)).is_some() {
                repaired.say(format!("cleaned up after container {}", id.short()));
            }
        }
        errors.keep(self.repair_containers(&mut repaired));
        errors.keep(self.repair_creations(&mut repaired));
        errors.keep(self.repair_cgroups(&mut repaired));
        // A container is being started from before its run directory exists
        // only while nothing is attached yet.
        let run = self.layout().clone();
        errors.keep(
            self.network_host()
                .repair(|id| run.run_container(id).exists()),
        );
        let connections = errors.keep(self.containers().repair_connections());
        let ports = errors.keep(self.containers().repair_ports());
        for sentence in [connections, ports].into_iter().flatten().flatten() {
            repaired.say(sentence);
        }
        errors.into_result()?;
        Ok(repaired)
    }

    /// Containers whose removal was cut off, whose end was not seen, or that
    /// should have gone with their end.
    fn repair_containers(&self, repaired: &mut Repaired) -> Result<()> {
        let layout = self.layout();
        let mut errors = Errors::new();
        for id in ids(&entries(&layout.containers())?) {
            let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&layout.container(&id)) else {
                continue;
            };
            if self.is_half_removed(&id) {
                if errors.keep(self.finish_removal(&id)).is_some() {
                    repaired.say(format!("finished the removal of container {}", id.short()));
                }
                continue;
            }
            let Some(Some(observed)) = errors.keep(observe::observe(self, &id)) else {
                continue;
            };
            match errors.keep(self.remove_stray_volumes(&observed.config)) {
                Some(0) | None => {}
                Some(_) => repaired.say(format!(
                    "removed volumes that container {} was about to get",
                    id.short()
                )),
            }
            let memory = layout.container_memory(&id);
            let runs = layout.run_container(&id).exists();
            if memory.exists() && !runs && !observed.is_suspended() {
                errors.keep(volumes::remove_tree(&memory));
                repaired.say(format!("removed memory of container {}", id.short()));
            }
            let Status::Exited(record) = &observed.status else {
                continue;
            };
            if observed.exit.is_none() && !layout.run_container(&id).exists() {
                let path = layout.container_exit(&id);
                errors.keep(Record::write(&path, record, state::Durability::Fast));
                repaired.say(format!("noted that container {} ended unseen", id.short()));
            }
            if observed.config.auto_remove && !layout.run_container(&id).exists() {
                let removed = self
                    .begin_removal(&id, Anonymous::Remove)
                    .and_then(|()| self.finish_removal(&id));
                if errors.keep(removed).is_some() {
                    repaired.say(format!("removed container {} (--rm)", id.short()));
                }
            }
        }
        errors.into_result()
    }

    /// Anonymous volumes that were made for a change of the container which was
    /// cut off: noted, and not mounted. Gives their number.
    fn remove_stray_volumes(&self, config: &ContainerConfig) -> Result<usize> {
        let mut removed = 0;
        for entry in entries(&self.layout().container(&config.id))? {
            let Some(name) = entry.strip_prefix(ANONYMOUS_PREFIX) else {
                continue;
            };
            let is_mounted = config.mounts.iter().any(
                |mount| matches!(&mount.kind, MountKind::Volume(volume) if volume.name == name),
            );
            if !is_mounted && name.parse::<ContainerId>().is_ok() {
                volumes::remove(self.layout(), name)?;
                volumes::remove_tree_or_file(&self.layout().container(&config.id).join(&entry))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// What creations that were cut off left: directories, layers, names,
    /// volumes.
    fn repair_creations(&self, repaired: &mut Repaired) -> Result<()> {
        let layout = self.layout();
        // Nobody creates meanwhile, so what has no configuration has no owner.
        let _creation = FileLock::exclusive(&creation_lock(layout))?;
        let mut errors = Errors::new();
        for id in ids(&entries(&layout.containers())?) {
            if self.exists(&id) {
                continue;
            }
            let removed = self
                .remove_volumes_of_unfinished(&id)
                .and_then(|()| volumes::remove_tree(&layout.container(&id)));
            if errors.keep(removed).is_some() {
                repaired.say(format!("removed the unfinished container {}", id.short()));
            }
        }
        let store = self.images().store()?;
        for id in ids(&entries(&layout.snapshots().join("active"))?) {
            if !self.exists(&id) {
                errors.keep(store.snapshots().remove(&id));
                repaired.say(format!("removed the layer of container {}", id.short()));
            }
        }
        let unfinished = errors.keep(crate::checkpoints::repair(layout));
        for _ in 0..unfinished.unwrap_or(0) {
            repaired.say("removed an unfinished checkpoint".to_owned());
        }
        let gone = errors.keep(crate::templates::repair(layout, &|id| self.exists(id)));
        for _ in 0..gone.unwrap_or(0) {
            repaired.say("removed a template that nobody needs".to_owned());
        }
        for entry in entries(&layout.names())? {
            let Ok(name) = entry.parse::<ContainerName>() else {
                continue;
            };
            if errors.keep(self.free_stale(&name)) == Some(true) {
                repaired.say(format!("freed the name {name}"));
            }
        }
        if let Some(removed) = errors.keep(volumes::repair(layout)) {
            for name in removed {
                repaired.say(format!("removed the unfinished volume {name}"));
            }
        }
        errors.into_result()
    }

    fn remove_volumes_of_unfinished(&self, id: &ContainerId) -> Result<()> {
        for entry in entries(&self.layout().container(id))? {
            // Made from an id, so it is safe; what is not was not made by us.
            if let Some(name) = entry.strip_prefix(ANONYMOUS_PREFIX)
                && name.parse::<ContainerId>().is_ok()
            {
                volumes::remove(self.layout(), name)?;
            }
        }
        Ok(())
    }

    fn repair_cgroups(&self, repaired: &mut Repaired) -> Result<()> {
        let all = Hierarchies::find()?;
        let mut errors = Errors::new();
        for id in ids(&all.children("/wharf")?) {
            // Another store's containers are in the same place.
            let ours = self.layout().container(&id).exists();
            let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&self.layout().container(&id))
            else {
                continue;
            };
            if ours
                && !self.layout().run_container(&id).exists()
                && errors.keep(all.remove(&usual_cgroup_path(&id))).is_some()
            {
                repaired.say(format!("removed the cgroup of container {}", id.short()));
            }
        }
        errors.into_result()
    }

    /// Gives a name free that a creation or removal which was cut off left
    /// behind. False if its holder is well.
    pub(crate) fn free_name(&self, name: &ContainerName) -> Result<bool> {
        let layout = self.layout();
        if let Some(holder) = Names::new(layout).find(name)? {
            if layout.container_config(&holder).exists() {
                return Ok(false);
            }
            if self.exists(&holder) {
                // Waits for whoever removes it, if somebody does.
                match FileLock::exclusive_existing(&layout.container(&holder)) {
                    Ok(_lock) => self.finish_removal(&holder)?,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                return Ok(true);
            }
        }
        let _creation = FileLock::exclusive(&creation_lock(self.layout()))?;
        self.free_stale(name)
    }

    /// The caller keeps creators away.
    fn free_stale(&self, name: &ContainerName) -> Result<bool> {
        let layout = self.layout();
        let names = Names::new(layout);
        if let Some(holder) = names.find(name)? {
            let config: Option<state::ContainerConfig> =
                Record::read_if_exists(&layout.container_config(&holder))?;
            let being_removed = Anonymous::ALL
                .iter()
                .any(|anonymous| anonymous.record(layout, &holder).exists());
            if being_removed || config.is_some_and(|config| config.name == *name) {
                return Ok(false);
            }
        }
        let path = layout.name(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).context(|| format!("remove {}", path.display())),
        }
    }

    /// True if there is such a container, or there still is while it is being
    /// removed.
    fn exists(&self, id: &ContainerId) -> bool {
        let layout = self.layout();
        layout.container_config(id).exists()
            || Anonymous::ALL
                .iter()
                .any(|anonymous| anonymous.record(layout, id).exists())
    }

    fn run_directories(&self) -> Result<Vec<ContainerId>> {
        Ok(ids(&entries(&self.layout().run_containers())?))
    }

    /// True if nobody watches over a run directory. One that is just being
    /// made is locked by its maker.
    fn is_forsaken(&self, id: &ContainerId) -> Result<bool> {
        match observe::facts(self, id) {
            Ok(facts) => Ok(!observe::is_supervised(facts.as_ref())),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Repaired {
    fn say(&mut self, sentence: String) {
        self.done.push(sentence);
    }
}

/// In how many starts one looks around, by the links of the directory: two, and
/// one for each that runs (one alone on file systems that do not count them).
fn one_start_in(links: u64) -> usize {
    (usize::try_from(links).unwrap_or(usize::MAX) / LOOK_MAX).clamp(1, 128)
}

fn ids(names: &[String]) -> Vec<ContainerId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_run_the_fewer_starts_look_around() {
        // A file system that counts no links, a few, a thousand.
        for (links, starts) in [(1, 1), (12, 1), (1002, 62), (1 << 40, 128)] {
            assert_eq!(one_start_in(links), starts, "{links} links");
        }
    }
}
