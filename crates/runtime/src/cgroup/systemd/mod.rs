//! systemd as the manager of cgroups: a scope for each container, in which
//! systemd leaves everything to us (`Delegate=yes`).
//!
//! A scope is started around a process that exists, so init is cloned outside
//! and waits until its scope is there. Limits are told to systemd, which would
//! otherwise set back what it knows of, and written to the files as well,
//! since it does not know all of them.

mod bus;
mod message;

use std::fmt::Write as _;

use sys::{Context as _, Error, ErrorKind, Result};

use self::bus::{Bus, Instance};
use self::message::{Body, Variant};
use super::CgroupPath;
use super::limits::{Property, PropertyValue};

/// The group of container `id` whose specification says `wanted`:
/// `slice:prefix:name`, each of which may be empty.
pub(super) fn path_of(wanted: Option<&str>, id: &str) -> Result<CgroupPath> {
    let instance = Instance::ours();
    let (slice, unit) = parse(wanted, id, instance)?;
    let base = match instance {
        Instance::System => String::new(),
        Instance::User(_) => Bus::connect(instance)?
            .property("ControlGroup")
            .context(|| "ask systemd where its units are")?,
    };
    let mut parts = vec![base.trim_end_matches('/').to_owned()];
    parts.extend(slice_path(&slice)?);
    parts.push(unit);
    CgroupPath::parse(&parts.join("/"))
}

/// Makes the scope at `path` around process `pid`.
pub(super) fn start(path: &CgroupPath, pid: i32, limits: &[Property]) -> Result<()> {
    let (slice, unit) = names_in(path);
    let pid = u32::try_from(pid)
        .map_err(|_| Error::new(ErrorKind::Internal, "a process without a pid"))?;
    let mut properties = vec![
        ("Slice", Variant::Text(slice.to_owned())),
        (
            "Description",
            Variant::Text(format!("Wharf container {unit}")),
        ),
        ("PIDs", Variant::Numbers(vec![pid])),
        ("Delegate", Variant::Flag(true)),
        ("DefaultDependencies", Variant::Flag(false)),
        // Nobody has to reset it after a failure before the name is free.
        (
            "CollectMode",
            Variant::Text("inactive-or-failed".to_owned()),
        ),
    ];
    properties.extend(limits.iter().map(variant_of));
    let body = Body::default()
        .text(unit)
        .text("replace")
        .properties(&properties)
        .no_units();
    let run = || -> Result<()> {
        let mut bus = Bus::connect(Instance::ours())?;
        bus.subscribe()?;
        let mut answer = bus.manager("StartTransientUnit", &body)?;
        if matches!(&answer, Err(refusal) if refusal.name.ends_with(".UnitExists")) {
            // One that failed is in the way until it is forgotten.
            let _ = bus.manager("ResetFailedUnit", &Body::default().text(unit))?;
            answer = bus.manager("StartTransientUnit", &body)?;
        }
        let answer = answer.map_err(bus::Refusal::into_error)?;
        let job = answer.body().text()?.to_owned();
        match bus.wait_for_job(&job)?.as_str() {
            "done" => Ok(()),
            how => Err(Error::new(
                ErrorKind::Internal,
                format!("systemd says {how:?}; see: systemctl status {unit}"),
            )),
        }
    };
    run().context(|| format!("start unit {unit}"))
}

/// Tells systemd of limits that changed.
pub(super) fn update(path: &CgroupPath, limits: &[Property]) -> Result<()> {
    if limits.is_empty() {
        return Ok(());
    }
    let (_, unit) = names_in(path);
    let properties: Vec<_> = limits.iter().map(variant_of).collect();
    // Only until the next boot, like the scope itself.
    let body = Body::default()
        .text(unit)
        .flag(true)
        .properties(&properties);
    let mut bus = Bus::connect(Instance::ours())?;
    bus.manager("SetUnitProperties", &body)?
        .map(|_| ())
        .map_err(bus::Refusal::into_error)
        .context(|| format!("set the limits of unit {unit}"))
}

/// Ends the scope; fine if it is gone, as it is when its last process ended.
pub(super) fn stop(path: &CgroupPath) -> Result<()> {
    let (_, unit) = names_in(path);
    let run = || -> Result<()> {
        let mut bus = Bus::connect(Instance::ours())?;
        bus.subscribe()?;
        let body = Body::default().text(unit).text("replace");
        match bus.manager("StopUnit", &body)? {
            Ok(answer) => {
                let job = answer.body().text()?.to_owned();
                bus.wait_for_job(&job).map(|_| ())
            }
            Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => Ok(()),
            Err(refusal) => Err(refusal.into_error()),
        }
    };
    run().context(|| format!("stop unit {unit}"))
}

fn variant_of(property: &Property) -> (&'static str, Variant) {
    let value = match &property.value {
        PropertyValue::Number(number) => Variant::Number(*number),
        PropertyValue::Set(bytes) => Variant::Bytes(bytes.clone()),
    };
    (property.name, value)
}

/// The slice and the unit.
fn names_in(path: &CgroupPath) -> (&str, &str) {
    let mut parts = path.relative().rsplit('/');
    let unit = parts.next().unwrap_or_default();
    let slice = parts
        .next()
        .filter(|above| above.strip_suffix(".slice").is_some());
    // The root, which a user's manager has below its own service.
    (slice.unwrap_or("-.slice"), unit)
}

fn parse(wanted: Option<&str>, id: &str, instance: Instance) -> Result<(String, String)> {
    let usual = match instance {
        Instance::System => "system.slice",
        Instance::User(_) => "user.slice",
    };
    let parts: Vec<&str> = match wanted {
        None => vec!["", "wharf", id],
        Some(wanted) => wanted.split(':').collect(),
    };
    let [slice, prefix, name] = parts.as_slice() else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "linux.cgroupsPath {:?} is not of the form slice:prefix:name, which the systemd \
                 cgroup manager needs",
                wanted.unwrap_or_default()
            ),
        ));
    };
    let slice = if slice.is_empty() { usual } else { slice };
    let unit = match (prefix.is_empty(), *name) {
        (_, "") => return Err(bad(wanted.unwrap_or_default(), "it has no name")),
        (true, name) => format!("{}.scope", escape(name)),
        (false, name) => format!("{}-{}.scope", escape(prefix), escape(name)),
    };
    Ok((slice.to_owned(), unit))
}

/// `a-b.slice` lies in `a.slice`; `-.slice` is the root.
fn slice_path(slice: &str) -> Result<Vec<String>> {
    if slice == "-.slice" {
        return Ok(Vec::new());
    }
    let Some(name) = slice.strip_suffix(".slice") else {
        return Err(bad(slice, "a slice ends in .slice"));
    };
    if name.contains('/') || name.split('-').any(str::is_empty) {
        return Err(bad(slice, "it is no name of a slice"));
    }
    let ends = name
        .match_indices('-')
        .map(|(at, _)| at)
        .chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect())
}

/// As systemd writes what a unit's name cannot hold (systemd.unit(5)).
fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b":_.-\\".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

fn bad(what: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("linux.cgroupsPath: {what:?}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_for_systemd_names_a_scope_in_slices() {
        let system = |wanted| {
            let (slice, unit) = parse(wanted, "web", Instance::System)?;
            Ok::<_, Error>(format!("{}/{unit}", slice_path(&slice)?.join("/")))
        };
        assert_eq!(system(None).unwrap(), "system.slice/wharf-web.scope");
        assert_eq!(
            system(Some("kube-pods-x.slice:cri:7f")).unwrap(),
            "kube.slice/kube-pods.slice/kube-pods-x.slice/cri-7f.scope"
        );
        assert_eq!(system(Some("-.slice::a+b")).unwrap(), "/a\\x2bb.scope");
        let user = parse(None, "web", Instance::User(1000)).unwrap();
        assert_eq!(user.0, "user.slice");
        for bad in [
            "/system.slice/x",
            "a:b",
            "a:b:c:d",
            "x:p:n",
            "a--b.slice:p:n",
            "../a.slice:p:n",
            "system.slice:p:",
        ] {
            assert!(system(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_names_are_found_again_in_the_path() {
        let path = CgroupPath::parse("/a.slice/a-b.slice/p-n.scope").unwrap();
        assert_eq!(names_in(&path), ("a-b.slice", "p-n.scope"));
        let path = CgroupPath::parse("/n.scope").unwrap();
        assert_eq!(names_in(&path), ("-.slice", "n.scope"));
    }
}
