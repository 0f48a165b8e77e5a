//! `delete`: nothing is left of a container that has ended.

use std::time::Duration;

use runtime::Cgroup;
use spec::runtime::{Spec, StateStatus};
use sys::{Error, ErrorKind, Result};

use super::args::Global;
use super::container::Container;
use super::log;

pub(super) fn delete(global: &Global, id: &str, force: bool) -> Result<()> {
    let container = match Container::load(global, id) {
        // Half made by a process that died, perhaps; or not there at all.
        Err(error) if force && error.kind() == ErrorKind::NotFound => {
            let _ = std::fs::remove_dir_all(global.root.join(id));
            return Ok(());
        }
        container => container?,
    };
    match container.status() {
        // Never started: nothing of it is lost.
        StateStatus::Stopped | StateStatus::Created => {}
        _ if force => {}
        status => {
            let status = format!("{status:?}").to_lowercase();
            return Err(
                container.conflict(&format!("is {status}, not stopped; --force kills it first"))
            );
        }
    }
    end(&container)?;
    container.cgroup()?.remove()?;
    // The container is gone whatever they say.
    match container.config() {
        Ok(config) => log::warn(global, &container.poststop(&config)),
        Err(error) => log::warn(global, &[error.to_string()]),
    }
    container.forget();
    log::debug(global, || format!("{id} is deleted"));
    Ok(())
}

/// The same by the process that waited for its end, which need not read again
/// what it knows.
pub(super) fn ended(
    global: &Global,
    container: &Container,
    cgroup: &Cgroup,
    config: &Spec,
) -> Result<()> {
    cgroup.remove()?;
    log::warn(global, &container.poststop(config));
    container.forget();
    Ok(())
}

/// Kills what still runs, and waits for init's end.
fn end(container: &Container) -> Result<()> {
    let init = container.facts.sandbox.init;
    if !init.is_alive() {
        return Ok(());
    }
    container.kill_all()?;
    for _ in 0..5000 {
        if !init.is_alive() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("container {} does not die", container.id),
    ))
}
