//! The loop beside each container, and beside each process added to one.
//!
//! It is the parent of what it watches: it holds the pty or the pipes, keeps
//! the log, serves the clients, starts again what the restart policy says, and
//! writes down the exit. It knows the runtime below it, and of the engine
//! nothing but the job that it was given and the command to run at the end.
//!
//! One thread, one poll loop, no async runtime; what is to be decided is a
//! pure function. Start reading at [`transition`] (what can happen), then
//! at [`run`] (the loop). `docs/monitor.md` has the pictures.

#![forbid(unsafe_code)]

mod checkup;
mod control;
mod exit;
pub mod health;
mod live;
pub mod log;
mod perform;
mod run;
mod settle;
mod stdio;
mod suspend;
mod task;
pub mod transition;

pub use run::run;
