//! The runtime's command line: `monitor` for the engine, the verbs of the OCI
//! runtime command line for everybody else.
//!
//! It links no TLS, HTTP or argument parser: it is started once per container
//! and stays beside it.

#![forbid(unsafe_code)]
// Tests bring a main of their own.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod exe_guard;
mod monitor_command;
mod oci;

const FAILURE: u8 = 1;

#[cfg(not(test))]
sys::entry!(run);

fn run() -> u8 {
    let is_monitor = std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == "monitor");
    let guard = match exe_guard::protect() {
        Ok(guard) => guard,
        Err(error) => {
            oci::report(None, &error);
            return FAILURE;
        }
    };
    if is_monitor {
        return match monitor_command::run(&guard) {
            Ok(()) => 0,
            Err(error) => {
                oci::report(None, &error);
                FAILURE
            }
        };
    }
    oci::run()
}
