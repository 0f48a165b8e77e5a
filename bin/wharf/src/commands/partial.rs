//! Archives that are written to a file: whole, or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use sys::{Context as _, Error, ErrorKind, Result};

/// The file under another name until it is whole, so that a failure neither
/// leaves half an archive nor harms the one that is there.
pub(super) struct Partial {
    pub(super) file: File,
    path: PathBuf,
    /// Absent if the target is no regular file (`/dev/null`, a pipe).
    target: Option<PathBuf>,
}

impl Partial {
    pub(super) fn create(target: &str) -> Result<Self> {
        let target = Path::new(target);
        let named = || format!("write {}", target.display());
        let special = target
            .metadata()
            .is_ok_and(|about| !about.is_file() && !about.is_dir());
        if special {
            return Ok(Self {
                file: File::options().write(true).open(target).context(named)?,
                path: target.to_owned(),
                target: None,
            });
        }
        let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
            return Err(Error::new(ErrorKind::InvalidInput, "it is a directory")).context(named);
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let path = target.with_file_name(hidden);
        Ok(Self {
            file: File::create_new(&path).context(named)?,
            path,
            target: Some(target.to_owned()),
        })
    }

    pub(super) fn finish(self) -> Result<()> {
        match &self.target {
            Some(target) => std::fs::rename(&self.path, target)
                .context(|| format!("write {}", target.display())),
            None => Ok(()),
        }
    }

    pub(super) fn remove(&self) {
        if self.target.is_some() {
            // What failed before is what is told.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
