//! The annotation `org.wharf.landlock`, an extension of ours: what the program
//! may still do with files and ports, enforced by the kernel's Landlock on top
//! of everything else.
//!
//! ```json
//! {"read": ["/"], "write": ["/tmp"], "execute": ["/bin"], "bind": [8080], "connect": [443]}
//! ```
//!
//! One of the first three restricts all access to files, `bind` and `connect`
//! each all TCP ports. Paths are the container's; `execute` and `write`
//! include `read`.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags, fstat};
use serde::Deserialize;
use sys::landlock::{Ruleset, access};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::mounts::root::Root;
use crate::sandbox::invalid;

/// Its name.
pub(crate) const ANNOTATION: &str = "org.wharf.landlock";

/// What the annotation says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Landlock {
    read: Option<Vec<PathBuf>>,
    write: Option<Vec<PathBuf>>,
    execute: Option<Vec<PathBuf>>,
    bind: Option<Vec<u16>>,
    connect: Option<Vec<u16>>,
}

/// Understands the annotation, if there is one. Pure.
pub(crate) fn plan(annotations: &BTreeMap<String, String>) -> Result<Option<Landlock>> {
    let Some(text) = annotations.get(ANNOTATION) else {
        return Ok(None);
    };
    let field = || format!("annotations.{ANNOTATION}");
    let landlock: Landlock = serde_json::from_str(text)
        .map_err(|error| invalid(error.to_string()))
        .context(field)?;
    let is_relative = |path: &&PathBuf| !path.is_absolute();
    if let Some(path) = landlock
        .paths()
        .flat_map(|(paths, _)| paths)
        .find(is_relative)
    {
        return Err(invalid(format!("path {} is not absolute", path.display()))).context(field);
    }
    Ok(Some(landlock))
}

impl Landlock {
    fn paths(&self) -> impl Iterator<Item = (&Vec<PathBuf>, u64)> {
        [
            (&self.read, access::READ),
            (&self.write, access::READ | access::WRITE),
            (&self.execute, access::READ | access::EXECUTE),
        ]
        .into_iter()
        .filter_map(|(paths, rights)| Some((paths.as_ref()?, rights)))
    }

    fn ports(&self) -> impl Iterator<Item = (&Vec<u16>, u64)> {
        [
            (&self.bind, access::BIND_TCP),
            (&self.connect, access::CONNECT_TCP),
        ]
        .into_iter()
        .filter_map(|(ports, right)| Some((ports.as_ref()?, right)))
    }

    /// Opens what it names below `root`; not in force yet.
    pub(crate) fn prepare(&self, root: &Root) -> Result<Ruleset> {
        self.try_prepare(root)
            .context(|| format!("annotations.{ANNOTATION}"))
    }

    fn try_prepare(&self, root: &Root) -> Result<Ruleset> {
        let lacking = |what: &str| Error::new(ErrorKind::Unsupported, what);
        let version = sys::landlock::version().map_err(|_| {
            lacking("Landlock is not active on this kernel (boot it with lsm=landlock,…)")
        })?;
        let ports = self.ports().fold(0, |all, (_, right)| all | right);
        if ports != 0 && version < 4 {
            return Err(lacking("rules about ports need Linux 6.7"));
        }
        let handles_files = self.paths().next().is_some();
        let files = if handles_files {
            access::READ | access::WRITE | access::EXECUTE
        } else {
            0
        };
        let ruleset = Ruleset::new(version, files, ports)?;
        for (paths, rights) in self.paths() {
            for path in paths {
                let allow = || -> Result<()> {
                    let fd = root.open(path, OFlags::PATH)?;
                    let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
                    let rights = if kind == FileType::Directory {
                        rights
                    } else {
                        rights & access::OF_FILES
                    };
                    ruleset.allow_path(fd.as_fd(), rights)
                };
                allow().context(|| format!("allow {}", path.display()))?;
            }
        }
        for (ports, right) in self.ports() {
            for port in ports {
                ruleset
                    .allow_port(*port, right)
                    .context(|| format!("allow port {port}"))?;
            }
        }
        Ok(ruleset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_is_read_strictly() {
        let of = |text: &str| plan(&BTreeMap::from([(ANNOTATION.to_owned(), text.to_owned())]));
        assert!(plan(&BTreeMap::new()).unwrap().is_none());
        let landlock = of(r#"{"read": ["/a"], "bind": [80]}"#).unwrap().unwrap();
        assert_eq!(landlock.paths().count(), 1);
        assert_eq!(landlock.ports().count(), 1);
        for bad in [
            r#"{"reed": []}"#,
            r#"{"read": ["a"]}"#,
            r#"{"bind": [65536]}"#,
            "",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
