//! Names of containers. Claiming one is one atomic create, so uniqueness
//! needs no lock and no index.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use sys::{Context as _, Error, ErrorKind, Result};

use crate::{ContainerId, ContainerName, Layout};

/// The names in a store.
pub struct Names<'a> {
    layout: &'a Layout,
}

impl<'a> Names<'a> {
    pub fn new(layout: &'a Layout) -> Self {
        Self { layout }
    }

    /// Takes `name` for `id`; `Conflict` if it is in use.
    pub fn claim(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        let path = self.layout.name(name);
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => {
                let holder = match self.find(name)? {
                    Some(holder) => format!(" by container {}", holder.short()),
                    None => String::new(),
                };
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the name {name} is already in use{holder}"),
                ));
            }
            Err(error) => return Err(Error::from(error)).context(|| format!("claim name {name}")),
        };
        file.write_all(id.to_string().as_bytes())
            .context(|| format!("claim name {name}"))
    }

    /// Who holds `name`. A claim that was cut off holds nothing.
    pub fn find(&self, name: &ContainerName) -> Result<Option<ContainerId>> {
        match fs::read_to_string(self.layout.name(name)) {
            Ok(text) => Ok(text.parse().ok()),
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("look up name {name}")),
        }
    }

    /// Gives `name` back, if `id` holds it. Idempotent.
    pub fn release(&self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        if self.find(name)? != Some(*id) {
            return Ok(());
        }
        match fs::remove_file(self.layout.name(name)) {
            Err(error) if error.kind() != IoErrorKind::NotFound => {
                Err(error).context(|| format!("release name {name}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path(), directory.path());
        fs::create_dir(layout.names()).unwrap();
        let names = Names::new(&layout);
        let name: ContainerName = "db".parse().unwrap();
        let (one, two) = (
            ContainerId::random().unwrap(),
            ContainerId::random().unwrap(),
        );
        names.claim(&name, &one).unwrap();
        let error = names.claim(&name, &two).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        names.release(&name, &two).unwrap();
        assert_eq!(names.find(&name).unwrap(), Some(one));
        names.release(&name, &one).unwrap();
        names.claim(&name, &two).unwrap();
    }
}
