//! Verbs about snapshots of containers.

use clap::{Arg, Command};

use super::{flag, format_option, operand, operands, shape, short_flag};

const CREATE_EXAMPLES: &str = "
Examples:
  wharf snapshot create db before-upgrade
  wharf snapshot diff db before-upgrade
  wharf snapshot restore --restart db before-upgrade
";

pub(crate) fn create(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [SNAPSHOT]")
        .after_help(CREATE_EXAMPLES)
        .arg(restart())
        .arg(operand("CONTAINER"))
        .arg(operand("SNAPSHOT").required(false))
}

pub(crate) fn ls(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER")
        .arg(format_option())
        .arg(short_flag('q', "quiet", "Only names"))
        .arg(operand("CONTAINER"))
}

pub(crate) fn rm(command: Command) -> Command {
    shape(command, "CONTAINER SNAPSHOT [SNAPSHOT...]")
        .arg(operand("CONTAINER"))
        .arg(operands("SNAPSHOT"))
}

pub(crate) fn diff(command: Command) -> Command {
    shape(command, "CONTAINER SNAPSHOT [SNAPSHOT]")
        .arg(operand("CONTAINER"))
        .arg(operand("SNAPSHOT"))
        .arg(operand("OTHER").required(false))
}

pub(crate) fn restore(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER SNAPSHOT")
        .arg(restart())
        .arg(operand("CONTAINER"))
        .arg(operand("SNAPSHOT"))
}

fn restart() -> Arg {
    flag("restart", "Stop it first if it runs, and start it again")
}
