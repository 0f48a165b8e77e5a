//! Resource limits by name (getrlimit(2)).

use crate::{Error, ErrorKind, Result};

/// A limit by its kernel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource(u32);

/// In the order of their numbers on x86-64 and aarch64.
const NAMES: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// How a limit was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    AsAsked,
    /// Beyond our own hard limit, which we may not raise.
    Clamped(Limit),
}

impl Resource {
    /// From `RLIMIT_NOFILE` and its kin.
    pub fn from_name(name: &str) -> Result<Self> {
        let number = NAMES.iter().position(|known| *known == name);
        number
            .and_then(|number| u32::try_from(number).ok())
            .map(Self)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("unknown limit {name}")))
    }
}

/// Sets a limit of the calling process; without the right to raise a hard
/// limit it is set to the most that is allowed.
pub fn set(resource: Resource, limit: Limit) -> Result<Outcome> {
    match try_set(resource, limit) {
        Ok(()) => Ok(Outcome::AsAsked),
        Err(error) if error.errno() == Some(libc::EPERM) => {
            let now = get(resource)?;
            let hard = limit.hard.min(now.hard);
            let clamped = Limit {
                soft: limit.soft.min(hard),
                hard,
            };
            try_set(resource, clamped)?;
            Ok(Outcome::Clamped(clamped))
        }
        Err(error) => Err(error),
    }
}

fn try_set(resource: Resource, limit: Limit) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: the structure is alive; pid 0 is ourselves; no old value wanted.
    let result = unsafe { libc::prlimit64(0, resource.0, &raw const limit, std::ptr::null_mut()) };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

fn get(resource: Resource) -> Result<Limit> {
    let mut now = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is alive; nothing is set.
    let result = unsafe { libc::prlimit64(0, resource.0, std::ptr::null(), &raw mut now) };
    match result {
        0 => Ok(Limit {
            soft: now.rlim_cur,
            hard: now.rlim_max,
        }),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}
