//! `volume export`, `import` and `clone`.

use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{CWD, Mode, OFlags};
use sys::{Context as _, Error, ErrorKind, Result};

use super::record::{Backing, VolumeRecord};
use super::{VolumeRequest, Volumes, checked, data, store};
use crate::copy::{Copier, Mounts, Ownership, Side, pack, unpack};

impl Volumes<'_> {
    /// Writes all files of a volume to `sink` as a tar.
    pub fn export<W: Write>(&self, name: &str, sink: W) -> Result<W> {
        let (name, record) = self.find(name)?;
        let root = self.files(&name, &record)?;
        let source = Side::container(&root).source(Path::new("/"), false)?;
        pack(&source, Mounts::Included, sink)
    }

    /// Makes a volume of the files of a tar; gives its name. The tar is
    /// hostile: nothing in it leads out of the volume. `Conflict` if the
    /// volume is there.
    pub fn import(&self, request: &VolumeRequest, tar: impl Read) -> Result<String> {
        let tar = Mutex::new(Some(tar));
        self.make_filled(request, &|into| {
            let tar = tar.lock().ok().and_then(|mut tar| tar.take());
            let Some(tar) = tar else {
                return Err(Error::new(ErrorKind::Internal, "the tar was read before"));
            };
            unpack(tar, &open(into)?).map(drop)
        })
    }

    /// Makes a volume with the files of another one; gives its name. Blocks
    /// are shared where the file system can.
    pub fn clone_of(&self, source: &str, request: &VolumeRequest) -> Result<String> {
        let (source, record) = self.find(source)?;
        let from = self.files(&source, &record)?;
        let mut request = request.clone();
        if request.labels.is_empty() {
            request.labels.clone_from(&record.labels);
            request.labels.remove(super::ANONYMOUS_LABEL);
        }
        if request.options.is_empty() && record.backing()? == Backing::Own {
            request.options.clone_from(&record.options);
        }
        self.make_filled(&request, &|into| {
            let into = open(into)?;
            Copier::new(into.as_fd(), Ownership::Kept)
                .directory(&reopen(&from)?, &into)
                .context(|| format!("copy volume {source}"))
        })
    }

    fn make_filled(
        &self,
        request: &VolumeRequest,
        fill: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<String> {
        let name = match &request.name {
            Some(name) => checked(name)?,
            None => state::ContainerId::random()?.to_string(),
        };
        let wanted = VolumeRecord::new(request.labels.clone(), request.options.clone())?;
        if wanted.backing()? != Backing::Own {
            return Err(not_own("filled"));
        }
        store::make_filled(self.engine.layout(), &name, &wanted, fill)?;
        self.tell("create", &name);
        Ok(name)
    }

    /// The directory of a volume whose files this host sees.
    fn files(&self, name: &str, record: &VolumeRecord) -> Result<OwnedFd> {
        match record.backing()? {
            Backing::Own => open(&data(self.engine.layout(), name)),
            Backing::Bind(path) => open(&path),
            Backing::FileSystem { .. } => Err(not_own("read")),
        }
    }
}

fn not_own(act: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "a volume that containers mount for themselves cannot be {act} here: use a container that has it"
        ),
    )
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
        .context(|| format!("open {}", path.display()))
}

/// A place of its own in the directory's list.
fn reopen(directory: &OwnedFd) -> Result<OwnedFd> {
    Ok(rustix::fs::openat(
        directory,
        ".",
        DIRECTORY,
        Mode::empty(),
    )?)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
