//! `wharf rmi`.

use engine::images::Force;
use sys::{Context as _, ErrorKind, Result};

use super::Call;
use super::each::each;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let force = if call.given.on("force") {
        Force::Yes
    } else {
        Force::No
    };
    let engine = call.engine()?;
    each(call, &call.given.texts("IMAGE"), |name| {
        let removed = match engine.images().remove(name, force) {
            Err(error) if force == Force::Yes && error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            removed => removed.context(|| format!("remove {name}"))?,
        };
        let untagged = removed
            .untagged
            .iter()
            .map(|name| format!("Untagged: {name}"));
        let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}"));
        let lines: Vec<String> = untagged.chain(deleted).collect();
        Ok((!lines.is_empty()).then(|| lines.join("\n")))
    })
}
