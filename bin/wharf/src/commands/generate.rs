//! `wharf generate`.

use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::yaml::yaml;

pub(super) fn systemd(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let unit = call
        .engine()?
        .containers()
        .generate_systemd(name)
        .context(|| format!("generate a unit for {name}"))?;
    output::print(&unit)?;
    Ok(DONE)
}

pub(super) fn kube(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let pod = call
        .engine()?
        .containers()
        .generate_kube(name)
        .context(|| format!("generate a pod for {name}"))?;
    output::print(&yaml(&pod))?;
    Ok(DONE)
}
