//! Session keyrings: keyctl(2).

use std::ffi::CString;

use crate::{Error, ErrorKind, Result};

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;
/// Whoever possesses it may do all; its owner may look, link and, which is not
/// so by itself, search: that is what joining it by name takes. So may others
/// search, since inside a user namespace a joiner need not be the owner.
const PERMISSIONS: libc::c_ulong = 0x3f1b_0008;

/// Joins the session keyring called `name`, making it if there is none.
pub fn join_session(name: &str) -> Result<()> {
    let name = CString::new(name)
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "a keyring's name has a zero byte"))?;
    // SAFETY: the name is alive and ends with a zero.
    let key =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if key < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    // Who joined it later need not own it, and need not change it.
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, PERMISSIONS) };
    Ok(())
}
