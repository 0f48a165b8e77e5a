//! The mounts of a specification, understood. Pure.

use std::path::{Component, Path, PathBuf};

use spec::runtime::{IdMapping, Mount};
use sys::mount::{AttributeChange, Depth, Propagation};
use sys::{Error, ErrorKind, Result};

use crate::sandbox::check_ranges;

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
    /// Whose ids the files show.
    pub(crate) id_map: Option<IdMap>,
    /// The mount namespace that the source of a bind is in, if not the host's.
    pub(crate) namespace: Option<PathBuf>,
    /// A tmpfs begins with what the image has at its place.
    pub(crate) copy_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Bind {
        source: PathBuf,
        /// Below the source, where no link leads out; empty for all of it.
        subpath: PathBuf,
        depth: Depth,
    },
    /// Directories as one tree, the topmost first, or what `subpath` names in
    /// it. Read-only unless there is a place to write to.
    Layers {
        lower: Vec<PathBuf>,
        /// The upper directory and overlayfs' own.
        writable: Option<(PathBuf, PathBuf)>,
        subpath: PathBuf,
    },
    FileSystem {
        kind: String,
        source: Option<String>,
        /// Key, and value if it has one.
        options: Vec<(String, Option<String>)>,
    },
    /// The container's own control groups.
    Cgroups(CgroupVersion),
    /// What is mounted there already gets other attributes.
    Remount,
}

/// Maps of an idmapped mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// Those of the mount; empty for those of the container's user namespace.
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
    pub(crate) depth: Depth,
}

/// Which control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupVersion {
    /// What the host has.
    Any,
    /// Version 2, wherever the host has it.
    Two,
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
    let mut planned = PlannedMount {
        destination: normalise(&mount.destination)?,
        what: What::Remount,
        attributes: AttributeChange::default(),
        recursive: AttributeChange::default(),
        propagation: None,
        id_map: None,
        namespace: None,
        copy_up: false,
    };
    let mut remount = false;
    let mut id_map = None;
    let mut bind = (mount.kind.as_deref() == Some("bind")).then_some(Depth::One);
    let mut data = Vec::new();
    for option in &mount.options {
        match option.as_str() {
            "bind" => bind = bind.or(Some(Depth::One)),
            "rbind" => bind = Some(Depth::Tree),
            "remount" => remount = true,
            "tmpcopyup" => planned.copy_up = true,
            "idmap" => id_map = Some(Depth::One),
            "ridmap" => id_map = Some(Depth::Tree),
            "" => {}
            option if NO_CHANGE.contains(&option) => {}
            option => planned.apply(option, &mut data)?,
        }
    }
    let kind = mount.kind.as_deref().unwrap_or_default();
    let no_data = |what: &str| match data.first() {
        Some((key, _)) => Err(invalid(format!("option {key:?} means nothing to {what}"))),
        None => Ok(()),
    };
    planned.what = match (bind, kind) {
        _ if remount => {
            no_data("a remount, which changes attributes only")?;
            What::Remount
        }
        (Some(depth), _) => {
            let source = mount
                .source
                .as_ref()
                .ok_or_else(|| invalid("a bind mount needs a source"))?;
            let source = bundle.join(source);
            let subpath = take_subpath(&mut data)?;
            planned.namespace = take_path(&mut data, NAMESPACE, bundle)?;
            if planned.namespace.is_some() && (!subpath.as_os_str().is_empty() || id_map.is_some())
            {
                return Err(invalid(
                    "options namespace, subpath and idmap do not go together",
                ));
            }
            if let Some((key, _)) = data.first() {
                return Err(invalid(format!(
                    "option {key:?} means nothing to a bind mount"
                )));
            }
            What::Bind {
                source,
                subpath,
                depth,
            }
        }
        (None, "overlay") if data.iter().any(|(key, _)| key == LAYER) => {
            let subpath = take_subpath(&mut data)?;
            let mut path = |key| take_path(&mut data, key, bundle);
            let writable = match (path(UPPER)?, path(WORK)?) {
                (None, None) => None,
                (Some(upper), Some(work)) => Some((upper, work)),
                _ => return Err(invalid(format!("{UPPER} and {WORK} go together"))),
            };
            let lower = data
                .into_iter()
                .map(|option| match option {
                    (key, Some(path)) if key == LAYER => Ok(bundle.join(path)),
                    (key, _) => Err(invalid(format!("option {key:?} does not go with {LAYER}"))),
                })
                .collect::<Result<_>>()?;
            What::Layers {
                lower,
                writable,
                subpath,
            }
        }
        (None, "cgroup") => {
            no_data("control groups")?;
            What::Cgroups(CgroupVersion::Any)
        }
        (None, "cgroup2") => {
            no_data("control groups")?;
            What::Cgroups(CgroupVersion::Two)
        }
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
    planned.id_map = plan_id_map(mount, id_map, &planned.what)?;
    if planned.copy_up && (bind.is_some() || kind != "tmpfs") {
        return Err(invalid("option tmpcopyup is for a tmpfs"));
    }
    Ok(planned)
}

/// Overlay's own option for one more directory; with it come no others but
/// those about attributes, the places to write to, and a subpath.
const LAYER: &str = "lowerdir+";
const UPPER: &str = "upperdir";
const WORK: &str = "workdir";
/// Options of ours.
const NAMESPACE: &str = "namespace";
const SUBPATH: &str = "subpath";

fn take_path(
    data: &mut Vec<(String, Option<String>)>,
    wanted: &str,
    bundle: &Path,
) -> Result<Option<PathBuf>> {
    let Some(place) = data.iter().position(|(key, _)| key == wanted) else {
        return Ok(None);
    };
    match data.remove(place) {
        (_, Some(path)) => Ok(Some(bundle.join(path))),
        (key, None) => Err(invalid(format!("option {key:?} names a directory"))),
    }
}

fn take_subpath(data: &mut Vec<(String, Option<String>)>) -> Result<PathBuf> {
    let Some(place) = data.iter().position(|(key, _)| key == SUBPATH) else {
        return Ok(PathBuf::new());
    };
    let (_, value) = data.remove(place);
    let path = PathBuf::from(value.unwrap_or_default());
    let is_below = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !is_below || path.as_os_str().is_empty() {
        return Err(invalid("a subpath is relative and has no .."));
    }
    Ok(path)
}

fn plan_id_map(mount: &Mount, asked: Option<Depth>, what: &What) -> Result<Option<IdMap>> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    if asked.is_none() && uids.is_empty() && gids.is_empty() {
        return Ok(None);
    }
    if uids.is_empty() != gids.is_empty() {
        return Err(invalid(
            "uidMappings and gidMappings go together: give both",
        ));
    }
    if !matches!(what, What::Bind { .. }) {
        return Err(unsupported("maps of ids for anything but a bind mount are"));
    }
    check_ranges(uids).map_err(|error| error.wrap("uidMappings"))?;
    check_ranges(gids).map_err(|error| error.wrap("gidMappings"))?;
    Ok(Some(IdMap {
        uids: uids.clone(),
        gids: gids.clone(),
        depth: asked.unwrap_or(Depth::One),
    }))
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
            "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                Err(unsupported(&format!("option {option} is")))
            }
            _ if option.starts_with("idmap=") || option.starts_with("ridmap=") => Err(invalid(
                "maps go into uidMappings and gidMappings of the mount, not into its options",
            )),
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

/// Options about attributes: bits to set and bits to clear. With an `r` in
/// front they are about everything mounted below as well.
pub(crate) const ATTRIBUTES: [(&str, u64, u64); 18] = {
    use libc_attr::{
        NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME, STRICTATIME,
    };
    [
        ("ro", RDONLY, 0),
        ("rw", 0, RDONLY),
        ("nosuid", NOSUID, 0),
        ("suid", 0, NOSUID),
        ("nodev", NODEV, 0),
        ("dev", 0, NODEV),
        ("noexec", NOEXEC, 0),
        ("exec", 0, NOEXEC),
        ("nosymfollow", NOSYMFOLLOW, 0),
        ("symfollow", 0, NOSYMFOLLOW),
        ("nodiratime", NODIRATIME, 0),
        ("diratime", 0, NODIRATIME),
        ("relatime", RELATIME, ATIME_MASK),
        ("atime", RELATIME, ATIME_MASK),
        ("nostrictatime", RELATIME, ATIME_MASK),
        ("noatime", NOATIME, ATIME_MASK),
        ("strictatime", STRICTATIME, ATIME_MASK),
        ("norelatime", STRICTATIME, ATIME_MASK),
    ]
};

fn attribute(option: &str) -> Option<(u64, u64)> {
    let (_, set, clear) = ATTRIBUTES.iter().find(|(name, ..)| *name == option)?;
    Some((*set, *clear))
}

/// How mounts travel; with an `r` in front, for everything below as well.
pub(crate) const PROPAGATIONS: [(&str, Propagation); 4] = [
    ("private", Propagation::Private),
    ("shared", Propagation::Shared),
    ("slave", Propagation::Slave),
    ("unbindable", Propagation::Unbindable),
];

/// From `rprivate` and its kin.
pub(crate) fn propagation(option: &str) -> Option<(Propagation, Depth)> {
    let find = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name);
    if let Some((_, propagation)) = find(option) {
        return Some((*propagation, Depth::One));
    }
    let (_, propagation) = option.strip_prefix('r').and_then(find)?;
    Some((*propagation, Depth::Tree))
}

/// What is the case anyway, or is about messages in the kernel's log.
const NO_CHANGE: [&str; 7] = [
    "async",
    "defaults",
    "loud",
    "noiversion",
    "nolazytime",
    "nomand",
    "silent",
];

/// What the runtime understands beside attributes and propagation.
pub(crate) const OTHER_OPTIONS: [&str; 13] = [
    "async",
    "bind",
    "defaults",
    "idmap",
    "loud",
    "noiversion",
    "nolazytime",
    "nomand",
    "rbind",
    "remount",
    "ridmap",
    "silent",
    "tmpcopyup",
];

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
                subpath: PathBuf::new(),
                depth: Depth::Tree
            }
        );
        assert!(matches!(
            one("bind", &["subpath=a/b"]).what,
            What::Bind { subpath, .. } if subpath == Path::new("a/b")
        ));
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
            ("bind", vec!["subpath=../x"]),
            ("bind", vec!["subpath=/x"]),
            ("bind", vec!["subpath"]),
            ("overlay", vec!["lowerdir+=/a", "upperdir=/b"]),
            ("", vec![]),
            ("bind", vec!["tmpcopyup"]),
            ("cgroup", vec!["memory"]),
        ] {
            assert!(plan_one(&mount(kind, &options), Path::new("/b")).is_err());
        }
        assert!(normalise(Path::new("/a/../b")).is_err());
    }
}
