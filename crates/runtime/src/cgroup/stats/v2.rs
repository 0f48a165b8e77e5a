//! Version 2's files.

use std::path::Path;

use super::{
    BlockIo, BlockIoEntry, Cpu, CpuUsage, Memory, MemoryEntry, keyed, number, table, text,
};

/// What runc calls them, bytes and operations.
const BYTES: [(&str, &str); 3] = [
    ("rbytes", "Read"),
    ("wbytes", "Write"),
    ("dbytes", "Discard"),
];
const OPERATIONS: [(&str, &str); 3] = [("rios", "Read"), ("wios", "Write"), ("dios", "Discard")];

pub(super) fn memory(directory: &Path, memory: &mut Memory) {
    let events = text(directory, "memory.events");
    let swap_events = text(directory, "memory.swap.events");
    memory.raw = table(&text(directory, "memory.stat"));
    let raw = |key: &str| memory.raw.get(key).copied().unwrap_or(0);
    memory.cache = raw("file");
    memory.kernel.usage = raw("kernel");
    memory.kernel_tcp.usage = raw("sock");
    memory.usage = MemoryEntry {
        limit: limit(directory, "memory.max"),
        usage: number(directory, "memory.current"),
        max: number(directory, "memory.peak"),
        failcnt: keyed(&events, "max"),
    };
    // Version 2 counts swap apart; together is what readers expect.
    memory.swap = MemoryEntry {
        limit: memory
            .usage
            .limit
            .saturating_add(limit(directory, "memory.swap.max")),
        usage: memory.usage.usage + number(directory, "memory.swap.current"),
        max: 0,
        failcnt: keyed(&swap_events, "max"),
    };
}

pub(super) fn usage(directory: &Path, usage: &mut CpuUsage) {
    let stat = text(directory, "cpu.stat");
    let nanoseconds = |key: &str| keyed(&stat, key).saturating_mul(1000);
    usage.total = nanoseconds("usage_usec");
    usage.user = nanoseconds("user_usec");
    usage.kernel = nanoseconds("system_usec");
}

pub(super) fn throttling(directory: &Path, cpu: &mut Cpu) {
    let stat = text(directory, "cpu.stat");
    cpu.throttling.periods = keyed(&stat, "nr_periods");
    cpu.throttling.throttled_periods = keyed(&stat, "nr_throttled");
    cpu.throttling.throttled_time = keyed(&stat, "throttled_usec").saturating_mul(1000);
}

pub(super) fn block_io(directory: &Path, block_io: &mut BlockIo) {
    let stat = text(directory, "io.stat");
    block_io.io_service_bytes_recursive = entries(&stat, BYTES);
    block_io.io_serviced_recursive = entries(&stat, OPERATIONS);
}

/// A missing file is "unlimited", which is the largest number.
fn limit(directory: &Path, file: &str) -> u64 {
    text(directory, file).trim().parse().unwrap_or(u64::MAX)
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 …`.
fn entries(text: &str, names: [(&str, &str); 3]) -> Vec<BlockIoEntry> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|name| name.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let op = names.iter().find(|(name, _)| *name == key);
            if let (Some((_, op)), Ok(value)) = (op, value.parse()) {
                all.push(BlockIoEntry {
                    major,
                    minor,
                    op: (*op).to_owned(),
                    value,
                });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_operations_of_a_device() {
        let stat = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n";
        let bytes = entries(stat, BYTES);
        let seen: Vec<_> = bytes
            .iter()
            .map(|one| (one.op.as_str(), one.value))
            .collect();
        assert_eq!(seen, [("Read", 10), ("Write", 20), ("Discard", 0)]);
        assert_eq!(entries(stat, OPERATIONS)[1].value, 2);
    }
}
