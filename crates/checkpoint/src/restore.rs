//! An image becomes a container's processes again.

use std::os::fd::AsFd;

use runtime::{Bounds, CreateRequest, Created, InitProcess, ProcessStdio, Running};
use spec::runtime::Spec;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::copies::Copies;
use crate::image::schema::Checkpoint;
use crate::image::{self, Loaded, PageFiles, Parents};
use crate::paging::Pager;
use crate::rebuild::{Common, Material, Source, rebuild};
use crate::staging::Staging;
use crate::template::Template;

/// Makes the container that `request` describes and fills it with the
/// processes of the image in `directory`. What it may do is up to `request`
/// alone. Images that it stands on are where its link leads. The caller is the parent of its init: [`Created::adopt`] it, or
/// [`Created::leave`] it.
///
/// The calling process must have one thread only.
pub fn restore(request: CreateRequest<'_>, directory: impl AsFd) -> Result<Created> {
    let mut restoring = Restoring::begin(request, directory, &Parents::Linked)?;
    restoring.fill(false, &mut |_| Ok(()))?;
    Ok(restoring.created)
}

/// A container made for the processes of an image, which are not in it yet.
/// Dropping it takes the container away.
#[derive(Debug)]
pub struct Restoring {
    created: Created,
    checkpoint: Option<Checkpoint>,
    pages: PageFiles,
    bounds: Bounds,
    /// Where the memory is that it inherited, if it did.
    staging: Option<Staging>,
    /// Shared memory that it inherited.
    copies: Copies,
    common: Common,
    has_console: bool,
}

impl Restoring {
    /// Verifies the image and makes the container.
    ///
    /// The calling process must have one thread only.
    pub fn begin(
        request: CreateRequest<'_>,
        directory: impl AsFd,
        parents: &Parents,
    ) -> Result<Self> {
        let Loaded {
            checkpoint, pages, ..
        } = image::load(&directory, parents)?;
        let common = Common::find(&checkpoint, &pages);
        Self::make(
            request,
            (checkpoint, common),
            pages,
            (None, Copies::default()),
        )
    }

    /// As [`Restoring::begin`], with memory that this process inherited from
    /// the one that read it.
    ///
    /// The calling process must have one thread only.
    pub fn begin_from(request: CreateRequest<'_>, template: Template) -> Result<Self> {
        let Template {
            checkpoint,
            pages,
            staging,
            regions,
            common,
            bases,
            copies,
        } = template;
        // Files that are made outside belong to nobody in there.
        let copies = if has_id_maps(request.spec) {
            Copies::default()
        } else {
            let copies = copies.unwrap_or_default();
            match &bases {
                Some(bases) => copies.completed(bases)?,
                None => copies,
            }
        };
        let inherited = (Some(staging), copies);
        let restoring = Self::make(request, (checkpoint, common), pages, inherited)?;
        // The container has it; we need it no more.
        drop(regions);
        Ok(restoring)
    }

    fn make(
        request: CreateRequest<'_>,
        (checkpoint, common): (Checkpoint, Common),
        pages: PageFiles,
        (staging, copies): (Option<Staging>, Copies),
    ) -> Result<Self> {
        let bounds = Bounds::of(request.spec, request.seccomp)?;
        let has_console = matches!(request.stdio, ProcessStdio::Terminal { .. });
        let created = runtime::create(CreateRequest {
            init: InitProcess::Blank,
            ..request
        })?;
        Ok(Self {
            created,
            checkpoint: Some(checkpoint),
            pages,
            bounds,
            staging,
            copies,
            common,
            has_console,
        })
    }

    /// The container.
    pub fn created(&self) -> &Created {
        &self.created
    }

    /// Fills it and lets it go on. `ready` is called when all of it is there
    /// and nothing moves yet; if it fails, nothing ever does. Memory may come
    /// later, from a [`Pager`], whose end is to be waited for.
    pub fn finish(
        mut self,
        ready: &mut dyn FnMut(&Created) -> Result<()>,
    ) -> Result<(Running, Option<Pager>)> {
        let pager = self.fill(true, ready)?;
        Ok((self.created.adopt()?, pager))
    }

    fn fill(
        &mut self,
        is_lazy: bool,
        ready: &mut dyn FnMut(&Created) -> Result<()>,
    ) -> Result<Option<Pager>> {
        let checkpoint = self
            .checkpoint
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "filled twice"))?;
        self.created.wait_ready()?;
        let created = &self.created;
        let init = created.process().pid;
        let material = Material {
            checkpoint: &checkpoint,
            pages: &self.pages,
            source: self.staging.as_ref().map_or(Source::Image, Source::Staged),
            copies: &self.copies,
            common: &self.common,
            is_lazy,
        };
        let rights = (&self.bounds, self.has_console);
        let rebuilt = rebuild(init, created.pidfd(), material, rights, &mut || {
            ready(created)
        });
        if rebuilt.is_err() {
            // Init ends after all others, and those whom we trace after we
            // have heard of it. We have no other children.
            let _ = sys::process::signal_pidfd(created.pidfd(), 9);
            let _ = sys::ptrace::wait_for_all();
        }
        rebuilt.context(|| "restore")
    }
}

/// Whether its users are others than the host's.
fn has_id_maps(spec: &Spec) -> bool {
    spec.linux
        .as_ref()
        .is_some_and(|linux| !linux.uid_mappings.is_empty())
}
