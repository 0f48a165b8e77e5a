//! `restore`: a container whose processes go on where a checkpoint left them.

use runtime::{Created, Gate, ProcessStdio};
use sys::{Context as _, Error, ErrorKind, Result};

use super::args::{Global, Restore};
use super::checkpoint::open_directory;
use super::console::Foreground;
use super::container::Container;
use super::create::Making;
use super::delete;

/// Leaves it running.
pub(super) fn detached(global: &Global, restore: &Restore) -> Result<()> {
    let making = Making::begin(global, &restore.bring)?;
    let bring_back = || -> Result<()> {
        let (created, container) = bring_back(&making, restore)?;
        created.leave()?;
        container.poststart(making.spec())
    };
    bring_back().map_err(|error| making.failed(error))
}

/// Stays until it ends; its exit code.
pub(super) fn attached(global: &Global, restore: &Restore) -> Result<u8> {
    let making = Making::begin(global, &restore.bring)?;
    let stay = || -> Result<u8> {
        let foreground = Foreground::new()?;
        let (created, container) = bring_back(&making, restore)?;
        let mut running = created.adopt()?;
        container.poststart(making.spec())?;
        Ok(foreground.wait(&mut running, None)?.code())
    };
    let code = stay().map_err(|error| making.failed(error))?;
    delete::delete(global, &restore.bring.id, true)?;
    Ok(code)
}

fn bring_back(making: &Making<'_>, restore: &Restore) -> Result<(Created, Container)> {
    if making.terminal().is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "process.terminal: terminals are not carried by checkpoints yet",
        ));
    }
    let directory = open_directory(&restore.image)?;
    let rootfs = making.rootfs();
    let request = making.request(&rootfs, ProcessStdio::Inherit, Gate::Parent);
    let mut created = checkpoint::restore(request, &directory)
        .context(|| format!("restore container {}", restore.bring.id))?;
    let announced = making.announce(&mut created)?;
    Ok((created, announced.container))
}
