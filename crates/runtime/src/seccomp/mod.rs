//! System call filters: `profile` reads a profile, `default_profile` has the
//! built-in one, `compile` makes BPF of either. All pure; loading is
//! `sys::seccomp`.

mod compile;
mod default_profile;
mod profile;
mod syscalls;

pub(crate) use default_profile::builtin;
pub(crate) use profile::custom;
