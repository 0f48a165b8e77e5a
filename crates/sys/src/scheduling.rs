//! How a process is scheduled: policy, I/O priority, processors, memory nodes,
//! execution domain. Each acts on the calling thread and is inherited.

use crate::{Error, ErrorKind, Result};

/// A scheduling policy by its kernel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy(u32);

/// Names and numbers of linux/sched.h.
pub const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// Flags of sched_setattr(2).
pub const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

impl Policy {
    pub const DEADLINE: Self = Self(6);

    /// From `SCHED_FIFO` and its kin.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = POLICIES.iter().find(|(known, _)| *known == name)?;
        Some(Self(known.1))
    }

    /// Whether it takes a priority (SCHED_FIFO, SCHED_RR).
    pub fn is_real_time(self) -> bool {
        matches!(self.0, 1 | 2)
    }
}

/// sched_setattr(2); times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    pub policy: Policy,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// `struct sched_attr` in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets policy and parameters of the calling thread.
pub fn set(scheduling: &Scheduling) -> Result<()> {
    let attributes = Attributes {
        size: u32::try_from(std::mem::size_of::<Attributes>()).unwrap_or_default(),
        policy: scheduling.policy.0,
        flags: scheduling.flags,
        nice: scheduling.nice,
        priority: scheduling.priority,
        runtime: scheduling.runtime,
        deadline: scheduling.deadline,
        period: scheduling.period,
    };
    // SAFETY: the structure is alive and says its own size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(result)
}

/// Classes of ioprio_set(2).
pub const IO_CLASSES: [(&str, u16); 3] = [
    ("IOPRIO_CLASS_RT", 1),
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
];

/// Sets the I/O priority (`class` as in [`IO_CLASSES`], `level` 0 to 7).
pub fn set_io_priority(class: u16, level: u8) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: plain numbers; who 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) })
}

/// A set of processors or memory nodes, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet(Vec<u64>);

impl NumberSet {
    /// More than any kernel has processors or nodes.
    const LIMIT: u32 = 8192;

    /// From a list as `0-3,7` (cpuset(7)). `InvalidInput` says what is wrong.
    pub fn parse(list: &str) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidInput, why);
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|number| *number < Self::LIMIT && text.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| invalid(format!("{text:?} in {list:?} is no number below 8192")))
        };
        let mut set = Self::default();
        for part in list.trim().split(',') {
            let part = part.trim();
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(invalid(format!("{part:?} in {list:?} is upside down")));
            }
            for number in first..=last {
                set.insert(number as usize);
            }
        }
        Ok(set)
    }

    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }
}

/// Lets the calling thread run on these processors only.
pub fn set_affinity(processors: &NumberSet) -> Result<()> {
    // SAFETY: the mask is alive and as long as said; 0 is the calling thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            processors.0.len() * 8,
            processors.0.as_ptr(),
        )
    };
    check(result)
}

/// The processors that the calling thread may run on.
pub fn affinity() -> Result<NumberSet> {
    let mut words = vec![0_u64; NumberSet::LIMIT as usize / 64];
    // SAFETY: the mask is alive and as long as said; 0 is the calling thread.
    let bytes = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            words.len() * 8,
            words.as_mut_ptr(),
        )
    };
    check(bytes)?;
    words.truncate(usize::try_from(bytes).unwrap_or_default() / 8);
    Ok(NumberSet(words))
}

/// Modes of set_mempolicy(2).
pub const MEMORY_MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Flags of set_mempolicy(2), to be added to a mode.
pub const MEMORY_FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// Where the calling thread's memory comes from.
pub fn set_memory_policy(mode: i32, nodes: &NumberSet) -> Result<()> {
    // The kernel takes one bit less than it is told.
    let bits = match nodes.0.len() {
        0 => 0,
        words => words * 64 + 1,
    };
    // SAFETY: the mask is alive and holds as many bits as the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.0.as_ptr(), bits) })
}

/// Sets the execution domain: `PER_LINUX` 0, `PER_LINUX32` 8.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: plain number.
    match unsafe { libc::personality(libc::c_ulong::from(domain)) } {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        _ => Ok(()),
    }
}

fn check(result: libc::c_long) -> Result<()> {
    match result {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_strictly() {
        assert_eq!(NumberSet::parse("0-3,7").unwrap().0, [0x8f]);
        assert_eq!(NumberSet::parse("64\n").unwrap().0, [0, 1]);
        for list in ["", "3-1", "a", "+1", "1,,2", "8192", "-1", "1-"] {
            assert!(NumberSet::parse(list).is_err(), "{list:?}");
        }
    }
}
