//! The little that the engine does to cgroups: take away what a container
//! left, make a container stand still, and see what it uses. Who makes and
//! limits them is the runtime.

mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::{Context as _, Error, ErrorKind, Errors, Result};

pub use usage::Usage;

/// Where the cgroup hierarchies are mounted.
pub(crate) struct Hierarchies {
    /// Mount point and whether it is version 2.
    all: Vec<(PathBuf, Version)>,
    /// Controllers of version 1, and where.
    legacy: Vec<(String, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Hierarchies {
    pub(crate) fn find() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).context(|| format!("read {path}"))?;
        Ok(Self::parse(&text))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self {
            all: Vec::new(),
            legacy: Vec::new(),
        };
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let Some(target) = before.split(' ').nth(4) else {
                continue;
            };
            let mut after = after.split(' ');
            let version = match after.next() {
                Some("cgroup") => Version::One,
                Some("cgroup2") => Version::Two,
                _ => continue,
            };
            let options = after.nth(1).unwrap_or_default();
            let target = PathBuf::from(target.replace("\\040", " "));
            if found.all.iter().any(|(known, _)| *known == target) {
                continue;
            }
            if version == Version::One {
                let names = options.split(',').map(str::to_owned);
                found
                    .legacy
                    .extend(names.map(|name| (name, target.clone())));
            }
            found.all.push((target, version));
        }
        found
    }

    /// `2` if nothing but version 2 is mounted.
    pub(crate) fn version(&self) -> &'static str {
        if self.all.iter().all(|(_, version)| *version == Version::Two) {
            "2"
        } else {
            "1"
        }
    }

    /// Where a controller is: with version 1, or else with version 2, which
    /// has them all in one place.
    fn locate(&self, controller: &str) -> Option<(&Path, Version)> {
        let legacy = self.legacy.iter().find(|(name, _)| name == controller);
        if let Some((_, root)) = legacy {
            return Some((root, Version::One));
        }
        let mut all = self.all.iter();
        let (root, version) = all.find(|(_, version)| *version == Version::Two)?;
        Some((root, *version))
    }

    /// Processes in the cgroup `path` and below it, as the host sees them.
    pub(crate) fn pids(&self, path: &str) -> Result<Vec<i32>> {
        let relative = relative(path)?;
        let mut pids = Vec::new();
        // Every hierarchy knows them all; the first in which it exists will do.
        for (root, _) in &self.all {
            gather_pids(&root.join(relative), &mut pids);
            if !pids.is_empty() {
                break;
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills what is in the cgroup `path` and takes it away, everywhere.
    /// Fine if it is not there.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        let relative = relative(path)?;
        let mut errors = Errors::new();
        for (root, _) in &self.all {
            let directory = root.join(relative);
            if directory.exists() {
                errors.keep(remove_tree(&directory));
            }
        }
        errors.into_result()
    }

    /// Names of the cgroups right below `path` in any hierarchy.
    pub(crate) fn children(&self, path: &str) -> Result<Vec<String>> {
        let relative = relative(path)?;
        let mut names = Vec::new();
        for (root, _) in &self.all {
            let Ok(entries) = fs::read_dir(root.join(relative)) else {
                continue;
            };
            for entry in entries.flatten() {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_directory && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Makes everything in the cgroup stand still until the guard is dropped.
    pub(crate) fn freeze(&self, path: &str) -> Result<Frozen> {
        let relative = relative(path)?;
        let (root, version) = self.locate("freezer").ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "no cgroup file system can freeze")
        })?;
        let root = root.join(relative);
        let (file, freeze, thaw, state, frozen) = match version {
            Version::One => {
                let file = root.join("freezer.state");
                (file.clone(), "FROZEN", "THAWED", file, "FROZEN")
            }
            Version::Two => {
                let file = root.join("cgroup.freeze");
                (file, "1", "0", root.join("cgroup.events"), "frozen 1")
            }
        };
        fs::write(&file, freeze).context(|| format!("write {}", file.display()))?;
        let guard = Frozen { file, thaw };
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let text =
                fs::read_to_string(&state).context(|| format!("read {}", state.display()))?;
            if text.lines().any(|line| line == frozen) {
                return Ok(guard);
            }
            if Instant::now() > deadline {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the container does not stand still (a process waits for a device)",
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn gather_pids(directory: &Path, pids: &mut Vec<i32>) {
    let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) else {
        return;
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather_pids(&entry.path(), pids);
        }
    }
}

/// Thaws on drop.
pub(crate) struct Frozen {
    file: PathBuf,
    thaw: &'static str,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It fails only if the cgroup is gone, and then nothing is frozen.
        let _ = fs::write(&self.file, self.thaw);
    }
}

/// Whether `--oom-kill-disable` can be had: version 2 has nothing like it.
pub(crate) fn can_disable_oom_kill() -> bool {
    let found = Hierarchies::find();
    found.is_ok_and(|all| matches!(all.locate("memory"), Some((_, Version::One))))
}

fn relative(path: &str) -> Result<&str> {
    let relative = path.strip_prefix('/').unwrap_or_default();
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    if relative.split('/').all(fine) {
        return Ok(relative);
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!("{path:?} is not a cgroup below the root"),
    ))
}

/// Children first. Processes that are left are killed, and waited for.
fn remove_tree(directory: &Path) -> Result<()> {
    if let Ok(entries) = fs::read_dir(directory) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&entry.path())?;
            }
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == std::io::ErrorKind::ResourceBusy
                    && Instant::now() < deadline =>
            {
                kill_all(directory);
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => {
                return Err(error).context(|| format!("remove cgroup {}", directory.display()));
            }
        }
    }
}

fn kill_all(directory: &Path) {
    // Linux 5.14, version 2 only.
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) else {
        return;
    };
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()) {
        // It is ours: nothing else is in a cgroup below /wharf.
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| pid > 0) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
33 25 0:29 / /proc rw - proc proc rw
34 25 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory";

    #[test]
    fn finds_the_hierarchies() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.all.len(), 3);
        assert_eq!(found.version(), "1");
        assert_eq!(
            found.locate("freezer"),
            Some((Path::new("/sys/fs/cgroup/freezer"), Version::One))
        );
        let two = Some((Path::new("/sys/fs/cgroup/unified"), Version::Two));
        assert_eq!(found.locate("pids"), two);
        let unified = Hierarchies::parse(HYBRID.lines().next().unwrap());
        assert_eq!(unified.version(), "2");
        assert_eq!(unified.locate("freezer"), two);
    }

    #[test]
    fn refuses_to_touch_what_is_not_below_the_root() {
        let none = Hierarchies::parse("");
        for bad in ["", "/", "wharf", "/wharf/../x", "//x"] {
            assert!(none.remove(bad).is_err(), "{bad}");
        }
        none.remove("/wharf/abc").unwrap();
    }
}
