//! Verbs about the program and its host.

use clap::{Arg, Command, value_parser};

use super::{
    flag, format_option, inspect_format, list, operand, operands, shape, short_flag, short_list,
    value, words,
};

const COMPLETION_EXAMPLES: &str = "
Examples:
  wharf completion bash > /etc/bash_completion.d/wharf
  wharf completion fish > ~/.config/fish/completions/wharf.fish
";

pub(crate) fn completion(command: Command) -> Command {
    shape(command, "bash|elvish|fish|powershell|zsh")
        .after_help(COMPLETION_EXAMPLES)
        .arg(
            Arg::new("SHELL")
                .required(true)
                .hide(true)
                .value_parser(value_parser!(clap_complete::Shell)),
        )
}

const EVENTS_EXAMPLES: &str = "
Examples:
  wharf events --filter container=web --filter event=die
  wharf events --since 1h --until 0s --format '{{json .}}'
";

pub(crate) fn events(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .after_help(EVENTS_EXAMPLES)
        .arg(short_list(
            'f',
            "filter",
            "KEY=VALUE",
            "Show some only: container, event, image, label, type, volume",
        ))
        .arg(value(
            "format",
            "FORMAT",
            "Format output: json or a Go template",
        ))
        .arg(value(
            "since",
            "TIME",
            "From a time (2026-01-31T12:00:00Z) or 42m ago on",
        ))
        .arg(value("until", "TIME", "Up to a time or 42m ago"))
}

pub(crate) fn boot(command: Command) -> Command {
    shape(command, "")
}

pub(crate) fn check(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(flag("full", "Read every blob and compare its digest"))
        .arg(flag(
            "repair",
            "Heal what crashes left, remove what nothing needs",
        ))
}

pub(crate) fn generate(command: Command) -> Command {
    shape(command, "CONTAINER").arg(operand("CONTAINER"))
}

pub(crate) fn df(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(format_option())
        .arg(short_flag(
            'v',
            "verbose",
            "Show each image, container and volume",
        ))
}

pub(crate) fn install(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(flag("print", "Print the unit instead of writing it"))
}

pub(crate) fn prune(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_flag(
            'a',
            "all",
            "All images that no container uses, not only those without a name",
        ))
        .arg(list(
            "filter",
            "KEY=VALUE",
            "Remove some only, as until=24h or label=KEY",
        ))
        .arg(short_flag('f', "force", "Do not ask"))
        .arg(flag(
            "volumes",
            "Anonymous volumes that no container has, too",
        ))
}

pub(crate) fn info(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(inspect_format())
}

pub(crate) fn version(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(inspect_format())
}

pub(crate) fn repair(command: Command) -> Command {
    shape(command, "")
}

const STORAGE_EXAMPLES: &str = "
Examples:
  wharf system storage --size 200G       before anything is in the store
  wharf system storage --print           what it would do, as a script
";

pub(crate) fn storage(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .after_help(STORAGE_EXAMPLES)
        .arg(flag("print", "Print a script that does the same"))
        .arg(value(
            "size",
            "SIZE",
            "Bytes that it may grow to, as in 200G (default 50G)",
        ))
}

pub(crate) fn reset(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(short_flag('f', "force", "Do not ask"))
}

/// `wharf oci …` is `wharf-runtime …`.
pub(crate) fn oci(command: Command) -> Command {
    shape(command, "COMMAND [ARG...]").arg(
        words("COMMAND", 0)
            .required(false)
            .allow_hyphen_values(true),
    )
}

/// What monitors run when a container ended and nobody is there to clean up.
pub(crate) fn cleanup(command: Command) -> Command {
    shape(command, "ID [ID...]").arg(operands("ID"))
}

pub(crate) fn pack_log(command: Command) -> Command {
    shape(command, "FILE").arg(operand("FILE"))
}

pub(crate) fn man(command: Command) -> Command {
    shape(command, "DIRECTORY").arg(operand("DIRECTORY"))
}
