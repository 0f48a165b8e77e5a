//! The runtime's command line: `monitor` and `dump` for the engine, the verbs of the OCI
//! runtime command line for everybody else.
//!
//! It links no TLS, HTTP or argument parser: it is started once per container
//! and stays beside it.

#![forbid(unsafe_code)]
// Tests bring a main of their own.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod dump_command;
mod exe_guard;
mod monitor_command;
mod oci;

const FAILURE: u8 = 1;

#[cfg(not(test))]
sys::entry!(run);

fn run() -> u8 {
    let verb = std::env::args_os().nth(1);
    let is_verb = |name: &str| verb.as_ref().is_some_and(|verb| verb == name);
    let guard = match exe_guard::protect() {
        Ok(guard) => guard,
        Err(error) => {
            oci::report(None, &error);
            return FAILURE;
        }
    };
    if is_verb("monitor") || is_verb("dump") {
        let done = if is_verb("monitor") {
            monitor_command::run(&guard)
        } else {
            dump_command::run()
        };
        return match done {
            Ok(()) => 0,
            Err(error) => {
                oci::report(None, &error);
                FAILURE
            }
        };
    }
    oci::run()
}
