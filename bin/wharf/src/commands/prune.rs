//! `wharf container prune` and its kin.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use engine::containers::PrunedContainers;
use engine::images::{Prune, Removed};
use engine::volumes::PruneVolumes;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::{self, human};

pub(super) fn containers(call: &Call<'_>) -> Result<u8> {
    let filters = call.filters()?;
    if !may(call, "This will remove all containers that do not run.")? {
        return Ok(DONE);
    }
    let pruned = call.engine()?.containers().prune(&filters)?;
    let mut text = containers_gone(&pruned);
    text.push_str(&reclaimed(pruned.freed));
    output::print(&text)?;
    Ok(DONE)
}

pub(super) fn images(call: &Call<'_>) -> Result<u8> {
    let filters = call.filters()?;
    let (which, warning) = if call.given.on("all") {
        (
            Prune::Unused,
            "This will remove all images that no container uses.",
        )
    } else {
        (
            Prune::Dangling,
            "This will remove all images without a name.",
        )
    };
    if !may(call, warning)? {
        return Ok(DONE);
    }
    let removed = call.engine()?.images().prune(which, &filters)?;
    let text = images_gone(&removed) + &reclaimed(removed.freed.bytes);
    output::print(&text)?;
    Ok(DONE)
}

pub(super) fn system(call: &Call<'_>) -> Result<u8> {
    let filters = call.filters()?;
    let (all, volumes) = (call.given.on("all"), call.given.on("volumes"));
    let warning = format!(
        "This will remove:\n  - all containers that do not run\n  - all networks that no container has\n  - all images {}{}\n",
        if all {
            "that no container uses"
        } else {
            "without a name"
        },
        if volumes {
            "\n  - all anonymous volumes that no container has"
        } else {
            ""
        },
    );
    if !may(call, &warning)? {
        return Ok(DONE);
    }
    let engine = call.engine()?;
    let containers = engine.containers().prune(&filters)?;
    let mut text = containers_gone(&containers);
    let mut freed = containers.freed;
    text += &networks_gone(&engine.networks().prune(&filters)?);
    if volumes {
        let (names, bytes) = engine.volumes().prune(PruneVolumes::Anonymous, &[])?;
        text += &volumes_gone(&names);
        freed += bytes;
    }
    let which = if all { Prune::Unused } else { Prune::Dangling };
    let removed = engine.images().prune(which, &filters)?;
    text += &images_gone(&removed);
    output::print(&(text + &reclaimed(freed + removed.freed.bytes)))?;
    Ok(DONE)
}

/// `wharf system reset`.
pub(super) fn reset(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let root = engine.layout().root().display();
    let warning = format!(
        "This will remove everything in {root}: all containers, running ones too, with their volumes, \
         all checkpoints, templates, networks, volumes and images."
    );
    if !may(call, &warning)? {
        return Ok(DONE);
    }
    let gone = engine.reset()?;
    let mut text = String::new();
    for (count, one, many) in [
        (gone.containers, "container", "containers"),
        (gone.checkpoints, "checkpoint", "checkpoints"),
        (gone.templates, "template", "templates"),
        (gone.networks, "network", "networks"),
        (gone.volumes, "volume", "volumes"),
        (gone.images, "image", "images"),
    ] {
        if count > 0 {
            let noun = if count == 1 { one } else { many };
            let _ = writeln!(text, "removed {count} {noun}");
        }
    }
    if text.is_empty() {
        text.push_str("there was nothing\n");
    }
    output::print(&text)?;
    Ok(DONE)
}

pub(super) fn volumes(call: &Call<'_>) -> Result<u8> {
    let mut which = if call.given.on("all") {
        PruneVolumes::All
    } else {
        PruneVolumes::Anonymous
    };
    let mut filters = Vec::new();
    for text in call.given.texts("filter") {
        match text {
            // As Docker spells it for its API.
            "all=1" | "all=true" => which = PruneVolumes::All,
            "all=0" | "all=false" => which = PruneVolumes::Anonymous,
            text => filters.push(text.parse()?),
        }
    }
    let warning = match which {
        PruneVolumes::All => "This will remove all volumes that no container has.",
        PruneVolumes::Anonymous => "This will remove anonymous volumes that no container has.",
    };
    if !may(call, warning)? {
        return Ok(DONE);
    }
    let (names, bytes) = call.engine()?.volumes().prune(which, &filters)?;
    output::print(&(volumes_gone(&names) + &reclaimed(bytes)))?;
    Ok(DONE)
}

pub(super) fn networks(call: &Call<'_>) -> Result<u8> {
    let filters = call.filters()?;
    if !may(call, "This will remove all networks that no container has.")? {
        return Ok(DONE);
    }
    let names = call.engine()?.networks().prune(&filters)?;
    output::print(&networks_gone(&names))?;
    Ok(DONE)
}

/// `Deleted Networks:` and what went.
fn networks_gone(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("Deleted Networks:\n{}\n\n", names.join("\n"))
}

/// `Deleted Volumes:` and what went.
fn volumes_gone(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("Deleted Volumes:\n{}\n\n", names.join("\n"))
}

/// `Deleted Containers:` and what went.
fn containers_gone(pruned: &PrunedContainers) -> String {
    if pruned.removed.is_empty() {
        return String::new();
    }
    let mut text = "Deleted Containers:\n".to_owned();
    for id in &pruned.removed {
        let _ = writeln!(text, "{id}");
    }
    text.push('\n');
    text
}

/// `Deleted Images:` and what went.
fn images_gone(removed: &Removed) -> String {
    if removed.untagged.is_empty() && removed.deleted.is_empty() {
        return String::new();
    }
    let mut text = "Deleted Images:\n".to_owned();
    for name in &removed.untagged {
        let _ = writeln!(text, "untagged: {name}");
    }
    for id in &removed.deleted {
        let _ = writeln!(text, "deleted: {id}");
    }
    text.push('\n');
    text
}

fn reclaimed(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", human::size(bytes))
}

/// Asks, unless `--force` was given. Where nobody can be asked, it is refused.
fn may(call: &Call<'_>, warning: &str) -> Result<bool> {
    if call.given.on("force") {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "there is no terminal to ask on: -f removes without asking",
        ));
    }
    let ask = || -> io::Result<String> {
        let mut out = io::stderr().lock();
        write!(
            out,
            "WARNING! {warning}\nAre you sure you want to continue? [y/N] "
        )?;
        out.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().context(|| "ask whether to continue")?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}
