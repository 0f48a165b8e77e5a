//! `rm`.

use std::time::Duration;

use state::ContainerId;
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::request::RemoveRequest;
use super::start::Locked;
use super::stop::suspended;
use crate::cleanup::Anonymous;

impl Containers<'_> {
    /// Removes a container with its writable layer. `Conflict` if it runs and
    /// force is not asked for.
    pub fn remove(&self, container: &str, request: RemoveRequest) -> Result<ContainerId> {
        let id = self.resolve(container)?;
        let goes_by_itself = request.force && self.is_removed_at_its_end(&id)?;
        if request.force {
            self.end(&id, 9, Duration::ZERO)?;
        }
        let locked = match Locked::take(self.engine, id) {
            Ok(locked) => locked,
            // Else somebody else removed it, and says so.
            Err(error) if goes_by_itself && error.kind() == ErrorKind::NotFound => return Ok(id),
            Err(error) => return Err(error),
        };
        if locked.observed.is_running() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} is running: stop it first, or force its removal"),
            ));
        }
        if locked.observed.is_suspended() && !request.force {
            return Err(suspended(
                container,
                "resume and stop it first, or force its removal",
            ));
        }
        self.engine.clear_run(&id, &locked.observed)?;
        let anonymous = if request.volumes {
            Anonymous::Remove
        } else {
            Anonymous::Keep
        };
        self.engine.begin_removal(&id, anonymous)?;
        self.engine.finish_removal(&id)?;
        Ok(id)
    }

    /// Whether it was made with `--rm`; false if it is gone.
    fn is_removed_at_its_end(&self, id: &ContainerId) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Part {
            auto_remove: bool,
        }
        let path = self.engine.layout().container_config(id);
        let part: Option<Part> = state::Record::read_if_exists(&path)?;
        Ok(part.is_some_and(|part| part.auto_remove))
    }
}
