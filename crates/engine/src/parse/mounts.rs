//! `-v`, `--mount` and `--tmpfs`.

use std::path::{Component, Path, PathBuf};

use state::{MountKind, MountRequest, VolumeMount};
use sys::Result;

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
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => no_copy = true,
            // Labels of SELinux: nothing to do where it is not active.
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                option.clone_into(&mut propagation);
            }
            other => return Err(wrong(&format!("unknown option {other:?}"))),
        }
    }
    let kind = match source {
        None => MountKind::Volume(VolumeMount {
            name: String::new(),
            anonymous: true,
            no_copy,
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
                anonymous: false,
                no_copy,
            })
        }
    };
    Ok(MountRequest {
        target,
        kind,
        read_only,
    })
}

/// `type=bind|volume|tmpfs,source=…,target=…[,readonly][,…]`.
pub fn mount(text: &str) -> Result<MountRequest> {
    let wrong = |why: &str| invalid("mount", text, why);
    let mut fields = Fields::default();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        fields.set(key, value).map_err(|why| wrong(&why))?;
    }
    let target = fields
        .target
        .as_deref()
        .ok_or_else(|| wrong("target is missing"))?;
    let target = target_path(target).map_err(|why| wrong(&why))?;
    let source = fields.source.unwrap_or_default();
    let kind = match fields.kind.as_deref().unwrap_or("volume") {
        "bind" => {
            if !source.starts_with('/') {
                return Err(wrong("the source of a bind mount is an absolute path"));
            }
            MountKind::Bind {
                source: clean(Path::new(&source)),
                propagation: fields.propagation,
                create_source: false,
                non_recursive: fields.non_recursive,
            }
        }
        "volume" => {
            if !source.is_empty() && !is_volume_name(&source) {
                return Err(wrong("that is not a volume's name"));
            }
            MountKind::Volume(VolumeMount {
                anonymous: source.is_empty(),
                name: source,
                no_copy: fields.no_copy,
            })
        }
        "tmpfs" => {
            if !source.is_empty() {
                return Err(wrong("a tmpfs has no source"));
            }
            MountKind::Tmpfs {
                size: fields.size,
                mode: fields.mode,
                options: Vec::new(),
            }
        }
        other => return Err(wrong(&format!("unknown type {other:?}"))),
    };
    Ok(MountRequest {
        target,
        kind,
        read_only: fields.read_only,
    })
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: String,
    non_recursive: bool,
    no_copy: bool,
    size: Option<u64>,
    mode: Option<u32>,
}

impl Fields {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let text = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("{key} needs a value"))
        };
        match key {
            "type" => self.kind = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "target" | "destination" | "dst" => self.target = Some(text()?),
            "readonly" | "ro" => self.read_only = truth(key, value)?,
            "bind-propagation" => {
                let known = [
                    "private", "rprivate", "shared", "rshared", "slave", "rslave",
                ];
                self.propagation = text()?;
                if !known.contains(&self.propagation.as_str()) {
                    return Err(format!("unknown propagation {:?}", self.propagation));
                }
            }
            "bind-nonrecursive" => self.non_recursive = truth(key, value)?,
            "bind-recursive" => {
                self.non_recursive = match value {
                    Some("disabled") => true,
                    Some("enabled" | "writable") => false,
                    _ => return Err("bind-recursive is enabled, writable or disabled".to_owned()),
                }
            }
            "volume-nocopy" => self.no_copy = truth(key, value)?,
            "tmpfs-size" => self.size = Some(bytes(&text()?).map_err(|error| error.to_string())?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(&text()?, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or("tmpfs-mode is an octal number such as 1777")?);
            }
            "consistency" => {}
            other => return Err(format!("unknown field {other:?}")),
        }
        Ok(())
    }
}

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

fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(format!("{key} is true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> MountRequest {
        volume(text, Path::new("/home/me")).unwrap()
    }

    #[test]
    fn tells_paths_from_volumes() {
        let bind = |source: &str| MountKind::Bind {
            source: source.into(),
            propagation: String::new(),
            create_source: true,
            non_recursive: false,
        };
        let named = |name: &str, anonymous| {
            MountKind::Volume(VolumeMount {
                name: name.into(),
                anonymous,
                no_copy: false,
            })
        };
        assert_eq!(short("/a:/b").kind, bind("/a"));
        assert_eq!(short("./src:/b").kind, bind("/home/me/src"));
        assert_eq!(short("../src:/b").kind, bind("/home/src"));
        assert_eq!(short("data:/b").kind, named("data", false));
        assert_eq!(short("/b").kind, named("", true));
        assert_eq!(short("/a/../c//d/:/b/./x/").target, Path::new("/b/x"));
        assert!(short("data:/b:ro").read_only && !short("data:/b:rw").read_only);
        assert!(matches!(
            short("/a:/b:ro,rshared").kind,
            MountKind::Bind { propagation, .. } if propagation == "rshared"
        ));
    }

    #[test]
    fn refuses_wrong_volumes() {
        for bad in [
            "",
            "a:b",
            "/a:b",
            "a:/b:c:d",
            "/a:/",
            ":/b",
            "a/b:/c",
            "-a:/c",
            "a:/b:what",
            "a:/",
            "data:/b:shared",
            "/a:/b:nocopy",
            "~/x:/b",
            "relative",
        ] {
            assert!(volume(bad, Path::new("/")).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_the_long_form() {
        let request =
            mount("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave").unwrap();
        assert!(request.read_only);
        assert!(matches!(
            request.kind,
            MountKind::Bind { create_source: false, propagation, .. } if propagation == "rslave"
        ));
        let request = mount("src=data,dst=/b,volume-nocopy").unwrap();
        assert!(matches!(
            request.kind,
            MountKind::Volume(VolumeMount { no_copy: true, .. })
        ));
        let request = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700").unwrap();
        assert_eq!(
            request.kind,
            MountKind::Tmpfs {
                size: Some(64 << 20),
                mode: Some(0o700),
                options: Vec::new()
            }
        );
        for bad in [
            "",
            "type=bind",
            "type=bind,target=/b",
            "type=bind,source=a,target=/b",
            "type=tmpfs,source=/a,target=/b",
            "type=what,target=/b",
            "target=b",
            "target=/b,x=1",
            "target=/b,readonly=maybe",
            "type=tmpfs,target=/t,tmpfs-mode=9",
            "type=volume,source=/a,target=/b",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_tmpfs() {
        let request = tmpfs("/run:rw,noexec,nosuid,size=65536k,mode=1770,uid=3").unwrap();
        assert_eq!(
            request.kind,
            MountKind::Tmpfs {
                size: Some(64 << 20),
                mode: Some(0o1770),
                options: vec!["noexec".into(), "nosuid".into(), "uid=3".into()]
            }
        );
        assert!(tmpfs("/run").is_ok());
        assert!(tmpfs("run").is_err() && tmpfs("/run:lowerdir=/").is_err());
    }
}
