//! The OCI runtime specification, each MUST that concerns a Linux runtime: what a container finds inside, and what is
//! refused with the field's name. docs/oci-spec.md says which test stands for which field.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod devices;
mod hooks;
mod landlock;
mod lifecycle;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod seccomp;
