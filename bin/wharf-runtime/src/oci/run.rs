//! `run`: create and start in one, and unless detached stay with it: pass
//! signals on, end with its exit code.

use runtime::{Cgroup, Gate};
use sys::Result;

use super::args::{Bring, Global};
use super::console::Foreground;
use super::container::Container;
use super::create::{Announced, Making};
use super::delete;

/// Leaves it running.
pub(super) fn detached(global: &Global, bring: &Bring) -> Result<()> {
    let making = Making::begin(global, bring)?;
    making.up_to_the_gate()?;
    let start = || super::start::start(global, &bring.id);
    start().inspect_err(|_| {
        // The error that brought us here is the one to tell.
        let _ = delete::delete(global, &bring.id, true);
    })
}

/// Stays until it ends; its exit code.
pub(super) fn attached(global: &Global, bring: &Bring, keep: bool) -> Result<u8> {
    let making = Making::begin(global, bring)?;
    let ended = stay_with(global, &making).map_err(|error| making.failed(error))?;
    if !keep {
        delete::ended(global, &ended.container, &ended.cgroup, making.spec())?;
        global.timings.done("delete");
    }
    Ok(ended.code)
}

/// A container that has run, with what is still in memory of it.
struct Ended {
    container: Container,
    cgroup: Cgroup,
    code: u8,
}

fn stay_with(global: &Global, making: &Making<'_>) -> Result<Ended> {
    let stdio = making.stdio_of_attached();
    // From here on no signal is lost, and none ends us before the container.
    let foreground = Foreground::new()?;
    let mut created = making.create(stdio, Gate::Parent)?;
    created.wait_ready()?;
    global.timings.done("set up");
    let Announced { container, console } = making.announce(&mut created)?;
    let mut running = created.start()?;
    global.timings.done("start");
    container.poststart(making.spec())?;
    let code = foreground.wait(&mut running, console.as_ref())?.code();
    global.timings.done("program");
    let cgroup = running.cgroup().clone();
    // Our own end closes them, with one call less for each.
    std::mem::forget((running, foreground));
    Ok(Ended {
        container,
        cgroup,
        code,
    })
}
