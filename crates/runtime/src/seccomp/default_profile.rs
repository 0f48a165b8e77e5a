//! The built-in profile: what Docker's allows. Of the calls that the table
//! knows those listed here are refused unless a capability brings them back;
//! calls newer than the table do not exist.

use std::collections::BTreeMap;

use sys::Result;
use sys::caps::Caps;
use sys::seccomp::Instruction;

use super::compile::{ALLOW, Condition, KILL_PROCESS, Rule, Table, Test, compile, errno};
use super::profile::{AARCH64, ENOSYS, EPERM, I386, X32_BIT, X86_64, number};
use super::syscalls::SYSCALLS;

/// Not separate for each container, obsolete, or a way to much kernel code
/// that programs hardly need.
const NEVER: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "bdflush",
    "break",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "ftime",
    "get_kernel_syms",
    "getpmsg",
    "gtty",
    "idle",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lock",
    "lsm_set_self_attr",
    "migrate_pages",
    "move_pages",
    "mpx",
    "nfsservctl",
    "pivot_root",
    "prof",
    "profil",
    "putpmsg",
    "query_module",
    "request_key",
    "security",
    "stty",
    "swapoff",
    "swapon",
    "sysfs",
    "tuxcall",
    "ulimit",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// Refused without the capability (any of them).
const WITH: &[(&[&str], &[&str])] = &[
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (&["CAP_SYS_ADMIN", "CAP_SYSLOG"], &["syslog"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (
        &["CAP_SYS_NICE"],
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (
        &["CAP_SYS_PTRACE"],
        &["kcmp", "pidfd_getfd", "process_madvise"],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (
        &["CAP_SYS_TIME"],
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
];

/// Flags of clone(2) that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;
/// Sockets to the hypervisor, which no namespace separates.
const AF_VSOCK: u64 = 40;
/// The bits of personality(2) that only make programs look at another
/// machine: PER_LINUX32 and UNAME26.
const HARMLESS_PERSONALITY: u64 = 0x2_0008;
/// Asks personality(2) without changing it.
const QUERY: u64 = 0xffff_ffff;

/// The filter for a process with these capabilities in its bounding set.
// The same shape as `custom`, which can fail.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn builtin(caps: Caps) -> Result<Vec<Instruction>> {
    let tables: &[(u32, u32)] = if cfg!(target_arch = "aarch64") {
        &[(AARCH64, 0)]
    } else {
        &[(X86_64, X32_BIT), (I386, 0)]
    };
    let tables: Vec<Table> = tables
        .iter()
        .map(|(architecture, ignored)| table(*architecture, *ignored, caps))
        .collect();
    Ok(compile(&tables, KILL_PROCESS))
}

fn table(architecture: u32, ignored_bits: u32, caps: Caps) -> Table {
    let mut refused: Vec<&str> = NEVER.to_vec();
    for (needed, names) in WITH {
        if !needed.iter().any(|name| caps.has(name)) {
            refused.extend(*names);
        }
    }
    refused.sort_unstable();
    let mut calls: BTreeMap<u32, Vec<Rule>> = SYSCALLS
        .iter()
        .filter(|row| refused.binary_search(&row.0).is_err())
        .filter_map(|row| Some((number(row, architecture)?, special(row.0, caps))))
        .collect();
    let known = calls.keys().next_back().map_or(0, |last| last + 1);
    // A number below that which no call has does not exist either way; with
    // the answer of its neighbours it costs no comparison.
    let taken: std::collections::BTreeSet<u32> = SYSCALLS
        .iter()
        .filter_map(|row| number(row, architecture))
        .collect();
    for hole in (0..known).filter(|number| !taken.contains(number)) {
        calls.entry(hole).or_insert_with(|| vec![always(ALLOW)]);
    }
    Table {
        architecture,
        ignored_bits,
        calls,
        otherwise: errno(EPERM),
        unknown_from: known,
        unknown: errno(ENOSYS),
    }
}

fn special(name: &str, caps: Caps) -> Vec<Rule> {
    let is_admin = caps.contains(Caps::SYS_ADMIN);
    match name {
        "clone" if !is_admin => vec![when(
            0,
            Test::MaskedEqual {
                mask: NAMESPACES,
                value: 0,
            },
        )],
        // Its flags are behind a pointer; programs fall back to clone.
        "clone3" if !is_admin => vec![always(errno(ENOSYS))],
        "personality" => vec![
            when(
                0,
                Test::MaskedEqual {
                    mask: !HARMLESS_PERSONALITY,
                    value: 0,
                },
            ),
            when(0, Test::Equal(QUERY)),
        ],
        "socket" => vec![when(0, Test::NotEqual(AF_VSOCK))],
        _ => vec![always(ALLOW)],
    }
}

fn always(answer: u32) -> Rule {
    Rule {
        conditions: Vec::new(),
        answer,
    }
}

fn when(index: u8, test: Test) -> Rule {
    Rule {
        conditions: vec![Condition { index, test }],
        answer: ALLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known() {
        let named = WITH.iter().flat_map(|(_, names)| *names).chain(NEVER);
        for name in named {
            assert!(
                SYSCALLS.binary_search_by_key(name, |row| row.0).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn stays_short_because_loading_costs_by_length() {
        let lengths = [Caps::default(), Caps(u64::MAX)].map(|caps| builtin(caps).unwrap().len());
        assert!(lengths[0] < 240 && lengths[1] < 160, "{lengths:?}");
    }
}
