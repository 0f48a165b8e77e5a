//! What no process of a container may exceed, for those who put processes
//! together themselves instead of executing programs.

use spec::runtime::{Linux, Spec};
use state::SeccompProfile;
use sys::caps::Caps;
use sys::seccomp::Instruction;
use sys::{Error, ErrorKind, Result};

use crate::create::filter_of;
use crate::init::labels;
use crate::sandbox::Identity;

/// The bounds that a specification sets.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// No capability outside of these, in any set.
    pub capabilities: Caps,
    pub no_new_privileges: bool,
    /// The user of the first process.
    pub uid: u32,
    /// The filter that every process has, with `SECCOMP_FILTER_FLAG_*`.
    pub filter: Option<(Vec<Instruction>, u64)>,
    /// The AppArmor profile that every process has.
    pub apparmor: Option<String>,
}

impl Bounds {
    /// Reads them from `spec`; `seccomp` counts if it has no filter of its own.
    pub fn of(spec: &Spec, seccomp: &SeccompProfile) -> Result<Self> {
        let process = spec.process.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "process is missing: nothing to run",
            )
        })?;
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let identity = Identity::plan(process, linux, sys::caps::permitted()?)?;
        let own = linux.seccomp.as_ref();
        let filter = filter_of(own, seccomp, &identity)?;
        Ok(Self {
            capabilities: identity.bounding & sys::caps::permitted()?,
            no_new_privileges: process.no_new_privileges,
            uid: process.user.uid,
            filter: filter.map(|filter| (filter.program, filter.flags)),
            apparmor: labels::confining(identity.labels).map(str::to_owned),
        })
    }
}
