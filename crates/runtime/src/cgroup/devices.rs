//! Which devices a cgroup may open: the specification's rules, in order, with
//! everything denied before the first one.

use std::fs;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use spec::runtime::DeviceRule;
use sys::bpf_device::{self, Access, DeviceKind, Rule};
use sys::{Context as _, Error, ErrorKind, Result};

use super::CgroupPath;
use super::apply::write_named;
use super::hierarchy::{Hierarchies, Version};

/// What every container may use (config-linux.md, "Default Devices"), and
/// making nodes of any kind, which opens nothing.
const ALWAYS: [(DeviceKind, Option<u32>, Option<u32>, Access); 11] = [
    (DeviceKind::Character, None, None, Access::MAKE),
    (DeviceKind::Block, None, None, Access::MAKE),
    (DeviceKind::Character, Some(1), Some(3), Access::ALL),
    (DeviceKind::Character, Some(1), Some(5), Access::ALL),
    (DeviceKind::Character, Some(1), Some(7), Access::ALL),
    (DeviceKind::Character, Some(1), Some(8), Access::ALL),
    (DeviceKind::Character, Some(1), Some(9), Access::ALL),
    (DeviceKind::Character, Some(5), Some(0), Access::ALL),
    (DeviceKind::Character, Some(5), Some(1), Access::ALL),
    (DeviceKind::Character, Some(5), Some(2), Access::ALL),
    (DeviceKind::Character, Some(136), None, Access::ALL),
];

/// Whether the group has rules already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    First,
    Replace,
}

/// Enforces `rules` on the group at `path`.
pub(super) fn limit(
    path: &CgroupPath,
    rules: &[Rule],
    hierarchies: &Hierarchies,
    change: Change,
) -> Result<()> {
    let Some((version, root)) = hierarchies.locate("devices") else {
        return Ok(());
    };
    let directory = root.join(path.relative());
    match (version, change) {
        (Version::V1, Change::First) => write_lines(&directory, &lines(rules)),
        (Version::V1, Change::Replace) => replace_lines(&directory, &lines(rules)),
        (Version::V2, change) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = open(&directory, flags, Mode::empty())
                .context(|| format!("open {}", directory.display()))?;
            let limited = match change {
                Change::First => bpf_device::attach(&fd, rules),
                Change::Replace => bpf_device::replace(&fd, rules),
            };
            match limited {
                // Only the host's root may load a filter; nobody else can make
                // device nodes, so that there is nothing to filter.
                Err(error) if error.errno() == Some(NOT_PERMITTED) && !is_root_of_host() => Ok(()),
                limited => limited.context(|| "limit devices"),
            }
        }
    }
}

const NOT_PERMITTED: i32 = rustix::io::Errno::PERM.raw_os_error();

/// Root, and in the first user namespace, whose map is the whole range.
fn is_root_of_host() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Each line is a write of its own; lines for the same file share its
/// descriptor.
fn write_lines(directory: &Path, lines: &[(&str, String)]) -> Result<()> {
    for run in lines.chunk_by(|(one, _), (next, _)| one == next) {
        let file = directory.join(run[0].0);
        let fd = open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {}", file.display()))?;
        for (_, line) in run {
            rustix::io::write(&fd, line.as_bytes())
                .context(|| format!("write {line} to {}", file.display()))?;
        }
    }
    Ok(())
}

/// Denying everything first would take away for a moment what is in use, and
/// is refused if there are groups below.
fn replace_lines(directory: &Path, lines: &[(&str, String)]) -> Result<()> {
    let list = directory.join("devices.list");
    let now = fs::read_to_string(&list).context(|| format!("read {}", list.display()))?;
    let starts_anew = lines
        .iter()
        .any(|(file, line)| (*file, line.as_str()) == ("devices.allow", "a"));
    if starts_anew || now.lines().any(|line| line.starts_with("a ")) {
        return write_lines(directory, lines);
    }
    let stays = |line: &str| lines.iter().any(|(_, allowed)| allowed == line);
    for line in now.lines().filter(|line| !stays(line)) {
        write_named(&directory.join("devices.deny"), line)?;
    }
    // The first of them denies everything.
    write_lines(directory, &lines[1..])
}

/// The rules to enforce; the last one that matches decides, no match denies.
pub(super) fn rules(asked: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for rule in asked {
        let rule = parse(rule)?;
        // A rule for everything makes those before it void.
        if is_for_all(&rule) {
            rules.clear();
            if !rule.allow {
                continue;
            }
        }
        rules.push(rule);
    }
    if !rules.first().is_some_and(is_for_all) {
        rules.extend(ALWAYS.iter().map(|(kind, major, minor, access)| Rule {
            allow: true,
            kind: Some(*kind),
            major: *major,
            minor: *minor,
            access: *access,
        }));
    }
    Ok(rules)
}

fn parse(rule: &DeviceRule) -> Result<Rule> {
    let refuse = |what: String| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("linux.resources.devices: {what}"),
        ))
    };
    let kind = match rule.kind.as_deref() {
        None | Some("a" | "") => None,
        Some("c" | "u") => Some(DeviceKind::Character),
        Some("b") => Some(DeviceKind::Block),
        Some(other) => return refuse(format!("unknown type {other:?}")),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("linux.resources.devices: number {number} is out of range"),
            )
        }),
    };
    let mut access = Access::NONE;
    for letter in rule.access.as_deref().unwrap_or("rwm").chars() {
        access = access
            | match letter {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MAKE,
                other => return refuse(format!("unknown access {other:?}")),
            };
    }
    if access == Access::NONE {
        access = Access::ALL;
    }
    Ok(Rule {
        allow: rule.allow,
        kind,
        major: number(rule.major)?,
        minor: number(rule.minor)?,
        access,
    })
}

fn is_for_all(rule: &Rule) -> bool {
    rule.kind.is_none()
        && rule.major.is_none()
        && rule.minor.is_none()
        && rule.access == Access::ALL
}

/// Version 1: file and line for each write, after `a` was denied.
fn lines(rules: &[Rule]) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if !rules.first().is_some_and(is_for_all) {
        lines.push(("devices.deny", "a".to_owned()));
    }
    for rule in rules {
        let file = if rule.allow {
            "devices.allow"
        } else {
            "devices.deny"
        };
        if is_for_all(rule) {
            lines.push((file, "a".to_owned()));
            continue;
        }
        let kinds: &[&str] = match rule.kind {
            None => &["c", "b"],
            Some(DeviceKind::Character) => &["c"],
            Some(DeviceKind::Block) => &["b"],
        };
        let number = |number: Option<u32>| {
            number.map_or_else(|| "*".to_owned(), |number| number.to_string())
        };
        let (major, minor) = (number(rule.major), number(rule.minor));
        for kind in kinds {
            lines.push((
                file,
                format!("{kind} {major}:{minor} {}", rule.access.letters()),
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: Some(kind.to_owned()),
            major,
            minor: None,
            access: Some(access.to_owned()),
        }
    }

    #[test]
    fn everything_is_denied_but_the_defaults() {
        let lines = lines(&rules(&[]).unwrap());
        assert_eq!(lines[0], ("devices.deny", "a".to_owned()));
        assert!(lines.contains(&("devices.allow", "c 1:3 rwm".to_owned())));
    }

    #[test]
    fn a_privileged_container_gets_one_line() {
        let rules = rules(&[rule(false, "a", None, "rwm"), rule(true, "a", None, "rwm")]).unwrap();
        assert_eq!(lines(&rules), [("devices.allow", "a".to_owned())]);
    }

    #[test]
    fn refuses_strange_rules() {
        assert!(rules(&[rule(true, "x", None, "r")]).is_err());
        assert!(rules(&[rule(true, "c", Some(-5), "r")]).is_err());
        assert!(rules(&[rule(true, "c", None, "rx")]).is_err());
    }
}
