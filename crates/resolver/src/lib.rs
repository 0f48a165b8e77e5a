//! The resolver of a network: answers for the names of its containers, asks
//! others about the rest.
//!
//! One process per network, one thread. Who is on the network is read from
//! the leases (`<root>/leases/<network>/<address>`), which the engine writes
//! and inotify(7) tells of; nothing else has to be kept in step. Who asks is
//! known by the address, which the guard of the bridge vouches for. Whatever
//! arrives is hostile: it is parsed in [`message`] with every length checked,
//! and all that a client can make us keep is bounded.
//!
//! Start reading at [`server`]; what is decided is in `answer.rs`.

#![forbid(unsafe_code)]

mod answer;
pub mod message;
pub mod server;
mod streams;
mod table;
mod upstream;

pub use server::serve;
