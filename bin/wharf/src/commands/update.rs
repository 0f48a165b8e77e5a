//! `wharf update` and `wharf recreate`.

use std::path::PathBuf;

use engine::containers::snapshot::Running;
use engine::{UpdateRequest, Waits, parse};
use sys::{Context as _, Error, ErrorKind, Result};

use super::Call;
use super::each::each;
use crate::args::Given as _;
use crate::args::run::{environment_of, limits, mounts};
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let request = request(call)?;
    if request == UpdateRequest::default() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "nothing to change: name a limit, a restart policy, a variable, a port or a mount",
        ));
    }
    let engine = call.engine()?;
    let snapshot = call.given.on("snapshot");
    each(call, &call.given.texts("CONTAINER"), |name| {
        if snapshot {
            let taken = engine.containers().snapshot(name, None, Running::GoOn);
            taken.context(|| format!("snapshot of {name}"))?;
        }
        let updated = engine.containers().update(name, &request);
        for waits in updated.context(|| format!("update {name}"))? {
            let again = format!("when it is started again (wharf restart {name})");
            output::note(&match waits {
                Waits::Environment => format!("the environment of {name} changes {again}"),
                Waits::Mounts(why) => format!("mounts of {name} change {again}: {why}"),
            });
        }
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn recreate(call: &Call<'_>) -> Result<u8> {
    let request = request(call)?;
    let engine = call.engine()?;
    let snapshot = call.given.on("snapshot");
    each(call, &call.given.texts("CONTAINER"), |name| {
        let made = engine.containers().recreate(name, &request, snapshot);
        made.context(|| format!("recreate {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

fn request(call: &Call<'_>) -> Result<UpdateRequest> {
    let given = call.given;
    let mut env: Vec<String> = given
        .texts("unsetenv")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if let Some(wrong) = env
        .iter()
        .find(|name| name.is_empty() || name.contains('='))
    {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("--unsetenv takes a name, not {wrong:?}"),
        ));
    }
    env.extend(environment_of(given)?);
    Ok(UpdateRequest {
        resources: limits(given)?,
        restart: given.text("restart").map(parse::restart).transpose()?,
        env,
        publish: given
            .texts("publish")
            .into_iter()
            .map(str::parse)
            .collect::<Result<_>>()?,
        unpublish: given
            .texts("unpublish")
            .into_iter()
            .map(parse::expose)
            .collect::<Result<_>>()?,
        mounts: mounts(given)?,
        unmount: given
            .texts("unmount")
            .into_iter()
            .map(PathBuf::from)
            .collect(),
    })
}
