//! The product: containers, images, volumes.
//!
//! [`Engine::open`] gives a handle on a store; the collections hang off it
//! ([`Engine::containers`], [`Engine::images`], [`Engine::volumes`]) and one
//! method is one verb. Requests are typed and come from [`parse`] or are
//! built by hand; nothing is kept in memory between two calls: the files
//! under [`state::Layout`] are the truth, so any number of processes may use
//! one store at once.
//!
//! Not here: anything that the kernel does to a process. The engine writes a
//! [`state::MonitorJob`] and starts `wharf-runtime monitor` with it. And
//! nothing is printed here, no environment variable is read.
//!
//! Start reading at [`engine`], then [`containers`], then
//! `containers/start.rs`. `docs/lifecycle.md` tells what is written when and
//! what a crash leaves.

#![forbid(unsafe_code)]

pub mod config;
pub mod containers;
pub mod engine;
pub mod images;
pub mod parse;

pub use config::{Config, Settings};
pub use containers::request::{
    AttachRequest, CommitCompression, CommitRequest, ConfinementRequest, ExecRequest, LogsRequest,
    NetworkRequest, ProcessRequest, PullPolicy, RemoveRequest, RunRequest, SeccompRequest,
    StopRequest, Streams,
};
pub use containers::{Containers, CreateEvent, Created};
pub use engine::{Engine, Info, Repaired};
