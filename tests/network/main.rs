//! Networks: the bridge, published ports, the other modes, the files about names.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod application;
mod attacks;
mod bridge;
mod firewall;
mod hardware;
mod modes;
mod names;
mod ports;
mod races;
mod user_defined;
