//! The kernel, made safe.
//!
//! One file per kernel interface, each with safe signatures over owned and
//! borrowed descriptors. This is the only crate of the project that may hold
//! `unsafe` code; every block says why it is sound.
//!
//! Not here: any idea of a container, an image or a network. A function that
//! would need such a word belongs to a higher crate.
//!
//! Start reading at [`error`], which every crate uses, then at the interface
//! you need.

pub mod bpf_device;
pub mod caps;
pub mod clone;
pub mod entry;
pub mod error;
pub mod exe;
pub mod heap;
pub mod inherited;
pub mod inotify;
pub mod kcmp;
pub mod keyring;
pub mod landlock;
pub mod loopback;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod overlay;
pub mod pagemap;
pub mod path;
pub mod process;
pub mod process_vm;
pub mod ptrace;
pub mod pty;
pub mod quota;
pub mod region;
pub mod rlimit;
pub mod scheduling;
pub mod seccomp;
pub mod signalfd;
pub mod socket;
pub mod spawn;
pub mod spent;
pub mod userfaultfd;
pub mod view;
pub mod writeback;

pub use error::{Context, Error, ErrorKind, Errors, Result};
