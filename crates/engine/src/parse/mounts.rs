//! `-v`, `--mount` and `--tmpfs`.

mod long;

#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use state::{MountIdMap, MountKind, MountRequest, VolumeMount};
use sys::Result;

pub use long::mount;

use super::{bytes, invalid};

/// `[source:]target[:options]`: a bind mount if the source is a path (a
/// relative one, `./x` or `../x`, is taken from `base`), a volume otherwise.
pub fn volume(text: &str, base: &Path) -> Result<MountRequest> {
    let wrong = |why: &str| invalid("volume", text, why);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(wrong("write [source:]target[:options]")),
    };
    let target = target_path(target).map_err(|why| wrong(&why))?;
    let (mut read_only, mut no_copy, mut propagation) = (false, false, String::new());
    let mut ids = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => no_copy = true,
            // Labels of SELinux: nothing to do where it is not active.
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "idmap" => ids = Some(MountIdMap::default()),
            option if PROPAGATIONS.contains(&option) => option.clone_into(&mut propagation),
            option if option.starts_with("idmap=") => {
                ids = Some(id_map(&option["idmap=".len()..]).map_err(|why| wrong(&why))?);
            }
            other => return Err(wrong(&format!("unknown option {other:?}"))),
        }
    }
    let kind = match source {
        None => MountKind::Volume(VolumeMount {
            anonymous: true,
            no_copy,
            ..VolumeMount::default()
        }),
        Some("") => return Err(wrong("the source is empty")),
        Some(source) if source.starts_with(['/', '.', '~']) => {
            if no_copy {
                return Err(wrong("nocopy is for volumes"));
            }
            let source = if source.starts_with('/') {
                PathBuf::from(source)
            } else if source.starts_with('~') {
                return Err(wrong("the source has to be an absolute path"));
            } else {
                base.join(source)
            };
            MountKind::Bind {
                source: clean(&source),
                propagation,
                create_source: true,
                non_recursive: false,
            }
        }
        Some(name) => {
            if !is_volume_name(name) {
                return Err(wrong(
                    "a volume's name has letters, digits, _ . - and begins with a letter or digit; a path begins with / or .",
                ));
            }
            if !propagation.is_empty() {
                return Err(wrong("propagation is for paths"));
            }
            MountKind::Volume(VolumeMount {
                name: name.to_owned(),
                no_copy,
                ..VolumeMount::default()
            })
        }
    };
    Ok(MountRequest {
        target,
        kind,
        read_only,
        writable_below: false,
        id_map: ids,
    })
}

/// `UID[:GID]` (with a colon, or an `@` where a colon separates more), both
/// of the container; nothing for the container's own user.
fn id_map(text: &str) -> Result<MountIdMap, String> {
    if text.is_empty() {
        return Ok(MountIdMap::default());
    }
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|id: &u32| *id != u32::MAX)
            .ok_or("write idmap, or idmap=UID@GID with numbers".to_owned())
    };
    let (uid, gid) = text.split_once(['@', ':']).unwrap_or((text, text));
    Ok(MountIdMap {
        uid: Some(number(uid)?),
        gid: Some(number(gid)?),
    })
}

/// Docker's words for how mounts travel between the host and a container.
const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// `target[:options]`, options as of mount(8).
pub fn tmpfs(text: &str) -> Result<MountRequest> {
    let wrong = |why: &str| invalid("tmpfs", text, why);
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target_path(target).map_err(|why| wrong(&why))?;
    let (mut size, mut mode, mut read_only, mut others) = (None, None, false, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) if value.ends_with('%') => others.push(option.to_owned()),
            Some(("size", value)) => size = Some(bytes(value)?),
            Some(("mode", value)) => {
                let number = u32::from_str_radix(value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777);
                mode = Some(number.ok_or_else(|| wrong("mode is an octal number such as 1777"))?);
            }
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" | "huge", _)) => {
                others.push(option.to_owned());
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None if TMPFS_FLAGS.contains(&option) => others.push(option.to_owned()),
            _ => return Err(wrong(&format!("unknown option {option:?}"))),
        }
    }
    Ok(MountRequest {
        target,
        kind: MountKind::Tmpfs {
            size,
            mode,
            options: others,
        },
        read_only,
        writable_below: false,
        id_map: None,
    })
}

const TMPFS_FLAGS: [&str; 18] = [
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
];

/// As [`state::ContainerName`]: safe to make a path of.
pub(crate) fn is_volume_name(name: &str) -> bool {
    !name.starts_with('/') && name.len() > 1 && name.parse::<state::ContainerName>().is_ok()
}

fn target_path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "the target {text:?} has to be an absolute path in the container"
        ));
    }
    let path = clean(Path::new(text));
    if path == Path::new("/") {
        return Err("the target cannot be /".to_owned());
    }
    Ok(path)
}

/// Without `.`, `..` and doubled slashes, by text alone as Go's path.Clean.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}
