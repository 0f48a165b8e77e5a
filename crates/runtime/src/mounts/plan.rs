//! The mounts of a specification, understood. Pure.

use std::path::{Component, Path, PathBuf};

use spec::runtime::Mount;
use sys::mount::{AttributeChange, Depth, Propagation};
use sys::{Error, ErrorKind, Result};

/// One mount to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMount {
    /// Absolute, without `.` and `..`.
    pub(crate) destination: PathBuf,
    pub(crate) what: What,
    /// Of this mount only.
    pub(crate) attributes: AttributeChange,
    /// Of everything mounted below as well (`rro` and its kin).
    pub(crate) recursive: AttributeChange,
    pub(crate) propagation: Option<(Propagation, Depth)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Bind {
        source: PathBuf,
        depth: Depth,
    },
    FileSystem {
        kind: String,
        source: Option<String>,
        /// Key, and value if it has one.
        options: Vec<(String, Option<String>)>,
    },
    /// The container's own control groups.
    Cgroups,
}

const ATIME_MASK: u64 = libc_attr::ATIME;

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub(crate) mod libc_attr {
    pub(crate) const RDONLY: u64 = 0x1;
    pub(crate) const NOSUID: u64 = 0x2;
    pub(crate) const NODEV: u64 = 0x4;
    pub(crate) const NOEXEC: u64 = 0x8;
    pub(crate) const ATIME: u64 = 0x70;
    pub(crate) const RELATIME: u64 = 0;
    pub(crate) const NOATIME: u64 = 0x10;
    pub(crate) const STRICTATIME: u64 = 0x20;
    pub(crate) const NODIRATIME: u64 = 0x80;
    pub(crate) const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Understands `mounts` in their order; relative sources start at `bundle`.
pub(crate) fn plan(mounts: &[Mount], bundle: &Path) -> Result<Vec<PlannedMount>> {
    mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| {
            plan_one(mount, bundle).map_err(|error| {
                error.wrap(format!("mounts[{index}] ({})", mount.destination.display()))
            })
        })
        .collect()
}

fn plan_one(mount: &Mount, bundle: &Path) -> Result<PlannedMount> {
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(unsupported("uidMappings and gidMappings"));
    }
    let mut planned = PlannedMount {
        destination: normalise(&mount.destination)?,
        what: What::Cgroups,
        attributes: AttributeChange::default(),
        recursive: AttributeChange::default(),
        propagation: None,
    };
    let mut bind = (mount.kind.as_deref() == Some("bind")).then_some(Depth::One);
    let mut data = Vec::new();
    for option in &mount.options {
        match option.as_str() {
            "bind" => bind = bind.or(Some(Depth::One)),
            "rbind" => bind = Some(Depth::Tree),
            "defaults" | "" => {}
            option => planned.apply(option, &mut data)?,
        }
    }
    let kind = mount.kind.as_deref().unwrap_or_default();
    planned.what = match (bind, kind) {
        (Some(depth), _) => {
            let source = mount
                .source
                .as_ref()
                .ok_or_else(|| invalid("a bind mount needs a source"))?;
            if let Some((key, _)) = data.first() {
                return Err(invalid(format!("unknown option {key:?} of a bind mount")));
            }
            What::Bind {
                source: bundle.join(source),
                depth,
            }
        }
        (None, "cgroup" | "cgroup2") => What::Cgroups,
        (None, "") => return Err(invalid("it has no type")),
        (None, kind) => What::FileSystem {
            kind: kind.to_owned(),
            source: mount
                .source
                .as_ref()
                .map(|source| source.to_string_lossy().into_owned()),
            options: data,
        },
    };
    Ok(planned)
}

impl PlannedMount {
    fn apply(&mut self, option: &str, data: &mut Vec<(String, Option<String>)>) -> Result<()> {
        if let Some((set, clear)) = attribute(option) {
            self.attributes.merge(set, clear);
            return Ok(());
        }
        let recursive = option.strip_prefix('r').filter(|rest| *rest != "elatime");
        if let Some((set, clear)) = recursive.and_then(attribute) {
            self.recursive.merge(set, clear);
            return Ok(());
        }
        if let Some(propagation) = propagation(option) {
            self.propagation = Some(propagation);
            return Ok(());
        }
        match option {
            "tmpcopyup" | "idmap" | "ridmap" | "copy-symlink" | "src-nofollow" | "remount" => {
                Err(unsupported(&format!("option {option}")))
            }
            _ if option.starts_with("idmap=") || option.starts_with("ridmap=") => {
                Err(unsupported("option idmap"))
            }
            option => {
                // No separator is hidden in a value: each goes to the kernel
                // on its own.
                data.push(match option.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (option.to_owned(), None),
                });
                Ok(())
            }
        }
    }
}

trait Merge {
    fn merge(&mut self, set: u64, clear: u64);
}

impl Merge for AttributeChange {
    /// The later option wins.
    fn merge(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }
}

/// Bits to set and bits to clear.
fn attribute(option: &str) -> Option<(u64, u64)> {
    use libc_attr::{
        NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME, STRICTATIME,
    };
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "relatime" | "atime" | "nostrictatime" => (RELATIME, ATIME_MASK),
        "noatime" => (NOATIME, ATIME_MASK),
        "strictatime" | "norelatime" => (STRICTATIME, ATIME_MASK),
        _ => return None,
    })
}

/// From `rprivate` and its kin.
pub(crate) fn propagation(option: &str) -> Option<(Propagation, Depth)> {
    let (name, depth) = match option {
        "rprivate" | "rshared" | "rslave" | "runbindable" => (&option[1..], Depth::Tree),
        name => (name, Depth::One),
    };
    let propagation = match name {
        "private" => Propagation::Private,
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    };
    Some((propagation, depth))
}

/// Absolute and without `.` and `..`; a relative path is taken from the root,
/// as the other runtimes do.
pub(crate) fn normalise(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(format!("path {} contains ..", path.display())));
            }
        }
    }
    Ok(clean)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} not supported yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            destination: "/x/./y".into(),
            kind: (!kind.is_empty()).then(|| kind.to_owned()),
            source: Some("src".into()),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        }
    }

    fn one(kind: &str, options: &[&str]) -> PlannedMount {
        plan_one(&mount(kind, options), Path::new("/b")).unwrap()
    }

    #[test]
    fn understands_binds() {
        let planned = one("", &["rbind", "ro", "nosuid", "rprivate", "rnoexec"]);
        assert_eq!(planned.destination, Path::new("/x/y"));
        assert_eq!(
            planned.what,
            What::Bind {
                source: "/b/src".into(),
                depth: Depth::Tree
            }
        );
        assert_eq!(
            planned.attributes.set,
            libc_attr::RDONLY | libc_attr::NOSUID
        );
        assert_eq!(planned.recursive.set, libc_attr::NOEXEC);
        assert_eq!(
            planned.propagation,
            Some((Propagation::Private, Depth::Tree))
        );
    }

    #[test]
    fn the_later_option_wins() {
        let planned = one("tmpfs", &["ro", "rw", "relatime", "noatime", "size=64k"]);
        assert_eq!(planned.attributes.set, libc_attr::NOATIME);
        assert_eq!(
            planned.attributes.clear,
            libc_attr::RDONLY | libc_attr::ATIME
        );
        let What::FileSystem { options, .. } = planned.what else {
            panic!("not a file system");
        };
        assert_eq!(options, [("size".to_owned(), Some("64k".to_owned()))]);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (kind, options) in [
            ("bind", vec!["size=1"]),
            ("", vec![]),
            ("tmpfs", vec!["tmpcopyup"]),
        ] {
            assert!(plan_one(&mount(kind, &options), Path::new("/b")).is_err());
        }
        assert!(normalise(Path::new("/a/../b")).is_err());
    }
}
