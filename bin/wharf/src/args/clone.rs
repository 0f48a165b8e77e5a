//! Verbs about clones.

use clap::Command;

use super::{
    flag, format_option, inspect_format, operand, operands, shape, short_flag, short_list, value,
};

const CLONE_EXAMPLES: &str = "
Examples:
  wharf clone db                                        one more of it, as it is now
  wharf clone --name-prefix test -p 5432 db 50          test-1 … test-50, each with a port of its own
  wharf clone --keep-template=warm db 0                 none now, and later: wharf clone warm 10
  wharf clone --hook 'psql -c \"DELETE FROM jobs\"' db
";

pub(crate) fn clone(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER|TEMPLATE [COUNT]")
        .after_help(CLONE_EXAMPLES)
        .arg(value("name", "NAME", "Name of the clone"))
        .arg(value(
            "name-prefix",
            "NAME",
            "Call the clones NAME-1, NAME-2 …",
        ))
        .arg(short_list(
            'p',
            "publish",
            "PORT",
            "Publish [[IP:]HOST_PORT:]PORT[/PROTOCOL], in the place of what the container does",
        ))
        .arg(value(
            "hostname",
            "NAME",
            "Host name of the clone, its id if there is none",
        ))
        .arg(flag("rm", "Remove the clones when they end"))
        .arg(value(
            "hook",
            "COMMAND",
            "Run this in each clone before it goes on",
        ))
        .arg(
            flag(
                "keep-template",
                "Keep the template, for clones later on: as CONTAINER-template, or =NAME",
            )
            .value_name("NAME")
            .default_missing_value("")
            .value_parser(clap::value_parser!(String)),
        )
        .arg(operand("CONTAINER"))
        .arg(operand("COUNT").required(false))
}

pub(crate) fn template_ls(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(format_option())
        .arg(short_flag('q', "quiet", "Only names"))
}

pub(crate) fn template_inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] TEMPLATE [TEMPLATE...]")
        .arg(inspect_format())
        .arg(operands("TEMPLATE"))
}

pub(crate) fn template_rm(command: Command) -> Command {
    shape(command, "TEMPLATE [TEMPLATE...]").arg(operands("TEMPLATE"))
}
