//! Chores of the project that are programs: `cargo xtask layers`, `cargo xtask flags`, `cargo xtask bench`, and `traffic`, which that uses.
//!
//! Not for installing packages or making images, which are scripts (`scripts/`). Nothing here links the product.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod bench;
mod flags;
mod layers;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("layers") => layers::check(),
        Some("flags") => flags::write(&arguments[1..]),
        Some("traffic") => traffic::run(&arguments[1..]),
        Some("bench") => bench::run(&arguments[1..]),
        _ => Err(
            "usage: cargo xtask layers | flags [--check] BINARY | bench [--quick] [--only run,exec,runtimes,many,network,images]".to_owned(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
