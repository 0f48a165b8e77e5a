//! Verbs about the program and its host.

use clap::{Arg, Command, value_parser};

use super::{inspect_format, operand, operands, shape, words};

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

pub(crate) fn info(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(inspect_format())
}

pub(crate) fn version(command: Command) -> Command {
    shape(command, "[OPTIONS]").arg(inspect_format())
}

pub(crate) fn repair(command: Command) -> Command {
    shape(command, "")
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

pub(crate) fn man(command: Command) -> Command {
    shape(command, "DIRECTORY").arg(operand("DIRECTORY"))
}
