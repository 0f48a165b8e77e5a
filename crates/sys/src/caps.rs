//! Capabilities by name and number (capabilities(7)).

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{Context as _, Error, ErrorKind, Result};

/// In the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities, one bit per number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps(pub u64);

impl Caps {
    pub const SETGID: Self = Self(1 << 6);
    pub const SETUID: Self = Self(1 << 7);
    pub const SYS_ADMIN: Self = Self(1 << 21);
    /// Every one that has a name.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// From names as `CAP_CHOWN`. `InvalidInput` names the unknown one.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        names.iter().try_fold(Self(0), |all, name| {
            let name = name.as_ref();
            let number = NAMES
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        format!("unknown capability {name}"),
                    )
                })?;
            Ok(Self(all.0 | 1 << number))
        })
    }

    /// From names, and those that this kernel interface does not know.
    pub fn from_known_names(names: &[String]) -> (Self, Vec<&str>) {
        let mut set = Self::default();
        let mut unknown = Vec::new();
        for name in names {
            match NAMES.iter().position(|known| known == name) {
                Some(number) => set.0 |= 1 << number,
                None => unknown.push(name.as_str()),
            }
        }
        (set, unknown)
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn has(self, name: &str) -> bool {
        NAMES
            .iter()
            .position(|known| *known == name)
            .is_some_and(|number| self.0 & (1 << number) != 0)
    }
}

impl std::ops::BitAnd for Caps {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Caps {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the calling thread may do now.
pub fn permitted() -> Result<Caps> {
    let sets = rustix::thread::capabilities(None).context(|| "read capabilities")?;
    Ok(Caps(sets.permitted.bits()))
}

/// Sets the thread's effective and permitted set; the inheritable set is
/// always emptied but for `inheritable`.
pub fn set(effective: Caps, permitted: Caps, inheritable: Caps) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective.0),
        permitted: CapabilitySet::from_bits_retain(permitted.0),
        inheritable: CapabilitySet::from_bits_retain(inheritable.0),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Drops what is not in `keep` from the bounding set, for good.
pub fn bound(keep: Caps) -> Result<()> {
    for number in 0..64_u32 {
        if keep.0 & (1 << number) != 0 {
            continue;
        }
        // SAFETY: prctl with plain numbers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, u64::from(number), 0, 0, 0) };
        if result != 0 {
            let error = std::io::Error::last_os_error();
            // Past the last capability that this kernel knows.
            if error.raw_os_error() == Some(libc::EINVAL) && number > 8 {
                break;
            }
            return Err(Error::from(error)).context(|| "limit the capability bounding set");
        }
    }
    Ok(())
}

/// Sets the ambient set; each must be permitted and inheritable.
pub fn set_ambient(caps: Caps) -> Result<()> {
    // SAFETY: prctl with plain numbers.
    let cleared = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    if cleared != 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    for number in (0..64_u64).filter(|number| caps.0 & (1 << number) != 0) {
        // SAFETY: as above.
        let raised = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                number,
                0,
                0,
            )
        };
        if raised != 0 {
            return Err(Error::from(std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(
            Caps::from_names(&["CAP_SYS_ADMIN"]).unwrap(),
            Caps::SYS_ADMIN
        );
        assert_eq!(
            Caps::from_names(&["CAP_CHECKPOINT_RESTORE"]).unwrap(),
            Caps(1 << 40)
        );
        assert!(Caps::from_names(&["SYS_ADMIN"]).is_err());
    }
}
