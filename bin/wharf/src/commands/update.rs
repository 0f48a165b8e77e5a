//! `wharf update`.

use engine::containers::snapshot::Running;
use engine::{UpdateRequest, parse};
use sys::{Context as _, Error, ErrorKind, Result};

use super::Call;
use super::each::each;
use crate::args::Given as _;
use crate::args::run::limits;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let request = UpdateRequest {
        resources: limits(call.given)?,
        restart: call.given.text("restart").map(parse::restart).transpose()?,
    };
    if request == UpdateRequest::default() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "nothing to change: name a limit or a restart policy",
        ));
    }
    let engine = call.engine()?;
    let snapshot = call.given.on("snapshot");
    each(call, &call.given.texts("CONTAINER"), |name| {
        if snapshot {
            let taken = engine.containers().snapshot(name, None, Running::Refuse);
            taken.context(|| format!("snapshot of {name}"))?;
        }
        let updated = engine.containers().update(name, &request);
        updated.context(|| format!("update {name}"))?;
        Ok(Some(name.to_owned()))
    })
}
