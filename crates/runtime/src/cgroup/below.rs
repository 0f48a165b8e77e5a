//! Groups that a container made below its own, as the place of one more
//! process.

use std::path::Path;

use sys::{Error, ErrorKind, Result};

use super::apply::read_file;
use super::hierarchy::{Hierarchies, Hierarchy};
use super::{CgroupPath, Entry};

/// One of them, in the hierarchies of some controllers or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCgroup {
    controllers: Vec<String>,
    path: String,
}

impl SubCgroup {
    /// From `[CONTROLLER,…:]PATH`; the path is relative to the container's.
    pub fn parse(text: &str) -> Result<Self> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => {
                (controllers.split(',').map(str::to_owned).collect(), path)
            }
            None => (Vec::new(), text),
        };
        let path = path.trim_matches('/').to_owned();
        // What is wrong with the path is told when it is joined.
        if path.is_empty() || controllers.iter().any(String::is_empty) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not [CONTROLLER,...:]PATH of a cgroup"),
            ));
        }
        Ok(Self { controllers, path })
    }

    fn is_for(&self, hierarchy: &Hierarchy) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|name| hierarchy.has(name))
    }

    fn below(&self, parent: &CgroupPath) -> Result<CgroupPath> {
        CgroupPath::parse(&format!("{parent}/{}", self.path))
    }
}

/// Where one more process goes: version 2 takes none into a group that hands
/// controllers down, as that of a container does in which an init system
/// divides its own. There it goes to the container's first process.
pub(crate) fn place_beside(pid: i32, path: &CgroupPath, hierarchies: &Hierarchies) -> CgroupPath {
    let hands_down = hierarchies.unified().is_some_and(|root| {
        let file = root.join(path.relative()).join("cgroup.subtree_control");
        read_file(&file).is_ok_and(|controllers| !controllers.trim().is_empty())
    });
    if !hands_down {
        return path.clone();
    }
    let own = read_file(Path::new(&format!("/proc/{pid}/cgroup"))).unwrap_or_default();
    own.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|own| Path::new(own).starts_with(path.as_str()))
        .and_then(|own| CgroupPath::parse(own).ok())
        .unwrap_or_else(|| path.clone())
}

impl Entry {
    /// The way into groups below `path`. Where none is asked for, or the one
    /// for all hierarchies is not in this one, it leads into `path` itself:
    /// never out of the container's limits.
    pub(crate) fn open_below(
        path: &CgroupPath,
        below: &[SubCgroup],
        hierarchies: &Hierarchies,
    ) -> Result<Self> {
        if below.is_empty() {
            return Self::open(path, hierarchies);
        }
        let mut entry = Self {
            tasks: Vec::new(),
            unified: None,
        };
        let mut found = vec![false; below.len()];
        for hierarchy in &hierarchies.all {
            let this = Hierarchies {
                all: vec![hierarchy.clone()],
            };
            let asked = below.iter().position(|sub| sub.is_for(hierarchy));
            let mut place = match asked {
                Some(index) => Self::open(&below[index].below(path)?, &this)?,
                None => Self::open(path, &this)?,
            };
            match asked {
                Some(_) if place.is_empty() => place = Self::open(path, &this)?,
                Some(index) => found[index] = true,
                None => {}
            }
            entry.tasks.append(&mut place.tasks);
            entry.unified = entry.unified.take().or(place.unified.take());
        }
        match below.iter().zip(found).find(|(_, found)| !found) {
            None => Ok(entry),
            Some((sub, _)) => Err(Error::new(
                // Not to be taken for a container that is not there.
                ErrorKind::InvalidInput,
                format!("the container has no cgroup {} below {path}", sub.path),
            )),
        }
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.unified.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_container() {
        let sub = SubCgroup::parse("cpu,memory:a/b").unwrap();
        assert_eq!(sub.controllers, ["cpu", "memory"]);
        let parent = CgroupPath::parse("/wharf/x").unwrap();
        assert_eq!(sub.below(&parent).unwrap().as_str(), "/wharf/x/a/b");
        for bad in ["", "/", "cpu:", ":a", "cpu,:a"] {
            assert!(SubCgroup::parse(bad).is_err(), "{bad:?}");
        }
        let out = SubCgroup::parse("../y").unwrap();
        assert!(out.below(&parent).is_err());
    }
}
