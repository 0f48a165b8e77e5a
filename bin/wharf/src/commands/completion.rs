//! `wharf completion`: scripts made from the very definitions.

use clap_complete::Shell;
use sys::Result;

use super::{Call, DONE};
use crate::args::root::documented;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let shell = call.given.get_one::<Shell>("SHELL").copied();
    let mut script = Vec::new();
    let mut command = documented();
    clap_complete::generate(
        shell.unwrap_or(Shell::Bash),
        &mut command,
        "wharf",
        &mut script,
    );
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
