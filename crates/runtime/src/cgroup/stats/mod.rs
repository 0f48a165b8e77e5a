//! What a cgroup uses now. Serialized it is the `data` of `runc events
//! --stats`, which shims and exporters parse; `rdma` is our addition.
//!
//! A file that is not there (no such controller, an older kernel) leaves its
//! part at zero or out: statistics are no reason to fail.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use sys::Result;

use super::handle::Cgroup;
use super::hierarchy::Version;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: BlockIo,
    /// By page size, as `2MB`.
    pub hugetlb: BTreeMap<String, Hugepages>,
    /// By device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    pub total: u64,
    /// By processor; version 1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// What it may use, in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Bytes of the page cache.
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, as version 1 counts.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`, word for word.
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Bytes; the largest number is "unlimited".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    pub usage: u64,
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    pub current: u64,
    /// Zero is "unlimited".
    pub limit: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlockIoEntry {
    pub major: u64,
    pub minor: u64,
    /// `Read`, `Write` and so on.
    pub op: String,
    /// Bytes or operations.
    pub value: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hugepages {
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rdma {
    pub hca_handle: u64,
    pub hca_object: u64,
}

/// How long tasks waited for a resource (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub some: Pressure,
    pub full: Pressure,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Percent of the last 10, 60, 300 seconds.
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

impl Cgroup {
    /// What it uses now.
    pub fn stats(&self) -> Result<Stats> {
        self.must_exist()?;
        let mut stats = Stats::default();
        let column = |controller: &str| self.directory_of(controller);
        match column("memory") {
            Some((Version::V1, directory)) => v1::memory(&directory, &mut stats.memory),
            Some((Version::V2, directory)) => v2::memory(&directory, &mut stats.memory),
            None => {}
        }
        match column("cpuacct") {
            Some((Version::V1, directory)) => v1::usage(&directory, &mut stats.cpu.usage),
            Some((Version::V2, directory)) => v2::usage(&directory, &mut stats.cpu.usage),
            None => {}
        }
        match column("cpu") {
            Some((Version::V1, directory)) => v1::throttling(&directory, &mut stats.cpu),
            Some((Version::V2, directory)) => v2::throttling(&directory, &mut stats.cpu),
            None => {}
        }
        match column("blkio") {
            Some((Version::V1, directory)) => v1::block_io(&directory, &mut stats.blkio),
            Some((Version::V2, directory)) => v2::block_io(&directory, &mut stats.blkio),
            None => {}
        }
        if let Some((version, directory)) = column("hugetlb") {
            stats.hugetlb = hugetlb(&directory, version);
        }
        if let Some((_, directory)) = column("pids") {
            stats.pids = Pids {
                current: number(&directory, "pids.current"),
                // Unlimited is a word, which is no number.
                limit: number(&directory, "pids.max"),
            };
        }
        if let Some((_, directory)) = column("cpuset") {
            stats.cpuset = cpuset(&directory);
        }
        if let Some((_, directory)) = column("rdma") {
            stats.rdma = rdma(&text(&directory, "rdma.current"));
        }
        self.pressure(&mut stats);
        Ok(stats)
    }

    /// Version 2 keeps it for every group, controllers or not.
    fn pressure(&self, stats: &mut Stats) {
        // No controller has this name: it is where version 2 is.
        let Some((Version::V2, directory)) = self.directory_of("cgroup") else {
            return;
        };
        stats.cpu.psi = psi(&text(&directory, "cpu.pressure"));
        stats.memory.psi = psi(&text(&directory, "memory.pressure"));
        stats.blkio.psi = psi(&text(&directory, "io.pressure"));
    }
}

fn hugetlb(directory: &Path, version: Version) -> BTreeMap<String, Hugepages> {
    let end = match version {
        Version::V1 => ".usage_in_bytes",
        Version::V2 => ".current",
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let sizes = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(end)?;
        (!size.contains('.')).then(|| size.to_owned())
    });
    sizes
        .map(|size| {
            let file = |rest: &str| format!("hugetlb.{size}.{rest}");
            let pages = match version {
                Version::V1 => Hugepages {
                    usage: number(directory, &file("usage_in_bytes")),
                    max: number(directory, &file("max_usage_in_bytes")),
                    failcnt: number(directory, &file("failcnt")),
                },
                Version::V2 => Hugepages {
                    usage: number(directory, &file("current")),
                    max: 0,
                    failcnt: keyed(&text(directory, &file("events")), "max"),
                },
            };
            (size, pages)
        })
        .collect()
}

fn cpuset(directory: &Path) -> CpuSet {
    let read = |unified: &str, legacy: &str| {
        let list = match text(directory, unified) {
            none if none.is_empty() => text(directory, legacy),
            list => list,
        };
        numbers(&list)
    };
    CpuSet {
        cpus: read("cpuset.cpus.effective", "cpuset.effective_cpus"),
        mems: read("cpuset.mems.effective", "cpuset.effective_mems"),
    }
}

/// `0-2,5`, as the kernel writes it.
fn numbers(list: &str) -> Vec<u16> {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

fn rdma(text: &str) -> BTreeMap<String, Rdma> {
    text.lines()
        .filter_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let value = |key: &str| {
                rest.split_whitespace()
                    .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
                    .unwrap_or(0)
            };
            let used = Rdma {
                hca_handle: value("hca_handle"),
                hca_object: value("hca_object"),
            };
            Some((device.to_owned(), used))
        })
        .collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with full.
fn psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let mut pressure = Pressure::default();
        for pair in rest.split(' ') {
            let (key, value) = pair.split_once('=')?;
            match key {
                "avg10" => pressure.avg10 = value.parse().ok()?,
                "avg60" => pressure.avg60 = value.parse().ok()?,
                "avg300" => pressure.avg300 = value.parse().ok()?,
                "total" => pressure.total = value.parse().ok()?,
                _ => {}
            }
        }
        match kind {
            "some" => psi.some = pressure,
            "full" => psi.full = pressure,
            _ => {}
        }
    }
    (!text.is_empty()).then_some(psi)
}

fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

fn number(directory: &Path, file: &str) -> u64 {
    text(directory, file).trim().parse().unwrap_or(0)
}

fn keyed(text: &str, key: &str) -> u64 {
    super::handle::value_of(text, key).unwrap_or(0)
}

/// Lines of `key number`.
fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert!(numbers("\n").is_empty());
        let used = rdma("mlx5_0 hca_handle=2 hca_object=2000\n");
        assert_eq!(used["mlx5_0"].hca_object, 2000);
        let psi = psi("some avg10=1.50 avg60=0.20 avg300=0.00 total=42\n\
                       full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
        .unwrap();
        assert!((psi.some.avg10 - 1.5).abs() < f64::EPSILON);
        assert_eq!((psi.some.total, psi.full.total), (42, 7));
        assert_eq!(super::psi(""), None);
    }
}
