//! `kill`: a signal for init, or for every process of the container.

use spec::runtime::{NamespaceKind, Spec};
use sys::Result;

use super::args::Global;
use super::container::Container;
use super::log;

const KILL: i32 = 9;

pub(super) fn kill(global: &Global, id: &str, signal: i32, all: bool) -> Result<()> {
    let container = Container::load(global, id)?;
    log::debug(global, || format!("send signal {signal} to {id}"));
    if all && signal == KILL {
        return container.kill_all();
    }
    if all {
        for pid in container.pids()? {
            // It may have ended since.
            let _ = sys::process::signal_pid(pid, signal);
        }
        return Ok(());
    }
    container.signal(signal)?;
    if signal != KILL {
        return Ok(());
    }
    // With init dies its pid namespace. Without one the others would stay.
    if !has_pid_namespace(&container.config()?) {
        return container.kill_all();
    }
    let cgroup = container.cgroup()?;
    if cgroup.is_frozen().unwrap_or(false) {
        // The frozen of version 1 do not die.
        cgroup.thaw()?;
    }
    Ok(())
}

fn has_pid_namespace(config: &Spec) -> bool {
    let mut namespaces = config.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.any(|namespace| namespace.kind == NamespaceKind::Pid && namespace.path.is_none())
}
