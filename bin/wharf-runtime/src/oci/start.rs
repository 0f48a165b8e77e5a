//! `start`: the program of a created container runs.

use std::fs;

use spec::runtime::StateStatus;
use sys::Result;

use super::args::Global;
use super::container::Container;
use super::log;

pub(super) fn start(global: &Global, id: &str) -> Result<()> {
    let container = Container::load(global, id)?;
    match container.status() {
        StateStatus::Created => {}
        StateStatus::Stopped => {
            return Err(container.conflict("has stopped; it cannot be started again"));
        }
        _ => return Err(container.conflict("is running already")),
    }
    let config = container.config()?;
    let gate = container.gate();
    runtime::open_gate(&gate)?;
    // Init is the program now, and nobody listens there any more.
    let _ = fs::remove_file(&gate);
    log::debug(global, || format!("{id} is started"));
    container.poststart(&config)
}
