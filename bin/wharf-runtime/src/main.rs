//! The runtime's command line: `monitor` for the engine, the verbs of the OCI
//! runtime command line for everybody else.
//!
//! It links no TLS, HTTP or argument parser: it is started once per container
//! and stays beside it.

#![forbid(unsafe_code)]

mod exe_guard;
mod monitor_command;
mod oci_args;
mod oci_commands;
mod oci_console;
mod oci_spec;

use std::process::ExitCode;

fn main() -> ExitCode {
    let is_monitor = std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == "monitor");
    let guard = match exe_guard::protect() {
        Ok(guard) => guard,
        Err(error) => {
            oci_commands::report(None, &error);
            return ExitCode::FAILURE;
        }
    };
    if is_monitor {
        return match monitor_command::run(&guard) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                oci_commands::report(None, &error);
                ExitCode::FAILURE
            }
        };
    }
    match oci_commands::run() {
        (_, Ok(code)) => ExitCode::from(code),
        (global, Err(error)) => {
            oci_commands::report(global.as_ref(), &error);
            ExitCode::from(oci_commands::code_of(&error))
        }
    }
}
