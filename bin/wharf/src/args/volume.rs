//! Verbs about volumes.

use clap::{Arg, Command};

use super::{
    flag, format_option, inspect_format, list, operand, operands, shape, short_flag, short_list,
    short_value, value,
};

const CREATE_EXAMPLES: &str = "
Examples:
  wharf volume create data
  wharf volume create -o size=10g data                  with a limit (XFS or ext4 with prjquota)
  wharf volume create -o type=nfs -o o=vers=4 -o device=server:/export data
  wharf volume create -o type=none -o o=bind -o device=/srv/data data
";

pub(crate) fn create(command: Command) -> Command {
    made(shape(command, "[OPTIONS] [VOLUME]").after_help(CREATE_EXAMPLES))
        .arg(short_value('d', "driver", "NAME", "local"))
        .arg(value("name", "NAME", "Name of the volume").hide(true))
        .arg(operand("VOLUME").required(false))
}

/// What a new volume is told.
fn made(command: Command) -> Command {
    command
        .arg(list("label", "KEY[=VALUE]", "Set a label"))
        .arg(short_list(
            'o',
            "opt",
            "KEY=VALUE",
            "type, o and device as of mount(8), or size",
        ))
}

pub(crate) fn clone(command: Command) -> Command {
    made(shape(command, "[OPTIONS] VOLUME [NEW_VOLUME]"))
        .arg(operand("VOLUME"))
        .arg(operand("NEW_VOLUME").required(false))
}

pub(crate) fn export(command: Command) -> Command {
    shape(command, "[OPTIONS] VOLUME")
        .arg(short_value(
            'o',
            "output",
            "FILE",
            "Write to a file instead of stdout",
        ))
        .arg(operand("VOLUME"))
}

pub(crate) fn import(command: Command) -> Command {
    made(shape(command, "[OPTIONS] VOLUME [FILE|-]"))
        .arg(operand("VOLUME"))
        .arg(operand("FILE").required(false))
}

pub(crate) fn inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] VOLUME [VOLUME...]")
        .arg(inspect_format())
        .arg(operands("NAME"))
}

pub(crate) fn ls(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(filter("Show some only: dangling, driver, label, name"))
        .arg(format_option())
        .arg(short_flag('q', "quiet", "Only names"))
}

pub(crate) fn prune(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_flag(
            'a',
            "all",
            "Those with a name of their own, too",
        ))
        .arg(list(
            "filter",
            "KEY=VALUE",
            "Remove some only, as label=KEY",
        ))
        .arg(short_flag('f', "force", "Do not ask"))
}

pub(crate) fn rm(command: Command) -> Command {
    shape(command, "[OPTIONS] VOLUME [VOLUME...]")
        .arg(flag("force", "A volume that is not there is fine").short('f'))
        .arg(operands("VOLUME"))
}

fn filter(help: &'static str) -> Arg {
    short_list('f', "filter", "KEY=VALUE", help)
}
