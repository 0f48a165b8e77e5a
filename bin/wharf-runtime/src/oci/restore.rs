//! `restore`: a container whose processes go on where a checkpoint left them.

use runtime::{Created, Gate, ProcessStdio};
use sys::{Context as _, Result};

use super::args::{Global, Restore};
use super::checkpoint::open_directory;
use super::console::{self, Foreground};
use super::create::{Announced, Making};
use super::delete;

/// Leaves it running.
pub(super) fn detached(global: &Global, restore: &Restore) -> Result<()> {
    let making = Making::begin(global, &restore.bring)?;
    let bring_back = || -> Result<()> {
        let stdio = making.stdio_of_detached()?;
        let (created, announced) = bring_back(&making, restore, stdio)?;
        created.leave()?;
        announced.container.poststart(making.spec())
    };
    bring_back().map_err(|error| making.failed(error))
}

/// Stays until it ends; its exit code.
pub(super) fn attached(global: &Global, restore: &Restore) -> Result<u8> {
    let making = Making::begin(global, &restore.bring)?;
    let stay = || -> Result<u8> {
        let stdio = making.stdio_of_attached();
        let foreground = Foreground::new()?;
        let (created, Announced { container, console }) = bring_back(&making, restore, stdio)?;
        let mut running = created.adopt()?;
        container.poststart(making.spec())?;
        if let Some(console) = &console {
            // It has the size that it had in the checkpoint.
            console::resize(console);
        }
        Ok(foreground.wait(&mut running, console.as_ref())?.code())
    };
    let code = stay().map_err(|error| making.failed(error))?;
    delete::delete(global, &restore.bring.id, true)?;
    Ok(code)
}

fn bring_back(
    making: &Making<'_>,
    restore: &Restore,
    stdio: ProcessStdio,
) -> Result<(Created, Announced)> {
    let directory = open_directory(&restore.image)?;
    let rootfs = making.rootfs();
    let request = making.request(&rootfs, stdio, Gate::Parent);
    let mut created = checkpoint::restore(request, &directory)
        .context(|| format!("restore container {}", restore.bring.id))?;
    let announced = making.announce(&mut created)?;
    Ok((created, announced))
}
