//! `wharf inspect`: containers, images, volumes and networks, in the shape of Docker's JSON.

use engine::Engine;
use serde_json::Value;
use sys::{ErrorKind, Result};

use super::{Call, DONE, FAILED};
use crate::args::Given as _;
use crate::{errors, output};

/// What a name may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Container,
    Image,
    Volume,
    Network,
}

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let kind = match call.given.text("type") {
        Some("container") => Kind::Container,
        Some("image") => Kind::Image,
        Some("volume") => Kind::Volume,
        Some("network") => Kind::Network,
        _ => Kind::Any,
    };
    inspect(call, kind)
}

pub(super) fn containers(call: &Call<'_>) -> Result<u8> {
    inspect(call, Kind::Container)
}

pub(super) fn networks(call: &Call<'_>) -> Result<u8> {
    inspect(call, Kind::Network)
}

pub(super) fn volumes(call: &Call<'_>) -> Result<u8> {
    inspect(call, Kind::Volume)
}

pub(super) fn images(call: &Call<'_>) -> Result<u8> {
    inspect(call, Kind::Image)
}

fn inspect(call: &Call<'_>, kind: Kind) -> Result<u8> {
    let engine = call.engine()?;
    let mut objects = Vec::new();
    let mut failures = Vec::new();
    for name in call.given.texts("NAME") {
        match find(&engine, name, kind, call) {
            Ok(object) => objects.push(object),
            Err(error) => failures.push(error),
        }
    }
    // What was found is shown, also if something else was not.
    if failures.is_empty() || !objects.is_empty() || call.given.text("format").is_none() {
        output::print(&output::inspected(&objects, call.given.text("format"))?)?;
    }
    for failure in &failures {
        output::note(&errors::message(failure, call.global.debug));
    }
    Ok(if failures.is_empty() { DONE } else { FAILED })
}

fn find(engine: &Engine, name: &str, kind: Kind, call: &Call<'_>) -> Result<Value> {
    let container = || {
        let found = engine.containers().inspect(name)?;
        let mut value = output::value_of(&found)?;
        let has_flag = call.given.try_contains_id("size").is_ok();
        if has_flag
            && call.given.on("size")
            && let Value::Object(map) = &mut value
        {
            let (own, whole) = engine.containers().sizes(name)?;
            map.insert("SizeRw".to_owned(), own.into());
            map.insert("SizeRootFs".to_owned(), whole.into());
        }
        Ok(value)
    };
    let image = || {
        let found = engine.images().inspect(name)?;
        output::value_of(&found)
    };
    let network = || {
        let found = engine.networks().inspect(name)?;
        output::value_of(&found)
    };
    let volume = || {
        let found = engine.volumes().inspect(name)?;
        output::value_of(&found)
    };
    match kind {
        Kind::Container => container(),
        Kind::Image => image(),
        Kind::Volume => volume(),
        Kind::Network => network(),
        Kind::Any => {
            let looks: [&dyn Fn() -> Result<Value>; 4] = [&container, &image, &volume, &network];
            for look in looks {
                match look() {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    other => return other,
                }
            }
            Err(sys::Error::new(
                ErrorKind::NotFound,
                format!("no such container, image, volume or network: {name}"),
            ))
        }
    }
}
