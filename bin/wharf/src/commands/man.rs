//! `wharf internal man`: manual pages made from the very definitions.

use std::path::Path;

use clap::Command;
use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::root::documented;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let directory = Path::new(call.given.text("DIRECTORY").unwrap_or_default());
    std::fs::create_dir_all(directory).context(|| format!("make {}", directory.display()))?;
    page(directory, documented(), "wharf")?;
    Ok(DONE)
}

fn page(directory: &Path, mut command: Command, name: &str) -> Result<()> {
    let verbs: Vec<Command> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .cloned()
        .collect();
    for verb in verbs {
        let name = format!("{name}-{}", verb.get_name());
        page(directory, verb, &name)?;
    }
    command = command
        .display_name(name.to_owned())
        .bin_name(name.replace('-', " "))
        .disable_help_subcommand(true);
    let path = directory.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .and_then(|()| std::fs::write(&path, text))
        .context(|| format!("write {}", path.display()))
}
