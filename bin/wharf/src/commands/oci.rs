//! `wharf oci …` becomes `wharf-runtime …`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use sys::{Context as _, Result};

use super::Call;
use crate::args::Given as _;
use crate::environment;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let runtime = environment::programs()?.runtime;
    let error = Command::new(&runtime)
        .args(call.given.texts("COMMAND"))
        .exec();
    Err(error).context(|| format!("execute {}", runtime.display()))
}
