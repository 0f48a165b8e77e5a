//! A profile in the specification's form (config-linux.md, "Seccomp").

use std::collections::BTreeMap;

use spec::runtime::{Seccomp, SeccompArg, SyscallRule};
use sys::seccomp::Instruction;
use sys::{Context as _, Error, ErrorKind, Result};

use super::compile::{ALLOW, Answer, Condition, KILL_PROCESS, Rule, Table, Test, compile, errno};
use super::syscalls::{Row, SYSCALLS};

/// `AUDIT_ARCH_*` of linux/audit.h.
pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const I386: u32 = 0x4000_0003;
pub(super) const AARCH64: u32 = 0xc000_00b7;
/// Set in the numbers of x32 calls.
pub(super) const X32_BIT: u32 = 0x4000_0000;
pub(super) const EPERM: u32 = 1;
pub(super) const ENOSYS: u32 = 38;

/// The number of a call on an architecture.
pub(super) fn number(row: &Row, architecture: u32) -> Option<u32> {
    let number = match architecture {
        X86_64 => row.1,
        I386 => row.2,
        _ => row.3,
    };
    u32::try_from(number).ok()
}

/// A user's profile, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: u64,
    /// Whether it asks somebody (`SCMP_ACT_NOTIFY`).
    pub(crate) notifies: bool,
}

/// Compiles a user's profile, or says which field cannot be honoured.
pub(crate) fn custom(profile: &Seccomp) -> Result<Compiled> {
    let otherwise = answer(&profile.default_action, profile.default_errno_ret)
        .context(|| "linux.seccomp.defaultAction")?;
    let rules = rules(&profile.syscalls)?;
    let notifies = rules.iter().any(|(_, rule)| rule.answer == NOTIFY);
    check_listener(profile, otherwise, notifies)?;
    let tables = architectures(profile)?
        .into_iter()
        .map(|(architecture, ignored_bits)| table(architecture, ignored_bits, otherwise, &rules))
        .collect::<Vec<_>>();
    Ok(Compiled {
        program: compile(&tables, KILL_PROCESS),
        flags: flags(profile, notifies)?,
        notifies,
    })
}

type NamedRule<'a> = (&'a [String], Rule);

fn rules(asked: &[SyscallRule]) -> Result<Vec<NamedRule<'_>>> {
    let mut rules = Vec::new();
    for (index, rule) in asked.iter().enumerate() {
        let field = || format!("linux.seccomp.syscalls[{index}]");
        if rule.names.is_empty() {
            return Err(invalid("names is empty".to_owned())).context(field);
        }
        let answer = answer(&rule.action, rule.errno_ret).context(field)?;
        let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>>>();
        let conditions = conditions.context(field)?;
        let names = rule.names.as_slice();
        // Several tests of one argument are alternatives, by the tradition of
        // the other runtimes; tests of different ones have to hold together.
        let mut indexes: Vec<u8> = conditions.iter().map(|one| one.index).collect();
        indexes.sort_unstable();
        if indexes.windows(2).any(|pair| pair[0] == pair[1]) {
            rules.extend(conditions.into_iter().map(|condition| {
                let conditions = vec![condition];
                (names, Rule { conditions, answer })
            }));
        } else {
            rules.push((names, Rule { conditions, answer }));
        }
    }
    Ok(rules)
}

fn check_listener(profile: &Seccomp, otherwise: Answer, notifies: bool) -> Result<()> {
    let refuse = |why: &str| Err(invalid(format!("linux.seccomp{why}")));
    if profile.listener_metadata.is_some() && profile.listener_path.is_none() {
        return refuse(".listenerMetadata means nothing without listenerPath");
    }
    if otherwise == NOTIFY {
        return refuse(
            ".defaultAction: SCMP_ACT_NOTIFY would ask about the very calls that hand the \
             listener over; use it for named system calls",
        );
    }
    if notifies && profile.listener_path.is_none() {
        return refuse(".listenerPath is missing: SCMP_ACT_NOTIFY needs somebody to ask");
    }
    Ok(())
}

fn table(
    architecture: u32,
    ignored_bits: u32,
    otherwise: Answer,
    rules: &[NamedRule<'_>],
) -> Table {
    let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    let mut above = 0;
    for (names, rule) in rules {
        // Names that this kernel or architecture lacks mean nothing.
        for name in *names {
            if let Some(number) = lookup(name, architecture) {
                calls.entry(number).or_default().push(rule.clone());
                above = above.max(number + 1);
            }
            // Calls that x32 has a second number for.
            if ignored_bits == X32_BIT
                && let Some(place) = X32.iter().position(|known| known == name)
            {
                let number = X32_FIRST + u32::try_from(place).unwrap_or_default();
                calls.entry(number).or_default().push(rule.clone());
            }
        }
    }
    // A program that is told "no such call" falls back to an older one; "not
    // permitted" it takes for a failure.
    let (unknown_from, unknown) = if refuses(otherwise) {
        (above, errno(ENOSYS))
    } else if architecture == X86_64 && ignored_bits == 0 {
        // Every call has a second number here, which no rule speaks of.
        (X32_BIT, errno(ENOSYS))
    } else {
        (u32::MAX, otherwise)
    };
    Table {
        architecture,
        ignored_bits,
        calls,
        otherwise,
        unknown_from,
        unknown,
    }
}

fn lookup(name: &str, architecture: u32) -> Option<u32> {
    let row = SYSCALLS
        .binary_search_by_key(&name, |row| row.0)
        .ok()
        .and_then(|index| SYSCALLS.get(index))?;
    number(row, architecture)
}

fn refuses(answer: Answer) -> bool {
    answer & 0xffff_0000 == errno(0) || answer == KILL_PROCESS || answer == KILL_THREAD
}

/// Architectures with the number bits to ignore; ours alone if none is named.
fn architectures(profile: &Seccomp) -> Result<Vec<(u32, u32)>> {
    let mut all: Vec<(u32, u32)> = vec![if cfg!(target_arch = "aarch64") {
        (AARCH64, 0)
    } else {
        (X86_64, 0)
    }];
    for name in &profile.architectures {
        match name.as_str() {
            "SCMP_ARCH_X86" if all[0].0 == X86_64 => {
                if !all.contains(&(I386, 0)) {
                    all.push((I386, 0));
                }
            }
            "SCMP_ARCH_X32" if all[0].0 == X86_64 => all[0].1 = X32_BIT,
            // Those of another kind of machine never run here.
            name if ARCHITECTURES.contains(&name) || name == "SCMP_ARCH_NATIVE" => {}
            name => {
                return Err(invalid(format!(
                    "linux.seccomp.architectures: unknown value {name:?}"
                )));
            }
        }
    }
    Ok(all)
}

fn flags(profile: &Seccomp, notifies: bool) -> Result<u64> {
    let mut flags = 0;
    for name in &profile.flags {
        let known = FLAGS.iter().find(|(known, _)| known == name);
        let (_, flag) =
            known.ok_or_else(|| invalid(format!("linux.seccomp.flags: unknown value {name:?}")))?;
        if *flag == WAIT_KILLABLE_RECV && !notifies {
            return Err(invalid(format!(
                "linux.seccomp.flags: {name} means nothing without SCMP_ACT_NOTIFY"
            )));
        }
        flags |= flag;
    }
    Ok(flags)
}

fn answer(action: &str, number: Option<u32>) -> Result<Answer> {
    let known = ACTIONS.iter().find(|(known, _)| *known == action);
    let (_, answer) = known.ok_or_else(|| invalid(format!("unknown action {action:?}")))?;
    match number {
        _ if !matches!(*answer, ERRNO | TRACE) => match number {
            None => Ok(*answer),
            Some(_) => Err(invalid(format!("{action} takes no errnoRet"))),
        },
        Some(number) if number > MOST_ERRNO && *answer == ERRNO => Err(invalid(format!(
            "errnoRet {number} is above {MOST_ERRNO}, the last that a program can see"
        ))),
        Some(number) if number > 0xffff => {
            Err(invalid(format!("errnoRet {number} is above 65535")))
        }
        number => Ok(answer | number.unwrap_or(EPERM)),
    }
}

fn condition(arg: &SeccompArg) -> Result<Condition> {
    let index = u8::try_from(arg.index)
        .ok()
        .filter(|index| *index < 6)
        .ok_or_else(|| invalid(format!("argument index {} is above 5", arg.index)))?;
    let test = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Test::Equal(arg.value),
        "SCMP_CMP_NE" => Test::NotEqual(arg.value),
        "SCMP_CMP_GT" => Test::Greater(arg.value),
        "SCMP_CMP_GE" => Test::GreaterOrEqual(arg.value),
        "SCMP_CMP_LT" => Test::Less(arg.value),
        "SCMP_CMP_LE" => Test::LessOrEqual(arg.value),
        "SCMP_CMP_MASKED_EQ" => Test::MaskedEqual {
            mask: arg.value,
            value: arg.value_two,
        },
        other => return Err(invalid(format!("unknown operator {other:?}"))),
    };
    Ok(Condition { index, test })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

const KILL_THREAD: Answer = 0;
const ERRNO: Answer = errno(0);
const TRACE: Answer = 0x7ff0_0000;
const NOTIFY: Answer = 0x7fc0_0000;
/// Larger numbers the kernel cuts down to this.
const MOST_ERRNO: u32 = 4095;

/// Names of the specification and what the kernel calls them.
pub(crate) const ACTIONS: [(&str, Answer); 9] = [
    ("SCMP_ACT_ALLOW", ALLOW),
    ("SCMP_ACT_ERRNO", ERRNO),
    ("SCMP_ACT_KILL", KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", KILL_THREAD),
    ("SCMP_ACT_LOG", 0x7ffc_0000),
    ("SCMP_ACT_NOTIFY", NOTIFY),
    ("SCMP_ACT_TRACE", TRACE),
    ("SCMP_ACT_TRAP", 0x0003_0000),
];

pub(crate) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const WAIT_KILLABLE_RECV: u64 = 1 << 5;

pub(crate) const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    // One thread is in sync with itself.
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];

/// Architectures whose calls can be told apart here, for `features`.
pub(crate) const ENFORCED: &[&str] = if cfg!(target_arch = "aarch64") {
    &["SCMP_ARCH_AARCH64"]
} else {
    &["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]
};

/// All that the specification knows.
const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// The numbers of calls that x32 does not share with x86-64 begin here.
const X32_FIRST: u32 = 512;

/// Those calls, in the order of their numbers.
#[rustfmt::skip]
const X32: [&str; 36] = [
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg", "execve", "ptrace",
    "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack", "timer_create", "mq_notify", "kexec_load",
    "waitid", "set_robust_list", "get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev",
    "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg", "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt",
    "io_setup", "io_submit", "execveat", "preadv2", "pwritev2",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::compile::tests::run;

    #[test]
    fn the_table_can_be_searched() {
        assert!(SYSCALLS.is_sorted_by(|one, two| one.0 < two.0));
        assert_eq!(lookup("mount", X86_64), Some(165));
        assert_eq!(lookup("mount", I386), Some(21));
        assert_eq!(lookup("mount", AARCH64), Some(40));
    }

    fn profile(action: &str) -> Seccomp {
        Seccomp {
            default_action: action.to_owned(),
            ..Seccomp::default()
        }
    }

    fn rule(names: &[&str], action: &str, args: &[(u32, u64)]) -> SyscallRule {
        SyscallRule {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            action: action.to_owned(),
            errno_ret: None,
            args: args
                .iter()
                .map(|(index, value)| SeccompArg {
                    index: *index,
                    value: *value,
                    value_two: 0,
                    op: "SCMP_CMP_EQ".to_owned(),
                })
                .collect(),
        }
    }

    fn decide(profile: &Seccomp, number: u32, first: u64) -> Answer {
        let program = custom(profile).unwrap().program;
        run(&program, X86_64, number, &[first, 0, 0, 0, 0, 0])
    }

    #[test]
    fn refuses_what_it_cannot_enforce() {
        assert!(custom(&profile("SCMP_ACT_ALLOW")).is_ok());
        assert!(custom(&profile("SCMP_ACT_NOTIFY")).is_err());
        assert!(custom(&profile("allow")).is_err());
        let with = |change: &dyn Fn(&mut Seccomp)| {
            let mut profile = profile("SCMP_ACT_ALLOW");
            change(&mut profile);
            custom(&profile).map(|_| ())
        };
        assert!(with(&|p| p.default_errno_ret = Some(1)).is_err());
        assert!(with(&|p| p.listener_metadata = Some("x".into())).is_err());
        assert!(with(&|p| p.flags = vec!["SECCOMP_FILTER_FLAG_NEW".into()]).is_err());
        assert!(with(&|p| p.flags = vec![FLAGS[3].0.into()]).is_err());
        assert!(with(&|p| p.architectures = vec!["SCMP_ARCH_VAX".into()]).is_err());
        assert!(with(&|p| p.syscalls = vec![rule(&[], "SCMP_ACT_LOG", &[])]).is_err());
        let asks = rule(&["mount"], "SCMP_ACT_NOTIFY", &[]);
        assert!(with(&|p| p.syscalls = vec![asks.clone()]).is_err());
        assert!(
            with(&|p| {
                p.syscalls = vec![asks.clone()];
                p.listener_path = Some("/agent".into());
                p.flags = vec![FLAGS[3].0.into()];
            })
            .is_ok()
        );
    }

    #[test]
    fn second_numbers_are_no_way_around() {
        let mut profile = profile("SCMP_ACT_ALLOW");
        profile.syscalls = vec![rule(&["ptrace", "mount"], "SCMP_ACT_ERRNO", &[])];
        let (mount, ptrace) = (165, 521);
        assert_eq!(decide(&profile, mount, 0), errno(EPERM));
        assert_eq!(decide(&profile, mount | X32_BIT, 0), errno(ENOSYS));
        assert_eq!(decide(&profile, ptrace | X32_BIT, 0), errno(ENOSYS));
        profile.architectures = vec!["SCMP_ARCH_X32".into()];
        assert_eq!(decide(&profile, mount | X32_BIT, 0), errno(EPERM));
        assert_eq!(decide(&profile, ptrace | X32_BIT, 0), errno(EPERM));
        assert_eq!(decide(&profile, 0, 0), ALLOW);
        // What is newer than the profile is still told from what it refuses.
        profile.default_action = "SCMP_ACT_ERRNO".into();
        profile.syscalls = vec![rule(&["ptrace", "read"], "SCMP_ACT_ALLOW", &[])];
        assert_eq!(decide(&profile, ptrace | X32_BIT, 0), ALLOW);
        assert_eq!(decide(&profile, 500, 0), errno(ENOSYS));
        assert_eq!(decide(&profile, 1, 0), errno(EPERM));
    }

    #[test]
    fn several_tests_of_one_argument_are_alternatives() {
        let mut profile = profile("SCMP_ACT_ERRNO");
        profile.syscalls = vec![rule(&["socket"], "SCMP_ACT_ALLOW", &[(0, 1), (0, 2)])];
        assert_eq!(
            [1, 2, 3].map(|first| decide(&profile, 41, first)),
            [ALLOW, ALLOW, errno(EPERM)]
        );
        profile.syscalls = vec![rule(&["socket"], "SCMP_ACT_ALLOW", &[(0, 1), (1, 7)])];
        assert_eq!(decide(&profile, 41, 1), errno(EPERM));
    }
}
