//! `wharf clone`.

use engine::containers::{CloneNames, CloneRequest};
use sys::{Context as _, Error, ErrorKind, Result};

use super::suspend::DumpBar;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let container = given.text("CONTAINER").unwrap_or_default();
    let request = request(call)?;
    let engine = call.engine()?;
    let progress = DumpBar::new("Writing");
    let made = engine
        .containers()
        .clone_container(container, &request, &|at| progress.at(at));
    progress.clear();
    let ids = made.context(|| format!("clone {container}"))?;
    let lines: String = ids.iter().map(|id| id.to_string() + "\n").collect();
    output::print(&lines)?;
    Ok(DONE)
}

fn request(call: &Call<'_>) -> Result<CloneRequest> {
    let given = call.given;
    let count = given.text("COUNT").unwrap_or("1");
    let names = match (given.text("name"), given.text("name-prefix")) {
        (None, None) => CloneNames::Random,
        (Some(name), None) => CloneNames::One(name.parse()?),
        (None, Some(prefix)) => CloneNames::Prefix(prefix.parse()?),
        (Some(_), Some(_)) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "--name is for one clone and --name-prefix for several: choose one of them",
            ));
        }
    };
    let ports = given
        .texts("publish")
        .into_iter()
        .map(str::parse)
        .collect::<Result<Vec<_>>>()?;
    Ok(CloneRequest {
        count: count.parse().map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the number of clones is a number, not {count:?}"),
            )
        })?,
        names,
        ports: (!ports.is_empty()).then_some(ports),
        hostname: given.text("hostname").map(str::to_owned),
        auto_remove: given.on("rm"),
        hook: given.text("hook").map(str::to_owned),
        keep: given
            .text("keep-template")
            .map(|name| match name {
                "" => format!("{}-template", given.text("CONTAINER").unwrap_or_default()).parse(),
                name => name.parse(),
            })
            .transpose()?,
    })
}
