//! What a cgroup uses, read from its files; what cannot be read is absent.

use std::fs;

use sys::Result;

use super::{Hierarchies, Version, relative};

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, without the cache that could be dropped at once.
    pub memory: Option<u64>,
    /// Bytes; none if unlimited.
    pub memory_limit: Option<u64>,
    /// Nanoseconds of processor time, since it was made.
    pub cpu_nanos: Option<u64>,
    /// Bytes read from block devices.
    pub read: Option<u64>,
    /// Bytes written to block devices.
    pub written: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Hierarchies {
    /// What the cgroup `path` uses.
    pub(crate) fn usage(&self, path: &str) -> Result<Usage> {
        let relative = relative(path)?;
        let read = |controller: &str, one: &str, two: &str| -> Option<String> {
            let (root, version) = self.locate(controller)?;
            let file = if version == Version::One { one } else { two };
            fs::read_to_string(root.join(relative).join(file)).ok()
        };
        let number = |controller: &str, one: &str, two: &str| -> Option<u64> {
            read(controller, one, two)?.trim().parse().ok()
        };
        let cache = read("memory", "memory.stat", "memory.stat").and_then(|text| {
            value_of(&text, "total_inactive_file").or_else(|| value_of(&text, "inactive_file"))
        });
        let memory = number("memory", "memory.usage_in_bytes", "memory.current");
        let (read_bytes, written) = self.block_io(&read);
        Ok(Usage {
            memory: memory.map(|memory| memory.saturating_sub(cache.unwrap_or(0))),
            // Version 1 says "unlimited" with a huge number.
            memory_limit: number("memory", "memory.limit_in_bytes", "memory.max")
                .filter(|limit| *limit < 1 << 62),
            cpu_nanos: self.cpu(&read),
            read: read_bytes,
            written,
            pids: number("pids", "pids.current", "pids.current"),
        })
    }

    fn cpu(&self, read: &dyn Fn(&str, &str, &str) -> Option<String>) -> Option<u64> {
        let (_, version) = self.locate("cpuacct")?;
        let text = read("cpuacct", "cpuacct.usage", "cpu.stat")?;
        match version {
            Version::One => text.trim().parse().ok(),
            Version::Two => value_of(&text, "usage_usec").map(|micros| micros.saturating_mul(1000)),
        }
    }

    fn block_io(
        &self,
        read: &dyn Fn(&str, &str, &str) -> Option<String>,
    ) -> (Option<u64>, Option<u64>) {
        let file = "blkio.throttle.io_service_bytes_recursive";
        match self.locate("blkio") {
            Some((_, Version::One)) => match read("blkio", file, "") {
                Some(text) => (
                    Some(legacy_sum(&text, "Read")),
                    Some(legacy_sum(&text, "Write")),
                ),
                None => (None, None),
            },
            Some((_, Version::Two)) => match read("blkio", "", "io.stat") {
                Some(text) => (
                    Some(unified_sum(&text, "rbytes=")),
                    Some(unified_sum(&text, "wbytes=")),
                ),
                None => (None, None),
            },
            None => (None, None),
        }
    }
}

/// The number after `key` in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Over all devices: `8:0 Read 4096`.
fn legacy_sum(text: &str, word: &str) -> u64 {
    let numbers = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next() == Some(word)).then(|| words.next()?.parse::<u64>().ok())?
    });
    numbers.fold(0, u64::saturating_add)
}

/// Over all devices: `8:0 rbytes=4096 wbytes=0 …`.
fn unified_sum(text: &str, prefix: &str) -> u64 {
    let numbers = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(prefix)?.parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_devices() {
        let legacy = "8:0 Read 4096\n8:0 Write 1\n8:16 Read 4\n8:0 Total 5000\nTotal 9000\n";
        assert_eq!(legacy_sum(legacy, "Read"), 4100);
        assert_eq!(legacy_sum(legacy, "Write"), 1);
        let unified = "8:0 rbytes=10 wbytes=2 rios=1\n8:16 rbytes=5 wbytes=0\n";
        assert_eq!(unified_sum(unified, "rbytes="), 15);
        assert_eq!(unified_sum("", "wbytes="), 0);
        assert_eq!(value_of("a 1\nusage_usec 7\n", "usage_usec"), Some(7));
    }
}
