//! `wharf logout`.

use sys::{Context as _, Result};

use super::login::server;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let server = server(call.given.text("SERVER"));
    let known = call
        .engine()?
        .images()
        .logout(&server)
        .context(|| format!("log out from {server}"))?;
    output::print_line(&if known {
        format!("Removing login credentials for {server}")
    } else {
        format!("Not logged in to {server}")
    })?;
    Ok(DONE)
}
