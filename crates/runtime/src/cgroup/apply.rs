//! Writing limits into files, and saying why the kernel did not take one.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

use super::CgroupPath;
use super::hierarchy::Hierarchies;
use super::limits::{Missing, Planned, Value, Write};

/// Writes what was planned; the warnings are limits that this kernel cannot
/// hold.
///
/// Some limits bound each other (memory and swap, period, quota and burst) and
/// which has to go first depends on what is there. What the kernel does not
/// take at first is tried again after the rest.
pub(super) fn apply(
    path: &CgroupPath,
    planned: &Planned,
    hierarchies: &Hierarchies,
) -> Result<Vec<String>> {
    let mut warnings = planned.warnings.clone();
    if let Some(limit) = planned.not_below_use {
        refuse_below_use(path, hierarchies, limit)?;
    }
    let mut again = Vec::new();
    for write in &planned.writes {
        match try_one(path, write, hierarchies) {
            Ok(warning) => warnings.extend(warning),
            Err(failed) if matches!(failed.errno, Errno::INVAL | Errno::BUSY) => again.push(write),
            Err(failed) => return Err(failed.explain(write)),
        }
    }
    for write in again {
        match try_one(path, write, hierarchies) {
            Ok(warning) => warnings.extend(warning),
            Err(failed) => return Err(failed.explain(write)),
        }
    }
    Ok(warnings)
}

/// What the files of `planned` hold now, to be put back with [`restore`].
pub(super) fn remember(
    path: &CgroupPath,
    planned: &Planned,
    hierarchies: &Hierarchies,
) -> Vec<(PathBuf, String)> {
    let mut before: Vec<(PathBuf, String)> = Vec::new();
    for write in &planned.writes {
        let Some((_, root)) = hierarchies.locate(&write.controller) else {
            continue;
        };
        let directory = root.join(path.relative());
        let other = write.other.as_ref().map(|(name, _)| *name);
        for name in [Some(write.file.as_ref()), other].into_iter().flatten() {
            let file = directory.join(name);
            if before.iter().all(|(known, _)| *known != file)
                && let Ok(content) = fs::read_to_string(&file)
            {
                before.push((file, content));
            }
        }
    }
    before
}

/// Twice, for the order in which limits can be lifted is not known; what
/// cannot be put back stays, and the error that led here is told.
pub(super) fn restore(before: &[(PathBuf, String)]) {
    for _ in 0..2 {
        for (file, content) in before {
            for line in content.lines() {
                let _ = write_file(file, line);
            }
        }
    }
}

/// One write of a control file. These take a value whole or not at all.
pub(super) fn write_file(file: &Path, value: &str) -> std::result::Result<(), Errno> {
    let fd = open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, value.as_bytes())?;
    Ok(())
}

/// A control file that fits into a page, which all but lists of processes do.
/// The standard library would ask for its size first and read twice.
pub(super) fn read_file(file: &Path) -> std::result::Result<String, Errno> {
    let fd = open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = [0; 4096];
    let length = rustix::io::read(&fd, &mut content)?;
    Ok(String::from_utf8_lossy(&content[..length]).into_owned())
}

/// The value that was not taken, and by which file.
struct Failed {
    errno: Errno,
    file: PathBuf,
    value: String,
}

fn try_one(
    path: &CgroupPath,
    write: &Write,
    hierarchies: &Hierarchies,
) -> std::result::Result<Option<String>, Failed> {
    let root = hierarchies.locate(&write.controller).map(|(_, root)| root);
    // The plan asked for the controller, so it is there.
    let directory = root.unwrap_or(Path::new("/")).join(path.relative());
    let mut file = directory.join(write.file.as_ref());
    let value = match &write.value {
        Value::Text(text) => text.clone(),
        Value::AfterFirstWord(rest) => {
            let now = fs::read_to_string(&file).unwrap_or_default();
            let first = now.split_whitespace().next().unwrap_or("max");
            format!("{first} {rest}")
        }
    };
    let mut result = write_file(&file, &value);
    if is_missing(result)
        && let Some((name, value)) = &write.other
    {
        let other = directory.join(name);
        match write_file(&other, value) {
            Err(errno) if !is_missing(Err(errno)) => {
                file = other;
                result = Err(errno);
            }
            written => result = written,
        }
    }
    match result {
        Ok(()) => Ok(None),
        Err(_) if is_missing(result) && write.missing == Missing::Ignore => Ok(None),
        Err(_) if is_missing(result) && write.missing == Missing::Warn => Ok(Some(format!(
            "linux.resources.{} is ignored: this kernel has no {} here",
            write.field, write.file
        ))),
        Err(errno) => Err(Failed { errno, file, value }),
    }
}

/// The second is said by files that are there for the look of it.
fn is_missing(result: std::result::Result<(), Errno>) -> bool {
    matches!(result, Err(Errno::NOENT | Errno::OPNOTSUPP))
}

impl Failed {
    fn explain(self, write: &Write) -> Error {
        let Self { errno, file, value } = self;
        let beside = |name: &str| read(&file.with_file_name(name));
        let above = |name: &str| {
            let parent = file.parent().and_then(Path::parent);
            parent.and_then(|parent| read(&parent.join(name)))
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let words = match (name.as_ref(), errno) {
            (_, Errno::NOENT | Errno::OPNOTSUPP) => format!(
                "the kernel has no {name} in this group; leave the limit out, or see whether the \
                 kernel was built with it"
            ),
            (_, Errno::ACCESS | Errno::PERM | Errno::ROFS) => format!(
                "we may not write {}; limits need root, or a cgroup that was delegated to this \
                 user",
                file.display()
            ),
            ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::BUSY) => {
                let used = match name.as_ref() {
                    "memory.limit_in_bytes" => "memory.usage_in_bytes",
                    _ => "memory.memsw.usage_in_bytes",
                };
                below_use(&value, beside(used).as_deref())
            }
            ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::INVAL) => format!(
                "{value} does not fit the limit of memory and swap together, {}, which cannot be \
                 below that of memory alone",
                beside("memory.memsw.limit_in_bytes").unwrap_or_default()
            ),
            ("cpuset.cpus" | "cpuset.mems", _) => {
                let had = above(&format!("{name}.effective"))
                    .or_else(|| above(&format!("cpuset.effective_{}", &name["cpuset.".len()..])));
                format!(
                    "{value:?} is not within what the group above has, {:?}",
                    had.unwrap_or_default()
                )
            }
            ("cpu.rt_runtime_us" | "cpu.rt_period_us", _) => format!(
                "{value} µs cannot be promised: the group above has {} µs of real time in {} µs; \
                 raise its cpu.rt_runtime_us first",
                above("cpu.rt_runtime_us").unwrap_or_default(),
                above("cpu.rt_period_us").unwrap_or_default()
            ),
            ("cpu.max" | "cpu.cfs_quota_us" | "cpu.cfs_period_us", Errno::INVAL) => format!(
                "the kernel does not take {value:?}: a quota is at least 1000 µs, not below the \
                 burst and not beyond that of the group above; a period is from 1000 to 1000000 µs"
            ),
            ("cpu.max.burst" | "cpu.cfs_burst_us", Errno::INVAL) => format!(
                "a burst of {value} µs is above the quota, {}",
                beside("cpu.max")
                    .or_else(|| beside("cpu.cfs_quota_us"))
                    .unwrap_or_default()
            ),
            (_, Errno::NODEV | Errno::NXIO) => {
                let device = value.split(' ').next().unwrap_or_default();
                format!("there is no block device {device}; a whole disk is needed")
            }
            _ => format!("the kernel does not take {value:?} in {name}"),
        };
        Error::from(errno).wrap(format!("linux.resources.{}: {words}", write.field))
    }
}

fn refuse_below_use(path: &CgroupPath, hierarchies: &Hierarchies, limit: u64) -> Result<()> {
    let Some((_, root)) = hierarchies.locate("memory") else {
        return Ok(());
    };
    let directory = root.join(path.relative());
    let used = read(&directory.join("memory.current"))
        .or_else(|| read(&directory.join("memory.usage_in_bytes")))
        .and_then(|text| text.parse::<u64>().ok());
    match used {
        Some(used) if used > limit => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "linux.resources.memory.limit: {}",
                below_use(&limit.to_string(), Some(&used.to_string()))
            ),
        )),
        _ => Ok(()),
    }
}

fn below_use(limit: &str, used: Option<&str>) -> String {
    let words = |text: &str| text.parse().map_or_else(|_| text.to_owned(), size_in_words);
    format!(
        "{} is less than what is in use now, {}; choose a higher limit, or have the container \
         free memory first",
        words(limit),
        words(used.unwrap_or("unknown"))
    )
}

fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned())
}

/// `64 MiB`, exact.
pub(crate) fn size_in_words(bytes: u64) -> String {
    match bytes {
        0 => "0 bytes".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// For errors of the file system, with the file's name.
pub(super) fn write_named(file: &Path, value: &str) -> Result<()> {
    write_file(file, value).context(|| format!("write {value} to {}", file.display()))
}
