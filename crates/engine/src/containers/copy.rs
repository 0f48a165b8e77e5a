//! `cp` and `export`.

use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use sys::{Context as _, Error, ErrorKind, Result};

use super::Containers;
use super::start::Locked;
use crate::copy::{Access, Copier, Mounts, Ownership, Side, host_root, pack, unpack, with_root};

/// How `cp` copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyRequest {
    /// Owners and attributes come along; else the copies are the caller's, in
    /// a container root's.
    pub archive: bool,
    /// A link that is named is followed.
    pub follow: bool,
}

impl Containers<'_> {
    /// Copies `path` of a container to `host` (absolute). Gives the bytes of
    /// files.
    pub fn copy_to_host(
        &self,
        container: &str,
        path: &Path,
        host: &Path,
        request: CopyRequest,
    ) -> Result<u64> {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let bytes = self.in_container(container, "archive-path", Access::Read, |root| {
            let here = host_root()?;
            let sides = (Side::container(root), Side::host(&here));
            copy(sides, (path, host), request, own)
        })?;
        Ok(bytes)
    }

    /// Copies `host` (absolute) to `path` of a container. Gives the bytes of
    /// files.
    pub fn copy_from_host(
        &self,
        host: &Path,
        container: &str,
        path: &Path,
        request: CopyRequest,
    ) -> Result<u64> {
        self.in_container(container, "extract-to-dir", Access::Write, |root| {
            let here = host_root()?;
            let sides = (Side::host(&here), Side::container(root));
            copy(sides, (host, path), request, (0, 0))
        })
    }

    /// Writes `path` of a container to `sink` as a tar.
    pub fn copy_to_tar<W: Write + Send>(
        &self,
        container: &str,
        path: &Path,
        request: CopyRequest,
        sink: W,
    ) -> Result<W> {
        self.in_container(container, "archive-path", Access::Read, |root| {
            let source = Side::container(root).source(path, request.follow)?;
            pack(&source, Mounts::Included, sink)
        })
    }

    /// Places the files of a tar in the directory `path` of a container.
    /// Gives the bytes of files.
    pub fn copy_from_tar(
        &self,
        tar: impl Read + Send,
        container: &str,
        path: &Path,
    ) -> Result<u64> {
        self.in_container(container, "extract-to-dir", Access::Write, |root| {
            let into = Side::container(root).directory(path)?;
            unpack(tar, &into)
        })
    }

    /// Writes all files of a container to `sink` as a tar; of what is mounted
    /// in it there is only the place.
    pub fn export<W: Write + Send>(&self, container: &str, sink: W) -> Result<W> {
        self.in_container(container, "export", Access::Read, |root| {
            let source = Side::container(root).source(Path::new("/"), false)?;
            pack(&source, Mounts::LeftOut, sink)
        })
    }

    fn in_container<R: Send>(
        &self,
        container: &str,
        event: &str,
        access: Access,
        act: impl FnOnce(&OwnedFd) -> Result<R> + Send,
    ) -> Result<R> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        let config = locked.observed.config.clone();
        let init = locked.observed.init();
        if access == Access::Write && config.confinement.read_only_root {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("the files of container {container} are read-only"),
            ));
        }
        // Who runs may be changed meanwhile: its files are not ours alone.
        let lock = init.is_none().then_some(locked);
        let done = with_root(self.engine, &config, init, access, act);
        drop(lock);
        if done.is_ok() {
            self.engine.tell(&config, event, &[]);
        }
        done
    }
}

fn copy(
    (from, to): (Side<'_>, Side<'_>),
    (source, target): (&Path, &Path),
    request: CopyRequest,
    (uid, gid): (u32, u32),
) -> Result<u64> {
    let found = from.source(source, request.follow)?;
    let place = to.target(target, &found)?;
    let ownership = if request.archive {
        Ownership::Kept
    } else {
        Ownership::Of(uid, gid)
    };
    let directory = &place.directory;
    let mut copier = Copier::new(directory.as_fd(), ownership);
    match &place.name {
        None => copier.content(&found.open_directory()?, directory),
        Some(name) => copier.entry(&found.held, directory, name),
    }
    .context(|| format!("copy {} to {}", source.display(), target.display()))?;
    Ok(copier.bytes())
}
