//! Acts on several things: all are tried, each failure is told.

use sys::Result;

use super::{Call, DONE, FAILED};
use crate::{errors, output};

/// Does `act` for each name and prints what it gives (a line); the exit code
/// says whether all went well.
pub(crate) fn each(
    call: &Call<'_>,
    names: &[&str],
    act: impl Fn(&str) -> Result<Option<String>>,
) -> Result<u8> {
    let mut code = DONE;
    for name in names {
        match act(name) {
            Ok(Some(line)) => output::print_line(&line)?,
            Ok(None) => {}
            Err(error) => {
                output::note(&errors::message(&error, call.global.debug));
                code = FAILED;
            }
        }
    }
    Ok(code)
}
