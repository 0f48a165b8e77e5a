//! What a container engine can leave behind on a machine, and a look at all of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the machine held at one moment.
pub(crate) struct Leaks {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
}

impl Leaks {
    pub(crate) fn look() -> Self {
        Self {
            mounts: mounts(),
            links: links(),
        }
    }

    /// Asserts that no process, mount, cgroup, network link or firewall element is there that was not before.
    pub(crate) fn assert_only_stopped_left(&self) {
        settle("processes", processes);
        settle("mounts", || {
            mounts().difference(&self.mounts).cloned().collect()
        });
        settle("cgroups", container_groups);
        settle("network links", || {
            links().difference(&self.links).cloned().collect()
        });
        settle("firewall elements", firewall_elements);
    }

    /// Asserts in addition that no file of a container is left under the store's two directories.
    pub(crate) fn assert_nothing_left(&self, root: &Path, runroot: &Path) {
        self.assert_only_stopped_left();
        settle("files of containers", || container_files(root, runroot));
    }
}

/// Asserts that `look` comes to give nothing. What ends in the background is given a moment: a monitor that writes its
/// last record, network namespaces, which the kernel takes apart one after the other.
fn settle(what: &str, mut look: impl FnMut() -> Vec<String>) {
    let mut found = look();
    for _ in 0..1500 {
        if found.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        found = look();
    }
    panic!("left behind, {what}:\n  {}", found.join("\n  "));
}

/// Every process of this pid namespace but its first and ourselves.
fn processes() -> Vec<String> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let zombie = stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'));
        if pid != 1 && pid != own && !zombie {
            let words = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{pid} {}", words.replace('\0', " ")));
        }
    }
    found
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // A test that plays a reboot covers the kernel's boot id.
    text.lines()
        .filter(|line| !line.contains("/boot_id "))
        .map(|line| {
            line.split(' ')
                .skip(2)
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Groups below `/wharf` of any hierarchy, but for the one that holds the monitors, which has to be empty.
fn container_groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut hierarchies: Vec<PathBuf> = vec!["/sys/fs/cgroup".into()];
    hierarchies.extend(
        fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .flatten()
            .map(|entry| entry.path()),
    );
    for hierarchy in hierarchies {
        for group in directories(&hierarchy.join("wharf")) {
            if !group.ends_with("monitors") {
                found.push(group.display().to_string());
                continue;
            }
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(
                members
                    .lines()
                    .map(|pid| format!("{}: process {pid}", group.display())),
            );
            found.extend(
                directories(&group)
                    .iter()
                    .map(|path| path.display().to_string()),
            );
        }
    }
    found
}

/// Network links but for bridges, which stay as Docker's do.
fn links() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten();
    let links = entries.filter(|entry| !entry.path().join("bridge").exists());
    links
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Elements of sets and maps in Wharf's tables that name a port or an address of a container.
fn firewall_elements() -> Vec<String> {
    let Ok(output) = Command::new("nft").args(["-j", "list", "ruleset"]).output() else {
        return Vec::new();
    };
    let ruleset: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut found = Vec::new();
    for object in ruleset["nftables"].as_array().into_iter().flatten() {
        for (kind, object) in object.as_object().into_iter().flatten() {
            let ours = object["table"]
                .as_str()
                .is_some_and(|table| table.contains("wharf"));
            // A map hands traffic to containers; a plain set may hold fixed networks.
            if ours && kind == "map" {
                for element in object["elem"].as_array().into_iter().flatten() {
                    found.push(format!(
                        "{}: {element}",
                        object["name"].as_str().unwrap_or("?")
                    ));
                }
            }
        }
    }
    found
}

/// Files that belong to one container: its record, its name, its writable layer, its lease, its run-time directory.
fn container_files(root: &Path, runroot: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for place in [
        "containers",
        "names",
        "snapshots/active",
        "checkpoints",
        "templates",
    ] {
        list(&root.join(place), &mut found);
    }
    for network in directories(&root.join("leases")) {
        list(&network, &mut found);
    }
    for place in ["containers", "exec", "netns", "templates"] {
        list(&runroot.join(place), &mut found);
    }
    // Locks that are not a container's may stay; they are empty files.
    found.retain(|path| !fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0));
    found
}

fn list(dir: &Path, found: &mut Vec<String>) {
    if let Ok(entries) = fs::read_dir(dir) {
        found.extend(
            entries
                .flatten()
                .map(|entry| entry.path().display().to_string()),
        );
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
