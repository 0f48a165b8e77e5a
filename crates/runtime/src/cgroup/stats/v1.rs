//! Version 1's files.

use std::path::Path;

use super::{
    BlockIo, BlockIoEntry, Cpu, CpuUsage, Memory, MemoryEntry, keyed, number, table, text,
};

/// `cpuacct.stat` counts in ticks of 1/100 s on every architecture of ours.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn memory(directory: &Path, memory: &mut Memory) {
    let entry = |prefix: &str| MemoryEntry {
        limit: number(directory, &format!("{prefix}.limit_in_bytes")),
        usage: number(directory, &format!("{prefix}.usage_in_bytes")),
        max: number(directory, &format!("{prefix}.max_usage_in_bytes")),
        failcnt: number(directory, &format!("{prefix}.failcnt")),
    };
    memory.usage = entry("memory");
    memory.swap = entry("memory.memsw");
    memory.kernel = entry("memory.kmem");
    memory.kernel_tcp = entry("memory.kmem.tcp");
    memory.raw = table(&text(directory, "memory.stat"));
    memory.cache = memory.raw.get("total_cache").copied().unwrap_or(0);
}

pub(super) fn usage(directory: &Path, usage: &mut CpuUsage) {
    usage.total = number(directory, "cpuacct.usage");
    usage.percpu = text(directory, "cpuacct.usage_percpu")
        .split_whitespace()
        .filter_map(|value| value.parse().ok())
        .collect();
    let ticks = text(directory, "cpuacct.stat");
    usage.user = keyed(&ticks, "user") * NANOSECONDS_PER_TICK;
    usage.kernel = keyed(&ticks, "system") * NANOSECONDS_PER_TICK;
}

pub(super) fn throttling(directory: &Path, cpu: &mut Cpu) {
    let stat = text(directory, "cpu.stat");
    cpu.throttling.periods = keyed(&stat, "nr_periods");
    cpu.throttling.throttled_periods = keyed(&stat, "nr_throttled");
    cpu.throttling.throttled_time = keyed(&stat, "throttled_time");
}

/// The files of BFQ know only what went through it; those of throttling know
/// everything.
pub(super) fn block_io(directory: &Path, block_io: &mut BlockIo) {
    let read = |files: [&str; 2]| {
        files
            .iter()
            .map(|file| entries(&text(directory, file)))
            .find(|entries| !entries.is_empty())
            .unwrap_or_default()
    };
    block_io.io_service_bytes_recursive = read([
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes_recursive",
    ]);
    block_io.io_serviced_recursive = read([
        "blkio.bfq.io_serviced_recursive",
        "blkio.throttle.io_serviced_recursive",
    ]);
}

/// Lines of `8:0 Read 4096`, and a last one of `Total 4096`.
fn entries(text: &str) -> Vec<BlockIoEntry> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (major, minor) = words.next()?.split_once(':')?;
            Some(BlockIoEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: words.next()?.to_owned(),
                value: words.next()?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_device_is_an_entry() {
        let all = entries("8:16 Read 100\n8:16 Write 0\nTotal 100\n");
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].minor, all[0].op.as_str(), all[0].value),
            (16, "Read", 100)
        );
    }
}
