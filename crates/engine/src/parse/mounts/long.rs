//! `--mount`: fields with names, separated by commas as in a line of CSV.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use state::{ImageMount, MountIdMap, MountKind, MountRequest, VolumeMount};
use sys::Result;

use super::{PROPAGATIONS, clean, id_map, is_volume_name, target_path};
use crate::parse::{bytes, invalid};

/// `type=bind|volume|tmpfs|image,source=…,target=…[,readonly][,…]`.
pub fn mount(text: &str) -> Result<MountRequest> {
    let wrong = |why: &str| invalid("mount", text, why);
    let mut fields = Fields::default();
    for field in split(text).map_err(wrong)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        fields.set(key, value).map_err(|why| wrong(&why))?;
    }
    fields.request().map_err(|why| wrong(&why))
}

/// Separates the fields; one in double quotes may hold commas.
fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let field = match rest.strip_prefix('"') {
            None => {
                let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                rest = after;
                field.to_owned()
            }
            Some(mut quoted) => {
                let mut field = String::new();
                loop {
                    let (part, after) = quoted.split_once('"').ok_or("a quote is not closed")?;
                    field.push_str(part);
                    let Some(more) = after.strip_prefix('"') else {
                        rest = after;
                        break;
                    };
                    field.push('"');
                    quoted = more;
                }
                field
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(fields),
            None => return Err("a closing quote is followed by a comma"),
        }
    }
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    id_map: Option<MountIdMap>,
    propagation: String,
    create_source: bool,
    non_recursive: bool,
    below: Below,
    no_copy: bool,
    subpath: PathBuf,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    size: Option<u64>,
    mode: Option<u32>,
    /// Fields that belong to one type, to be refused with another.
    special: Vec<(&'static str, String)>,
}

/// `bind-recursive`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Below {
    /// Read-only if the mount is.
    #[default]
    AsMount,
    Writable,
    /// Read-only, and so must be the mount.
    ReadOnly,
}

impl Fields {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let text = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("{key} needs a value"))
        };
        for kind in ["bind", "volume", "tmpfs", "image"] {
            if key
                .strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with('-'))
            {
                self.special.push((kind, key.to_owned()));
            }
        }
        match key {
            "type" => self.kind = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "target" | "destination" | "dst" => self.target = Some(text()?),
            "readonly" | "ro" => self.read_only = truth(key, value)?,
            "idmap" => self.id_map = Some(id_map(value.unwrap_or_default())?),
            "bind-propagation" => {
                self.propagation = text()?;
                if !PROPAGATIONS.contains(&self.propagation.as_str()) {
                    return Err(format!("unknown propagation {:?}", self.propagation));
                }
            }
            "bind-create-src" => self.create_source = truth(key, value)?,
            "bind-nonrecursive" => self.non_recursive = truth(key, value)?,
            "bind-recursive" => match value {
                Some("enabled") => {}
                Some("disabled") => self.non_recursive = true,
                Some("writable") => self.below = Below::Writable,
                Some("readonly") => self.below = Below::ReadOnly,
                _ => {
                    return Err(
                        "bind-recursive is enabled, disabled, writable or readonly".to_owned()
                    );
                }
            },
            "volume-nocopy" => self.no_copy = truth(key, value)?,
            "volume-subpath" | "image-subpath" => self.subpath = subpath(&text()?)?,
            "volume-driver" => match value {
                Some("local" | "") => {}
                _ => return Err("the one volume driver is local".to_owned()),
            },
            "volume-label" => insert(&mut self.labels, &text()?),
            "volume-opt" => insert(&mut self.options, &text()?),
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

    fn request(self) -> Result<MountRequest, String> {
        let target = target_path(self.target.as_deref().ok_or("target is missing")?)?;
        let kind = self.kind.as_deref().unwrap_or("volume").to_owned();
        if let Some((_, field)) = self.special.iter().find(|(of, _)| *of != kind) {
            return Err(format!("{field} is not for type={kind}"));
        }
        if self.id_map.is_some() && !matches!(&*kind, "bind" | "volume") {
            return Err(format!("idmap is not for type={kind}"));
        }
        if self.below == Below::ReadOnly && !self.read_only {
            return Err("bind-recursive=readonly needs readonly".to_owned());
        }
        if self.below == Below::ReadOnly && !matches!(&*self.propagation, "" | "rprivate") {
            return Err("bind-recursive=readonly needs bind-propagation=rprivate".to_owned());
        }
        let source = self.source.unwrap_or_default();
        let kind = match &*kind {
            "bind" if !source.starts_with('/') => {
                return Err("the source of a bind mount is an absolute path".to_owned());
            }
            "bind" => MountKind::Bind {
                source: clean(Path::new(&source)),
                propagation: self.propagation,
                create_source: self.create_source,
                non_recursive: self.non_recursive,
            },
            "volume" if !source.is_empty() && !is_volume_name(&source) => {
                return Err("that is not a volume's name".to_owned());
            }
            "volume" => MountKind::Volume(VolumeMount {
                anonymous: source.is_empty(),
                name: source,
                no_copy: self.no_copy,
                subpath: self.subpath,
                options: self.options,
                labels: self.labels,
            }),
            "tmpfs" if !source.is_empty() => return Err("a tmpfs has no source".to_owned()),
            "tmpfs" => MountKind::Tmpfs {
                size: self.size,
                mode: self.mode,
                options: Vec::new(),
            },
            "image" if source.is_empty() => return Err("source is missing".to_owned()),
            "image" => MountKind::Image(ImageMount {
                name: source,
                image: None,
                subpath: self.subpath,
            }),
            other => return Err(format!("unknown type {other:?}")),
        };
        Ok(MountRequest {
            target,
            read_only: self.read_only || matches!(kind, MountKind::Image(_)),
            kind,
            writable_below: self.below == Below::Writable,
            id_map: self.id_map,
        })
    }
}

/// Below the source, whatever it is: relative, and not upward.
fn subpath(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let is_below = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_below || text.is_empty() {
        return Err("a subpath is relative and has no ..".to_owned());
    }
    Ok(path.components().collect())
}

fn insert(into: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    into.insert(key.to_owned(), value.to_owned());
}

fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(format!("{key} is true or false")),
    }
}
