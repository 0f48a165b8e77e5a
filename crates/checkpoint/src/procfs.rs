//! What `/proc` says of a process, as text (proc(5)).

use std::fs;
use std::io::Read as _;

use state::StdioInodes;
use sys::{Context as _, Error, ErrorKind, Result};

/// `/proc/PID/status`.
#[derive(Debug, Default)]
pub(crate) struct Status(String);

impl Status {
    /// Of a thread; its `/proc/PID/task/TID` is named by `path`.
    pub(crate) fn read(path: &str) -> Result<Self> {
        text(&format!("{path}/status")).map(Self)
    }

    /// A field's value; empty if there is no such field.
    pub(crate) fn get(&self, name: &str) -> &str {
        let mut fields = self.0.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(known, _)| *known == name)
            .map_or("", |(_, value)| value.trim())
    }

    /// All numbers of a field.
    pub(crate) fn numbers(&self, name: &str) -> Vec<u32> {
        self.get(name)
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    /// The last number of a field: ids as the innermost namespace has them.
    pub(crate) fn innermost(&self, name: &str) -> i32 {
        self.get(name)
            .split_whitespace()
            .next_back()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn hex(&self, name: &str) -> u64 {
        u64::from_str_radix(self.get(name), 16).unwrap_or(0)
    }
}

/// The fields of `/proc/PID/stat` after the name, the state first: field
/// `number` of proc(5) is at `number - 3`.
pub(crate) fn stat(pid: i32) -> Result<Vec<String>> {
    let text = text(&format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// Field `number` of proc(5) as a number.
pub(crate) fn stat_field(fields: &[String], number: usize) -> u64 {
    fields
        .get(number - 3)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

pub(crate) fn text(path: &str) -> Result<String> {
    // The kernel does not say how long it is.
    let mut bytes = Vec::with_capacity(16 << 10);
    let read = fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.context(|| format!("read {path}"))?;
    // Much the faster where it is plain text.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// A file of a process's directory.
pub(crate) fn open(pid: i32, name: &str) -> Result<fs::File> {
    let path = format!("/proc/{pid}/{name}");
    fs::File::open(&path).context(|| format!("open {path}"))
}

/// The standard descriptors that a container was given, as links of `/proc`
/// name them: an inode number does not say whether it is a pipe's or a socket's.
pub(crate) fn links_of(given: StdioInodes) -> impl Iterator<Item = (i32, String)> {
    let inodes = (0..).zip(given.0);
    inodes
        .filter_map(|(number, inode)| Some((number, inode?)))
        .flat_map(|(number, inode)| {
            ["pipe", "socket"].map(|kind| (number, format!("{kind}:[{inode}]")))
        })
}

/// Where a link of `/proc` points to.
pub(crate) fn link(path: &str) -> Result<String> {
    let target = fs::read_link(path).context(|| format!("read {path}"))?;
    target.into_os_string().into_string().map_err(|target| {
        Error::new(
            ErrorKind::Unsupported,
            format!("{path} leads to {}, which is not text", target.display()),
        )
    })
}

/// The threads of a process, the main one first.
pub(crate) fn threads(pid: i32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task");
    let mut all: Vec<i32> = fs::read_dir(&path)
        .context(|| format!("read {path}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    all.sort_unstable();
    // Numbers wrap around: the main thread need not have the lowest.
    all.sort_by_key(|tid| *tid != pid);
    Ok(all)
}

/// The children of all threads of a process, ended ones included.
pub(crate) fn children(pid: i32) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for tid in threads(pid)? {
        let path = format!("/proc/{pid}/task/{tid}/children");
        // A thread that ended meanwhile has none.
        let Ok(list) = fs::read_to_string(&path) else {
            continue;
        };
        all.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    all.sort_unstable();
    Ok(all)
}

/// Whether the thread is gone or on its way: nobody can take hold of it then.
pub(crate) fn is_ending(pid: i32, tid: i32) -> bool {
    const PF_EXITING: u32 = 4;
    let Ok(stat) = text(&format!("/proc/{pid}/task/{tid}/stat")) else {
        return true;
    };
    let mut fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok());
    matches!(state, "Z" | "X") || flags.is_some_and(|flags| flags & PF_EXITING != 0)
}
