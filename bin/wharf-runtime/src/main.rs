//! The runtime's command line: `monitor` for the engine, the verbs of the OCI
//! runtime command line for everybody else.
//!
//! It links no TLS, HTTP or argument parser: it is started once per container
//! and stays beside it.

#![forbid(unsafe_code)]

mod exe_guard;
mod monitor_command;

use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args_os().nth(1);
    let result = match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some("monitor") => exe_guard::protect().and_then(|guard| monitor_command::run(&guard)),
        _ => Err(sys::Error::new(
            sys::ErrorKind::InvalidInput,
            "usage: wharf-runtime monitor",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // The command line is where printing belongs.
fn report(error: &sys::Error) {
    eprintln!("wharf-runtime: {error}");
}
