//! `system check`: every file in the store has an owner, every claim is backed.
//!
//! Nothing is changed. Creations and sweeps wait meanwhile, so that what is
//! under way is not taken for rubbish; a container whose lock is held is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use image::Freed;
pub use image::{AuditDepth, Finding};
use state::{ContainerConfig, ContainerId, FileLock, MountKind};
use sys::Result;

use crate::cgroup::Hierarchies;
use crate::cleanup::Anonymous;
use crate::containers::{ANONYMOUS_PREFIX, creation_lock, observe};
use crate::{Engine, Repaired, entries, templates};

/// What may lie in the root.
const ROOT: [&str; 13] = [
    // Of a file system that is the store's alone.
    "lost+found",
    "checkpoints",
    "containers",
    "content",
    "events",
    "events.1",
    "leases",
    "names",
    "networks",
    "snapshots",
    "templates",
    "volumes",
    "warm",
];

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub containers: usize,
    pub images: usize,
    pub volumes: usize,
    /// Sorted by path.
    pub findings: Vec<Finding>,
}

impl Engine {
    /// Looks at everything.
    pub fn check(&self, depth: AuditDepth) -> Result<Checked> {
        let store = self.images().store()?;
        let mut findings = {
            let _creation = FileLock::exclusive(&creation_lock(self.layout()))?;
            self.check_containers()?
        };
        findings.extend(store.audit(|| self.images().still_used(&store), depth)?);
        findings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Checked {
            containers: self.configs()?.len(),
            images: store.list()?.len(),
            volumes: entries(&self.layout().volumes())?.len(),
            findings,
        })
    }

    /// Heals what can be healed: what crashes left is finished or undone, and
    /// what nothing refers to is removed. What is missing stays missing.
    pub fn mend(&self) -> Result<Repaired> {
        let mut repaired = self.repair()?;
        let freed = self.images().sweep_now()?;
        if freed != Freed::default() {
            repaired.done.push(format!(
                "removed {} blobs and {} layers that nothing needs",
                freed.blobs, freed.snapshots
            ));
        }
        Ok(repaired)
    }

    fn check_containers(&self) -> Result<Vec<Finding>> {
        let layout = self.layout();
        let mut findings = Findings::default();
        for name in entries(layout.root())? {
            if !ROOT.contains(&name.as_str()) {
                findings.note(layout.root().join(name), "nothing of Wharf's has this name");
            }
        }
        let configs: BTreeMap<_, _> = self
            .configs()?
            .into_iter()
            .map(|config| (config.id, config))
            .collect();
        for id in entries(&layout.containers())? {
            let path = layout.containers().join(&id);
            match id.parse::<ContainerId>() {
                _ if id.starts_with('.') => {}
                Err(_) => findings.note(path, "this is no container"),
                Ok(id) if !configs.contains_key(&id) => {
                    let begun = |one: &Anonymous| one.record(layout, &id).exists();
                    let act = if Anonymous::ALL.iter().any(begun) {
                        "removal"
                    } else {
                        "creation"
                    };
                    let why = format!("the {act} of this container was cut off");
                    findings.0.push(Finding { path, why });
                }
                Ok(_) => {}
            }
        }
        self.check_names(&configs, &mut findings)?;
        self.check_volumes(&configs, &mut findings)?;
        self.check_leases(&mut findings)?;
        self.check_memory(&configs, &mut findings)?;
        self.check_templates(&configs, &mut findings)?;
        self.check_runs(&configs, &mut findings)?;
        Ok(findings.0)
    }

    fn check_names(
        &self,
        configs: &BTreeMap<ContainerId, ContainerConfig>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = self.layout();
        for entry in entries(&layout.names())? {
            let path = layout.names().join(&entry);
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let config = holder.trim().parse().ok().and_then(|id| configs.get(&id));
            if config.is_none_or(|config| config.name.as_str() != entry) {
                findings.note(path, "no container has this name");
            }
        }
        for (id, config) in configs {
            let path = layout.name(&config.name);
            let holder = fs::read_to_string(&path).unwrap_or_default();
            if holder.trim() != id.to_string() {
                findings.note(path, "a container's name is not claimed");
            }
        }
        Ok(())
    }

    fn check_volumes(
        &self,
        configs: &BTreeMap<ContainerId, ContainerConfig>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = self.layout();
        let mut used = BTreeSet::new();
        for config in configs.values() {
            for mount in &config.mounts {
                if let MountKind::Volume(volume) = &mount.kind {
                    used.insert(volume.name.as_str());
                    let path = layout.volumes().join(&volume.name);
                    if !path.is_dir() {
                        findings.note(path, "a container's volume is missing");
                    }
                }
            }
        }
        for name in entries(&layout.volumes())? {
            let path = layout.volumes().join(&name);
            if name.starts_with(".removed-") {
                findings.note(path, "the removal of this volume was cut off");
                continue;
            }
            for inner in entries(&path).unwrap_or_default() {
                if inner.starts_with(".new-") {
                    findings.note(path.join(inner), "a volume that was being filled");
                }
            }
        }
        // An anonymous volume says in its container's directory whose it is.
        for (id, config) in configs {
            for entry in entries(&layout.container(id))? {
                let Some(name) = entry.strip_prefix(ANONYMOUS_PREFIX) else {
                    continue;
                };
                if !used.contains(name) {
                    let path = layout.volumes().join(name);
                    let why = format!("container {} does not mount its volume", config.name);
                    findings.0.push(Finding { path, why });
                }
            }
        }
        Ok(())
    }

    /// Memory on the disk is that of a container which is suspended, or of a
    /// checkpoint.
    fn check_memory(
        &self,
        configs: &BTreeMap<ContainerId, ContainerConfig>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = self.layout();
        for id in configs.keys() {
            let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&layout.container(id)) else {
                continue;
            };
            let (memory, record) = (layout.container_memory(id), layout.container_suspended(id));
            // A container that runs may still be read from it.
            let runs = layout.run_container(id).exists();
            if memory.exists() && !record.exists() && !runs {
                findings.note(memory.clone(), "its container is not suspended");
            }
            if record.exists() && !memory.join("checkpoint").exists() {
                findings.note(memory, "the memory of a suspended container is missing");
            }
        }
        for entry in entries(&layout.checkpoints())? {
            let path = layout.checkpoints().join(&entry);
            if entry.starts_with(crate::checkpoints::UNFINISHED) {
                // Somebody who makes one or takes one away holds its lock.
                if let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&path) {
                    findings.note(
                        path,
                        "the making or the removal of a checkpoint was cut off",
                    );
                }
            } else if !path.join("checkpoint.json").exists()
                || !path.join("memory/checkpoint").exists()
            {
                findings.note(path, "this is no checkpoint");
            }
        }
        Ok(())
    }

    /// A template has a name, somebody who makes clones of it, or clones; and
    /// clones have the files of theirs.
    fn check_templates(
        &self,
        configs: &BTreeMap<ContainerId, ContainerConfig>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = self.layout();
        for entry in entries(&layout.templates())? {
            let path = layout.templates().join(&entry);
            let Ok(id) = entry.parse::<ContainerId>() else {
                if !entry.starts_with('.') || entry.starts_with(templates::GONE) {
                    findings.note(path, "this is no template");
                }
                continue;
            };
            let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&path) else {
                continue;
            };
            let Some(template) = templates::all(layout)?.into_iter().find(|one| one.id == id)
            else {
                findings.note(path, "the making of a template was cut off");
                continue;
            };
            for user in &template.users {
                if !configs.contains_key(user) {
                    findings.note(path.clone(), "a clone of this template is gone");
                }
            }
            match &template.record.name {
                None if template.users.is_empty() => {
                    findings.note(path, "nobody needs this template");
                }
                Some(_) if !path.join("memory/checkpoint").exists() => {
                    findings.note(path, "the memory of this template is missing");
                }
                _ => {}
            }
        }
        let running = layout.run_root().join("templates");
        for entry in entries(&running)? {
            let id = entry.parse::<ContainerId>();
            if !id.is_ok_and(|id| layout.template(&id).exists()) {
                findings.note(running.join(entry), "the template of this process is gone");
            }
        }
        for config in configs.values() {
            let Some(origin) = &config.clone_of else {
                continue;
            };
            let path = layout.template(&origin.template);
            if !path.join("layer").is_dir() {
                findings.note(path, "the files of a clone's template are missing");
            } else if !templates::has_user(layout, &origin.template, &config.id) {
                findings.note(path, "a clone of this template is not noted");
            }
        }
        Ok(())
    }

    /// An address belongs to a container that runs.
    fn check_leases(&self, findings: &mut Findings) -> Result<()> {
        let leases = self.layout().root().join("leases");
        for network in entries(&leases)? {
            for entry in entries(&leases.join(&network))? {
                let path = leases.join(&network).join(entry);
                let Ok(text) = fs::read(&path) else { continue };
                let lease: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
                let holder = lease.get("container").and_then(|id| id.as_str());
                // What names no container is the network's own.
                if let Some(Ok(id)) = holder.map(str::parse::<ContainerId>)
                    && !self.layout().run_container(&id).exists()
                {
                    findings.note(path, "the container that has this address does not run");
                }
            }
        }
        Ok(())
    }

    /// Run directories and cgroups belong to containers that run.
    fn check_runs(
        &self,
        configs: &BTreeMap<ContainerId, ContainerConfig>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = self.layout();
        for entry in entries(&layout.run_containers())? {
            let path = layout.run_containers().join(&entry);
            let Ok(id) = entry.parse::<ContainerId>() else {
                findings.note(path, "this is no container");
                continue;
            };
            if !configs.contains_key(&id) {
                findings.note(path, "there is no such container");
                continue;
            }
            // Somebody is at it right now.
            let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&layout.container(&id)) else {
                continue;
            };
            if let Some(observed) = observe::observe(self, &id)?
                && path.exists()
                && !observe::is_supervised(observed.facts.as_ref())
            {
                findings.note(path, "nobody cleaned up after this container's end");
            }
        }
        let hierarchies = Hierarchies::find()?;
        for id in hierarchies.children("/wharf")? {
            let Ok(id) = id.parse::<ContainerId>() else {
                continue;
            };
            if configs.contains_key(&id) && !layout.run_container(&id).exists() {
                let path = Path::new("/sys/fs/cgroup/…/wharf").join(id.to_string());
                findings.note(path, "the container of this control group does not run");
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, path: PathBuf, why: &str) {
        self.0.push(Finding {
            path,
            why: why.to_owned(),
        });
    }
}
