//! The device filter of a cgroup v2 group: an eBPF program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux 4.15).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::{Context as _, Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

/// What is done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    pub const NONE: Self = Self(0);
    pub const MAKE: Self = Self(1);
    pub const READ: Self = Self(2);
    pub const WRITE: Self = Self(4);
    pub const ALL: Self = Self(7);

    /// As `rwm`.
    pub fn letters(self) -> String {
        [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MAKE, 'm')]
            .iter()
            .filter(|(access, _)| self.0 & access.0 != 0)
            .map(|(_, letter)| *letter)
            .collect()
    }
}

impl std::ops::BitOr for Access {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub kind: Option<DeviceKind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// Enforces `rules` on the group whose directory is `cgroup`: the last rule
/// that matches decides, no match denies. The filter goes with the group. With
/// a filter that is there already, both have to allow.
pub fn attach(cgroup: impl AsFd, rules: &[Rule]) -> Result<()> {
    let program = load(&compile(rules)).context(|| "load the device filter")?;
    change(BPF_PROG_ATTACH, cgroup.as_fd(), program.as_fd())
}

/// As [`attach`], in place of the filters that are there. In between both the
/// old and the new one are in force.
pub fn replace(cgroup: impl AsFd, rules: &[Rule]) -> Result<()> {
    let cgroup = cgroup.as_fd();
    let old = attached(cgroup).context(|| "find the device filter in force")?;
    attach(cgroup, rules)?;
    for id in old {
        let program = program_of(id).context(|| "open the old device filter")?;
        change(BPF_PROG_DETACH, cgroup, program.as_fd())
            .context(|| "take away the old device filter")?;
    }
    Ok(())
}

/// More than anybody attaches to one group.
const MOST_FILTERS: usize = 64;

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_DETACH: i32 = 9;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_PROG_QUERY: i32 = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

fn change(command: i32, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: if command == BPF_PROG_ATTACH {
            BPF_F_ALLOW_MULTI
        } else {
            0
        },
        replace_bpf_fd: 0,
    };
    bpf(command, &mut attributes).map(|_| ())
}

/// Ids of the filters on this group itself.
fn attached(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST_FILTERS];
    let mut attributes = QueryAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).unwrap_or(0),
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    ids.truncate(attributes.prog_cnt as usize);
    Ok(ids)
}

fn program_of(id: u32) -> Result<OwnedFd> {
    let mut attributes = IdAttributes {
        id,
        next: 0,
        flags: 0,
    };
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: a fresh descriptor; the kernel opens it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One of the beginnings of `union bpf_attr`.
///
/// # Safety
/// What it points to has to be alive, and as large as it says.
unsafe trait Attributes {}

// SAFETY: they point to nothing.
unsafe impl Attributes for AttachAttributes {}
// SAFETY: as above.
unsafe impl Attributes for IdAttributes {}
// SAFETY: `attached` lets it point to as many numbers as it tells.
unsafe impl Attributes for QueryAttributes {}
// SAFETY: `load` lets it point to its instructions and a constant.
unsafe impl Attributes for LoadAttributes {}

/// bpf(2).
fn bpf<T: Attributes>(command: i32, attributes: &mut T) -> Result<i32> {
    // SAFETY: the structure is the beginning of bpf_attr for its command, its
    // size is given, and what it points to is as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            std::mem::size_of::<T>(),
        )
    };
    match result {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        result => Ok(i32::try_from(result).unwrap_or(-1)),
    }
}

#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct QueryAttributes {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
struct IdAttributes {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// An instruction as the kernel reads it: code, registers, offset, value.
type Instruction = u64;

fn instruction(code: u8, registers: u8, offset: u16, value: u32) -> Instruction {
    u64::from(code) | u64::from(registers) << 8 | u64::from(offset) << 16 | u64::from(value) << 32
}

/// R1 points to `struct bpf_cgroup_dev_ctx { access_type, major, minor }`,
/// access_type being kind in the low and access in the high 16 bits.
fn compile(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE_VALUE: u8 = 0xb7;
    const MOVE_REGISTER_32: u8 = 0xbc;
    const AND_VALUE_32: u8 = 0x54;
    const SHIFT_RIGHT_32: u8 = 0x74;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    let mut program = vec![
        // r2 = kind, r3 = access, r4 = major, r5 = minor
        instruction(LOAD_WORD, 0x12, 0, 0),
        instruction(MOVE_REGISTER_32, 0x23, 0, 0),
        instruction(AND_VALUE_32, 0x02, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, 0x03, 0, 16),
        instruction(LOAD_WORD, 0x14, 4, 0),
        instruction(LOAD_WORD, 0x15, 8, 0),
    ];
    for rule in rules.iter().rev() {
        // (register, value) that have to be equal, then the access test.
        let mut tests: Vec<(u8, u32)> = Vec::new();
        if let Some(kind) = rule.kind {
            tests.push((2, if kind == DeviceKind::Block { 1 } else { 2 }));
        }
        tests.extend(rule.major.map(|major| (4, major)));
        tests.extend(rule.minor.map(|minor| (5, minor)));
        // r6 = r3 & !access for an allowing rule: all that is asked must be
        // allowed; r6 = r3 & access for a denying one: any is enough.
        let (mask, code) = if rule.allow {
            (!rule.access.0 & 7, JUMP_NOT_EQUAL)
        } else {
            (rule.access.0, 0x15)
        };
        let mut body = vec![
            instruction(MOVE_REGISTER_32, 0x36, 0, 0),
            instruction(AND_VALUE_32, 0x06, 0, mask),
            instruction(code, 0x06, 2, 0),
            instruction(MOVE_VALUE, 0x00, 0, u32::from(rule.allow)),
            instruction(EXIT, 0, 0, 0),
        ];
        for (register, value) in tests.into_iter().rev() {
            let skip = u16::try_from(body.len()).unwrap_or(u16::MAX);
            body.insert(0, instruction(JUMP_NOT_EQUAL, register, skip, value));
        }
        program.extend(body);
    }
    program.push(instruction(MOVE_VALUE, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0));
    program
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let mut attributes = LoadAttributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attributes)?;
    // SAFETY: a fresh descriptor; the kernel opens it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's verifier is the judge; needs root.
    #[test]
    fn the_kernel_accepts_the_filter() {
        let rules = [
            Rule {
                allow: false,
                kind: None,
                major: Some(8),
                minor: None,
                access: Access::WRITE,
            },
            Rule {
                allow: true,
                kind: Some(DeviceKind::Character),
                major: Some(1),
                minor: Some(3),
                access: Access::ALL,
            },
        ];
        if rustix::process::geteuid().is_root() {
            load(&compile(&rules)).unwrap();
            load(&compile(&[])).unwrap();
        }
    }
}
