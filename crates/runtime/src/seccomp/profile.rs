//! A profile in the specification's form (config-linux.md, "Seccomp").

use std::collections::BTreeMap;

use spec::runtime::{Seccomp, SeccompArg};
use sys::seccomp::Instruction;
use sys::{Error, ErrorKind, Result};

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

/// Compiles a user's profile; the flags are `SECCOMP_FILTER_FLAG_*`.
pub(crate) fn custom(profile: &Seccomp) -> Result<(Vec<Instruction>, u64)> {
    if profile.listener_path.is_some() {
        return Err(unsupported("listenerPath"));
    }
    let otherwise = answer(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::new();
    for rule in &profile.syscalls {
        let answer = answer(&rule.action, rule.errno_ret)?;
        let conditions = rule
            .args
            .iter()
            .map(condition)
            .collect::<Result<Vec<_>>>()?;
        rules.push((&rule.names, Rule { conditions, answer }));
    }
    let tables = architectures(profile)?
        .into_iter()
        .map(|(architecture, ignored_bits)| {
            let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
            for (names, rule) in &rules {
                // Names that this kernel or architecture lacks mean nothing.
                for number in names.iter().filter_map(|name| lookup(name, architecture)) {
                    calls.entry(number).or_default().push(rule.clone());
                }
            }
            let above = calls.keys().next_back().map_or(0, |last| last + 1);
            Table {
                architecture,
                ignored_bits,
                calls,
                otherwise,
                unknown_from: if refuses(otherwise) { above } else { u32::MAX },
                // A program that is told "no such call" falls back to an older
                // one; "not permitted" it takes for a failure.
                unknown: if refuses(otherwise) {
                    errno(ENOSYS)
                } else {
                    otherwise
                },
            }
        })
        .collect::<Vec<_>>();
    Ok((compile(&tables, KILL_PROCESS), flags(profile)?))
}

fn lookup(name: &str, architecture: u32) -> Option<u32> {
    let row = SYSCALLS
        .binary_search_by_key(&name, |row| row.0)
        .ok()
        .and_then(|index| SYSCALLS.get(index))?;
    number(row, architecture)
}

fn refuses(answer: Answer) -> bool {
    answer & 0xffff_0000 == errno(0) || answer == KILL_PROCESS || answer == 0
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
            "SCMP_ARCH_X86_64" | "SCMP_ARCH_NATIVE" => {}
            // Those of another kind of machine never run here.
            "SCMP_ARCH_X86" if all[0].0 == X86_64 => all.push((I386, 0)),
            "SCMP_ARCH_X32" if all[0].0 == X86_64 => all[0].1 = X32_BIT,
            name if name.starts_with("SCMP_ARCH_") => {}
            name => return Err(invalid(format!("unknown architecture {name:?}"))),
        }
    }
    all.dedup();
    Ok(all)
}

fn flags(profile: &Seccomp) -> Result<u64> {
    profile.flags.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                // One thread is in sync with itself.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => 2,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
                name => return Err(unsupported(&format!("flag {name}"))),
            })
    })
}

fn answer(action: &str, number: Option<u32>) -> Result<Answer> {
    Ok(match action {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => errno(number.unwrap_or(EPERM)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | (number.unwrap_or(EPERM) & 0xffff),
        "SCMP_ACT_NOTIFY" => return Err(unsupported("action SCMP_ACT_NOTIFY")),
        other => return Err(invalid(format!("unknown action {other:?}"))),
    })
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

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{what} is not supported yet"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(SYSCALLS.is_sorted_by(|one, two| one.0 < two.0));
        assert_eq!(lookup("mount", X86_64), Some(165));
        assert_eq!(lookup("mount", I386), Some(21));
        assert_eq!(lookup("mount", AARCH64), Some(40));
    }

    #[test]
    fn refuses_what_it_cannot_enforce() {
        let profile = |action: &str| Seccomp {
            default_action: action.to_owned(),
            ..Seccomp::default()
        };
        assert!(custom(&profile("SCMP_ACT_ALLOW")).is_ok());
        assert!(custom(&profile("SCMP_ACT_NOTIFY")).is_err());
        assert!(custom(&profile("allow")).is_err());
    }
}
