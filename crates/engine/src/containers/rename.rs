//! `rename`.

use state::{ContainerName, Durability, Names, Record};
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::start::Locked;

impl Containers<'_> {
    /// Gives it another name. A crash in between leaves both names or one;
    /// the configuration says which is right, and repair frees the other.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        let id = self.resolve(container)?;
        let name: ContainerName = name.parse()?;
        let mut locked = Locked::take(self.engine, id)?;
        let config = &mut locked.observed.config;
        if config.name == name {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("container {container} has the name {name} already"),
            ));
        }
        let names = Names::new(self.engine.layout());
        names.claim(&name, &id)?;
        let old = std::mem::replace(&mut config.name, name.clone());
        let path = self.engine.layout().container_config(&id);
        if let Err(error) = Record::write(&path, config, Durability::Fast) {
            names.release(&name, &id)?;
            return Err(error);
        }
        names.release(&old, &id)?;
        if locked.observed.is_running() {
            super::networking::rename(self.engine, &locked.observed.config)?;
        }
        let config = &locked.observed.config;
        self.engine
            .tell(config, "rename", &[("oldName", old.to_string())]);
        Ok(())
    }
}
