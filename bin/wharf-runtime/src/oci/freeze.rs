//! `pause` and `resume`.

use spec::runtime::StateStatus;
use sys::Result;

use super::args::Global;
use super::container::Container;

pub(super) fn pause(global: &Global, id: &str) -> Result<()> {
    let container = Container::load(global, id)?;
    match container.status() {
        StateStatus::Running | StateStatus::Created => container.cgroup()?.freeze(),
        StateStatus::Paused => Err(container.conflict("is paused already")),
        _ => Err(container.conflict("is not running")),
    }
}

pub(super) fn resume(global: &Global, id: &str) -> Result<()> {
    let container = Container::load(global, id)?;
    // A created container shows as such, paused or not.
    let frozen = container.cgroup()?.is_frozen().unwrap_or(false);
    if !frozen {
        return Err(container.conflict("is not paused"));
    }
    container.cgroup()?.thaw()
}
