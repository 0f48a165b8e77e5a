//! What happens to containers when the host comes up and goes down.

use state::{ContainerConfig, ContainerId, Durability, NetworkMode, Record, RestartPolicy, Status};
use sys::{Errors, Result};

use crate::Engine;
use crate::containers::observe::{self, Observed};

/// What became of one container at boot.
#[derive(Debug)]
pub struct Booted {
    pub id: ContainerId,
    pub name: String,
    pub result: Result<()>,
}

impl Engine {
    /// Starts what ran when the host went down, or should run always:
    /// `always`, and `unless-stopped` unless somebody stopped it. As in
    /// Docker, what never ran is not started. Each is told to `tell`.
    pub fn boot_containers(&self, tell: &mut dyn FnMut(Booted)) -> Result<()> {
        let mut due = Vec::new();
        for observed in self.observe_containers()? {
            if is_due(&observed) {
                due.push(observed.config);
            }
        }
        // Who shares another one's network needs that one first.
        due.sort_by_key(|config| {
            let follows = matches!(config.network, NetworkMode::Container(_));
            (follows, config.created)
        });
        for config in due {
            tell(Booted {
                id: config.id,
                name: config.name.to_string(),
                result: self.containers().start(&config.id.to_string()).map(drop),
            });
        }
        Ok(())
    }

    /// Ends everything that runs, as `stop` does, for the host goes down: the
    /// next boot starts it again if its policy says so.
    pub fn halt_containers(&self) -> Result<()> {
        let running: Vec<ContainerConfig> = self
            .observe_containers()?
            .into_iter()
            .filter(|observed| {
                observed.is_running() || matches!(observed.status, Status::Restarting(_))
            })
            .map(|observed| observed.config)
            .collect();
        // Each may take its time: they end side by side.
        let ended: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = running
                .iter()
                .map(|config| scope.spawn(|| self.halt(config)))
                .collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut errors = Errors::new();
        for one in ended {
            errors.keep(one);
        }
        errors.into_result()
    }

    fn halt(&self, config: &ContainerConfig) -> Result<()> {
        self.containers().stop(&config.id.to_string(), None, None)?;
        let path = self.layout().container_exit(&config.id);
        // One made with --rm is gone.
        let Some(mut exit) = Record::read_if_exists::<state::ExitRecord>(&path)? else {
            return Ok(());
        };
        // It was not somebody's wish that it should not run.
        exit.stopped = false;
        Record::write(&path, &exit, Durability::Synced)
    }

    fn observe_containers(&self) -> Result<Vec<Observed>> {
        let mut all = Vec::new();
        for entry in crate::entries(&self.layout().containers())? {
            if let Ok(id) = entry.parse::<ContainerId>()
                && let Some(observed) = observe::observe(self, &id)?
            {
                all.push(observed);
            }
        }
        Ok(all)
    }
}

fn is_due(observed: &Observed) -> bool {
    let Status::Exited(exit) = &observed.status else {
        return false;
    };
    match observed.config.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !exit.stopped,
        RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
    }
}
