//! Volumes: files that outlive containers.
//!
//! Start reading at [`Volumes`] (the verbs), then `store.rs` (how they lie on
//! the disk) and `sources.rs` (what a container mounts of them).
//! `docs/volumes.md` tells what differs from Docker.

mod populate;
mod quota;
mod record;
mod sources;
mod store;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;
use state::{ClonedVolume, ContainerConfig, ContainerId, EventKind, FileLock, Layout, MountKind};
use sys::{Error, ErrorKind, Result};

use crate::containers::{PruneFilter, creation_lock};
use crate::parse::Filter;
use crate::{Engine, parse};
pub(crate) use quota::{forget as forget_limit, limit as limit_directories};
pub(crate) use record::{ANONYMOUS_LABEL, Backing, VolumeRecord};
pub(crate) use sources::{MountSources, mount_sources};
pub(crate) use store::{
    Content, Ensured, data, directory, ensure, is_own, names, remove, remove_tree,
    remove_tree_or_file, repair,
};

/// The volumes of a store; one method is one verb.
#[derive(Clone, Debug)]
pub struct Volumes<'a> {
    engine: &'a Engine,
}

/// A volume to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Made up if absent.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// `type`, `o` and `device` as mount(8) has them, or `size`.
    pub options: BTreeMap<String, String>,
}

/// A volume in the shape of Docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeInspect {
    pub created_at: String,
    pub driver: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub mountpoint: String,
    pub name: String,
    pub options: Option<BTreeMap<String, String>>,
    pub scope: String,
}

/// A volume in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSummary {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub mountpoint: String,
}

/// One `--filter` of `volume ls`. Of one kind: either; of different kinds:
/// all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFilter {
    /// No container has it.
    Dangling(bool),
    Driver(String),
    Label(String, Option<String>),
    /// Part of the name.
    Name(String),
}

/// Which volumes a prune is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneVolumes {
    /// Those without a name of their own.
    Anonymous,
    All,
}

impl FromStr for VolumeFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let filter = Filter::split(text)?;
        Ok(match filter.key {
            "dangling" => Self::Dangling(match filter.value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(filter.wrong("dangling is true or false")),
            }),
            "driver" => Self::Driver(filter.owned()),
            "label" => {
                let (key, value) = filter.label();
                Self::Label(key, value)
            }
            "name" => Self::Name(filter.owned()),
            _ => return Err(filter.wrong("use dangling, driver, label or name")),
        })
    }
}

impl<'a> Volumes<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// Makes a volume; gives its name. Fine if it is there, unless with other
    /// options.
    pub fn create(&self, request: &VolumeRequest) -> Result<String> {
        let layout = self.engine.layout();
        let mut labels = request.labels.clone();
        let name = if let Some(name) = &request.name {
            checked(name)?
        } else {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
            ContainerId::random()?.to_string()
        };
        let wanted = VolumeRecord::new(labels, request.options.clone())?;
        wanted.backing()?;
        match ensure(layout, &name, &wanted, None)? {
            Ensured::Made => self.tell("create", &name),
            Ensured::WasThere => {
                let found = store::read(layout, &name)?;
                let differs = found.is_some_and(|found| found.options != wanted.options);
                if differs && !wanted.options.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("volume {name} is there already, with other options"),
                    ));
                }
            }
        }
        Ok(name)
    }

    /// All volumes that pass the filters, by name.
    pub fn list(&self, filters: &[VolumeFilter]) -> Result<Vec<VolumeSummary>> {
        let layout = self.engine.layout();
        let by_use = filters
            .iter()
            .any(|filter| matches!(filter, VolumeFilter::Dangling(_)));
        let users = if by_use {
            self.users()?
        } else {
            BTreeMap::new()
        };
        let mut volumes = Vec::new();
        for name in names(layout)? {
            let Some(record) = store::read(layout, &name)? else {
                continue;
            };
            if passes(filters, &name, &record, users.contains_key(&name)) {
                volumes.push(VolumeSummary {
                    mountpoint: data(layout, &name).display().to_string(),
                    labels: record.labels,
                    name,
                });
            }
        }
        Ok(volumes)
    }

    /// Everything about a volume.
    pub fn inspect(&self, name: &str) -> Result<VolumeInspect> {
        let (name, record) = self.find(name)?;
        let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
        Ok(VolumeInspect {
            created_at: record.created.to_string(),
            driver: "local".to_owned(),
            labels: some(record.labels),
            mountpoint: data(self.engine.layout(), &name).display().to_string(),
            name,
            options: some(record.options),
            scope: "local".to_owned(),
        })
    }

    /// Removes a volume that no container has (`Conflict` otherwise). With
    /// `force`, one that is not there is fine.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        // No container is made meanwhile that could want it.
        let _creation = FileLock::exclusive(&creation_lock(self.engine.layout()))?;
        let name = match self.find(name) {
            Ok((name, _)) => name,
            Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(users) = self.users()?.get(&name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("volume {name} is in use by {}", users.join(", ")),
            ));
        }
        remove(self.engine.layout(), &name)?;
        self.tell("destroy", &name);
        Ok(())
    }

    /// Removes volumes that no container has. Gives their names and bytes.
    pub fn prune(
        &self,
        which: PruneVolumes,
        filters: &[PruneFilter],
    ) -> Result<(Vec<String>, u64)> {
        let layout = self.engine.layout();
        let (mut pruned, mut freed) = (Vec::new(), 0);
        let _creation = FileLock::exclusive(&creation_lock(layout))?;
        let users = self.users()?;
        for name in names(layout)? {
            let Some(record) = store::read(layout, &name)? else {
                continue;
            };
            let is_meant = which == PruneVolumes::All || record.is_anonymous();
            let passes = filters
                .iter()
                .all(|filter| filter.lets_go(Some(record.created), &record.labels));
            if is_meant && passes && !users.contains_key(&name) {
                freed += image::disk_usage(&data(layout, &name)).unwrap_or(0);
                remove(layout, &name)?;
                self.tell("destroy", &name);
                pruned.push(name);
            }
        }
        Ok((pruned, freed))
    }

    /// A volume by its name.
    fn find(&self, name: &str) -> Result<(String, VolumeRecord)> {
        let missing = || {
            let shown: String = name.chars().take(80).collect();
            Error::new(ErrorKind::NotFound, format!("no such volume: {shown}"))
        };
        let name = checked(name).map_err(|_| missing())?;
        let record = store::read(self.engine.layout(), &name)?.ok_or_else(missing)?;
        Ok((name, record))
    }

    /// Which containers have a volume, by the volume's name.
    fn users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for config in self.engine.configs()? {
            for volume in volumes_of(&config) {
                let names = users.entry(volume.to_owned()).or_default();
                names.push(config.name.to_string());
            }
        }
        Ok(users)
    }

    fn tell(&self, action: &str, name: &str) {
        self.engine.tell_of(EventKind::Volume, action, name, None);
    }
}

/// The volumes that a container has.
pub(crate) fn volumes_of(config: &ContainerConfig) -> impl Iterator<Item = &str> {
    config.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume(volume) => Some(volume.name.as_str()),
        _ => None,
    })
}

/// What lies below what a clone writes to its view of a volume, lowest first.
pub(crate) fn below_clone(layout: &Layout, volume: &ClonedVolume) -> Vec<PathBuf> {
    let volumes = layout.template(&volume.template).join("volumes");
    image::template_layers(&volumes.join(volume.number.to_string()))
}

/// All that a clone's view of a volume is made of, lowest first.
pub(crate) fn layers_of_clone(
    layout: &Layout,
    id: &ContainerId,
    volume: &ClonedVolume,
) -> Vec<PathBuf> {
    let mut layers = below_clone(layout, volume);
    layers.push(layout.cloned_volume(id, volume.number).join("upper"));
    layers
}

/// A name that is safe to make a path of.
fn checked(name: &str) -> Result<String> {
    if parse::is_volume_name(name) {
        return Ok(name.to_owned());
    }
    let shown: String = name.chars().take(80).collect();
    Err(record::invalid(format!(
        "invalid volume name {shown:?}: it has letters, digits, _ . - and begins with a letter or digit, two at least"
    )))
}

fn passes(filters: &[VolumeFilter], name: &str, record: &VolumeRecord, is_used: bool) -> bool {
    let of_kind = |is_kind: fn(&VolumeFilter) -> bool, holds: &dyn Fn(&VolumeFilter) -> bool| {
        let mut of_kind = filters.iter().filter(|filter| is_kind(filter)).peekable();
        of_kind.peek().is_none() || of_kind.any(holds)
    };
    let labels = filters.iter().all(|filter| match filter {
        VolumeFilter::Label(key, value) => record
            .labels
            .get(key)
            .is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found)),
        _ => true,
    });
    labels
        && of_kind(
            |filter| matches!(filter, VolumeFilter::Dangling(_)),
            &|filter| *filter == VolumeFilter::Dangling(!is_used),
        )
        && of_kind(
            |filter| matches!(filter, VolumeFilter::Driver(_)),
            &|filter| matches!(filter, VolumeFilter::Driver(driver) if driver == "local"),
        )
        && of_kind(
            |filter| matches!(filter, VolumeFilter::Name(_)),
            &|filter| matches!(filter, VolumeFilter::Name(part) if name.contains(part.as_str())),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_kind_are_alternatives() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let record = VolumeRecord::new(labels, BTreeMap::new()).unwrap();
        let pass = |texts: &[&str]| {
            let filters: Vec<VolumeFilter> =
                texts.iter().map(|text| text.parse().unwrap()).collect();
            passes(&filters, "data", &record, true)
        };
        assert!(pass(&[]) && pass(&["name=at", "name=x"]) && pass(&["label=a", "label=a=b"]));
        assert!(pass(&["dangling=false", "driver=local"]));
        assert!(!pass(&["dangling=true"]) && !pass(&["driver=x"]) && !pass(&["name=x"]));
        assert!(!pass(&["label=a", "label=c"]));
        assert!("what=x".parse::<VolumeFilter>().is_err());
        assert!("dangling".parse::<VolumeFilter>().is_err());
    }
}
