//! The runtime's command line: `monitor`, `template`, `dump` and `difference` for the engine, the verbs of the OCI
//! runtime command line for everybody else.
//!
//! It links no TLS, HTTP or argument parser: it is started once per container
//! and stays beside it.

#![forbid(unsafe_code)]
// Tests bring a main of their own.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code))]

mod difference_command;
mod dump_command;
mod exe_guard;
mod monitor_command;
mod oci;
mod resolver_command;
mod template_command;

use std::ffi::CStr;

const FAILURE: u8 = 1;

#[cfg(not(test))]
sys::entry!(run);

fn run() -> u8 {
    let is_verb = |name: &CStr| sys::entry::arguments().nth(1) == Some(name);
    // It may start us again: there is no use in preparing twice.
    let guard = exe_guard::protect();
    sys::entry::prepare();
    let guard = match guard {
        Ok(guard) => guard,
        Err(error) => {
            oci::report(None, &error);
            return FAILURE;
        }
    };
    let done = if is_verb(c"monitor") {
        monitor_command::run(&guard)
    } else if is_verb(c"template") {
        template_command::run(&guard)
    } else if is_verb(c"resolver") {
        resolver_command::run()
    } else if is_verb(c"dump") {
        dump_command::run()
    } else if is_verb(c"difference") {
        difference_command::run()
    } else {
        return oci::run();
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            oci::report(None, &error);
            FAILURE
        }
    }
}
