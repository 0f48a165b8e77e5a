//! An image becomes a container's processes again.

use std::os::fd::AsFd;

use runtime::{Bounds, CreateRequest, Created, InitProcess};
use sys::{Context as _, Result};

use crate::image;
use crate::rebuild::rebuild;

/// Makes the container that `request` describes and fills it with the
/// processes of the image in `directory`. What it may do is up to `request`
/// alone. The caller is the parent of its init: [`Created::adopt`] it, or
/// [`Created::leave`] it.
///
/// The calling process must have one thread only.
pub fn restore(request: CreateRequest<'_>, directory: impl AsFd) -> Result<Created> {
    let checkpoint = image::read(&directory)?;
    let (pages, count) = image::open_pages(&directory)?;
    image::verify(&checkpoint, count)?;
    let bounds = Bounds::of(request.spec, request.seccomp)?;
    let mut created = runtime::create(CreateRequest {
        init: InitProcess::Blank,
        ..request
    })?;
    created.wait_ready()?;
    let init = created.process().pid;
    rebuild(init, created.pidfd(), &checkpoint, &pages, &bounds).context(|| "restore")?;
    Ok(created)
}
