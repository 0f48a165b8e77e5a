//! System call filters: `profile` reads a profile, `default_profile` has the
//! built-in one, `compile` makes BPF of either. All pure; loading is
//! `sys::seccomp`, and `notify` hands over what a
//! profile that asks somebody needs.

mod compile;
mod default_profile;
pub(crate) mod notify;
#[cfg(test)]
mod peer;
mod profile;
mod syscalls;

pub(crate) use default_profile::builtin;
pub(crate) use profile::{ACTIONS, ENFORCED, FLAGS, OPERATORS, custom};
