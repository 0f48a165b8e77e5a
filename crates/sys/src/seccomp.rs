//! Loading a system call filter (seccomp(2)).

use crate::{Error, ErrorKind, Result};

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// Filters the calling thread from now on; `flags` are
/// `SECCOMP_FILTER_FLAG_*`. Needs CAP_SYS_ADMIN or no_new_privs.
pub fn load(program: &[Instruction], flags: u64) -> Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.value,
        })
        .collect();
    let length = u16::try_from(filter.len())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "the seccomp filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program points to `len` live instructions; the kernel copies
    // and verifies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}
