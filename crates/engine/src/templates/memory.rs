//! The process that holds a template's memory, of which clones share what they
//! do not write.
//!
//! ```text
//! <runroot>/templates/<id>/process.json    which process, if it stays
//! <runroot>/templates/<id>/socket          where it is asked for clones
//! ```

use std::fs::{DirBuilder, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use spec::runtime::{Memory, Resources};
use state::{ContainerId, Durability, FileLock, Layout, ProcessRef, Record, TemplateJob};
use sys::{Context as _, Result};

use super::Held;
use crate::Engine;
use crate::cgroup::Hierarchies;
use crate::template_process::{TemplateProcess, end_template};
use crate::volumes;

/// Begins the names of the cgroups of such processes.
pub(crate) const GROUP: &str = "template-";

/// Beside what it holds, it needs so much.
const OWN_MEMORY: u64 = 64 << 20;

/// Copies of shared memory that wait for clones, if there is room.
const COPIES: u32 = 2;

/// A template's process. Unless it stays, it is ended with this.
#[derive(Debug)]
pub(crate) struct Warm {
    layout: Layout,
    id: ContainerId,
    /// It is ours to end.
    started: Option<(TemplateProcess, ProcessRef)>,
}

impl Warm {
    /// Finds the process of a template, or starts it.
    pub(crate) fn up(engine: &Engine, template: &Held) -> Result<Self> {
        let layout = engine.layout();
        let id = *template.id();
        let directory = layout.run_template(&id);
        make(&directory)?;
        // One starts it.
        let _lock = FileLock::exclusive_existing(&directory)?;
        let mut warm = Self {
            layout: layout.clone(),
            id,
            started: None,
        };
        let known: Option<ProcessRef> = Record::read_if_exists(&record(&directory))?;
        if known.is_some_and(|process| process.is_alive()) {
            return Ok(warm);
        }
        // One that was killed left these.
        volumes::remove_tree_or_file(&warm.socket())?;
        remove_group(&id)?;
        let memory = File::open(template.memory())
            .context(|| format!("open {}", template.memory().display()))?;
        let size = template.record()?.memory.size;
        let limit = size.saturating_add(size / 2).saturating_add(OWN_MEMORY);
        let job = TemplateJob {
            socket: warm.socket(),
            cgroup: group(&id),
            resources: Resources {
                memory: Some(Memory {
                    limit: i64::try_from(limit).ok(),
                    ..Memory::default()
                }),
                ..Resources::default()
            },
            copies: COPIES,
        };
        let process = TemplateProcess::start(engine, &job, memory.as_fd())?;
        let facts = process.wait_ready()?;
        warm.started = Some((process, facts.process));
        Ok(warm)
    }

    /// Where it is asked for clones.
    pub(crate) fn socket(&self) -> PathBuf {
        self.layout.run_template(&self.id).join("socket")
    }

    /// It stays when we go, until its template loses its name.
    pub(crate) fn keep(mut self) -> Result<()> {
        let Some((process, reference)) = self.started.take() else {
            return Ok(());
        };
        let path = record(&self.layout.run_template(&self.id));
        let kept = Record::write(&path, &reference, Durability::Fast).and_then(|()| process.keep());
        if kept.is_err() {
            let _ = end(&self.layout, &self.id);
        }
        kept
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        if let Some((process, reference)) = self.started.take() {
            drop(process);
            // What it leaves is found by a repair.
            let _ = end_template(reference).and_then(|()| end(&self.layout, &self.id));
        }
    }
}

/// Ends the process of a template, if there is one, and takes away what it
/// leaves.
pub(super) fn end(layout: &Layout, id: &ContainerId) -> Result<()> {
    let directory = layout.run_template(id);
    if !directory.exists() {
        return Ok(());
    }
    if let Some(process) = Record::read_if_exists(&record(&directory))? {
        end_template(process)?;
    }
    remove_group(id)?;
    volumes::remove_tree(&directory)
}

/// Takes away what processes left of templates that are gone.
pub(super) fn repair(layout: &Layout) -> Result<()> {
    for entry in crate::entries(&layout.run_root().join("templates"))? {
        if let Ok(id) = entry.parse::<ContainerId>()
            && !layout.template(&id).exists()
        {
            end(layout, &id)?;
        }
    }
    Ok(())
}

fn group(id: &ContainerId) -> String {
    format!("/wharf/{GROUP}{id}")
}

fn remove_group(id: &ContainerId) -> Result<()> {
    Hierarchies::find()?.remove(&group(id))
}

fn record(directory: &Path) -> PathBuf {
    directory.join("process.json")
}

fn make(directory: &Path) -> Result<()> {
    match DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
    {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).context(|| format!("make {}", directory.display()))
        }
        _ => Ok(()),
    }
}
