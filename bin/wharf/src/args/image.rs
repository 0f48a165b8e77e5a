//! Verbs about images and registries.

use clap::Command;

use super::{
    flag, format_option, inspect_format, list, operand, operands, shape, short_flag, short_list,
    short_value, value,
};

pub(crate) fn history(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE")
        .arg(format_option())
        .arg(short_flag(
            'H',
            "human",
            "Sizes and dates for people (default true)",
        ))
        .arg(flag("no-trunc", "Do not shorten"))
        .arg(short_flag('q', "quiet", "Only ids"))
        .arg(operand("IMAGE"))
}

pub(crate) fn prune(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_flag(
            'a',
            "all",
            "All that no container uses, not only those without a name",
        ))
        .arg(list(
            "filter",
            "KEY=VALUE",
            "Remove some only, as until=24h or label=KEY",
        ))
        .arg(short_flag('f', "force", "Do not ask"))
}

pub(crate) fn images(command: Command) -> Command {
    shape(command, "[OPTIONS] [REPOSITORY[:TAG]]")
        .arg(short_flag('a', "all", "Show all images"))
        .arg(flag("digests", "Show digests"))
        .arg(short_list(
            'f',
            "filter",
            "KEY=VALUE",
            "Show some only, as dangling=true",
        ))
        .arg(format_option())
        .arg(flag("no-trunc", "Do not shorten"))
        .arg(short_flag('q', "quiet", "Only ids"))
        .arg(flag("tree", "Show which image stands on which"))
        .arg(operand("NAME").required(false))
}

pub(crate) fn tree(command: Command) -> Command {
    shape(command, "[IMAGE]").arg(operand("NAME").required(false))
}

pub(crate) fn diff(command: Command) -> Command {
    shape(command, "IMAGE IMAGE")
        .arg(operand("FROM"))
        .arg(operand("TO"))
}

pub(crate) fn explore(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE")
        .arg(flag("files", "Show every file, not the largest ones only"))
        .arg(value("layer", "NUMBER", "Show one layer only"))
        .arg(operand("IMAGE"))
}

pub(crate) fn squash(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE [REPOSITORY[:TAG]]")
        .arg(short_value('m', "message", "TEXT", "What it is"))
        .arg(operand("IMAGE"))
        .arg(operand("NAME").required(false))
}

const REBASE_EXAMPLES: &str = "
Examples:
  wharf image rebase app:1 --onto debian:12.9 app:1-patched
  wharf image rebase app:1 --from debian:12.8 --onto debian:12.9
";

pub(crate) fn rebase(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE [REPOSITORY[:TAG]]")
        .after_help(REBASE_EXAMPLES)
        .arg(value(
            "from",
            "IMAGE",
            "What it stands on now (default: found among the images here)",
        ))
        .arg(value("onto", "IMAGE", "What it shall stand on").required(true))
        .arg(operand("IMAGE"))
        .arg(operand("NAME").required(false))
}

pub(crate) fn import(command: Command) -> Command {
    shape(command, "[OPTIONS] FILE|- [REPOSITORY[:TAG]]")
        .arg(short_list(
            'c',
            "change",
            "INSTRUCTION",
            "Apply a Dockerfile instruction",
        ))
        .arg(short_value('m', "message", "TEXT", "What it is"))
        .arg(value("platform", "OS/ARCH", "Platform of the image"))
        .arg(operand("FILE"))
        .arg(operand("NAME").required(false))
}

pub(crate) fn inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE [IMAGE...]")
        .arg(inspect_format())
        .arg(operands("NAME"))
}

pub(crate) fn load(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_value(
            'i',
            "input",
            "FILE",
            "Read from a file instead of stdin",
        ))
        .arg(short_flag('q', "quiet", "No progress"))
}

pub(crate) fn login(command: Command) -> Command {
    shape(command, "[OPTIONS] [SERVER]")
        .arg(short_value(
            'p',
            "password",
            "PASSWORD",
            "Password (others can see it: better --password-stdin)",
        ))
        .arg(flag("password-stdin", "Read the password from stdin"))
        .arg(short_value('u', "username", "NAME", "User name"))
        .arg(operand("SERVER").required(false))
}

pub(crate) fn logout(command: Command) -> Command {
    shape(command, "[SERVER]").arg(operand("SERVER").required(false))
}

pub(crate) fn pull(command: Command) -> Command {
    shape(command, "[OPTIONS] NAME[:TAG|@DIGEST]")
        .arg(short_flag(
            'a',
            "all-tags",
            "Download all tags of the repository",
        ))
        .arg(value("platform", "OS/ARCH", "Platform of the image"))
        .arg(short_flag('q', "quiet", "Print the image's name only"))
        .arg(operand("NAME"))
}

pub(crate) fn push(command: Command) -> Command {
    shape(command, "[OPTIONS] NAME[:TAG]")
        .arg(short_flag(
            'a',
            "all-tags",
            "Push every tag of the repository",
        ))
        .arg(short_flag('q', "quiet", "Print the image's name only"))
        .arg(operand("NAME"))
}

pub(crate) fn rmi(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE [IMAGE...]")
        .arg(short_flag(
            'f',
            "force",
            "Also if stopped containers use it; fine if there is none",
        ))
        .arg(flag(
            "no-prune",
            "Keep images without a name that it was made from (they always stay)",
        ))
        .arg(operands("IMAGE"))
}

pub(crate) fn save(command: Command) -> Command {
    shape(command, "[OPTIONS] IMAGE [IMAGE...]")
        .arg(short_value(
            'o',
            "output",
            "FILE",
            "Write to a file instead of stdout",
        ))
        .arg(operands("IMAGE"))
}

pub(crate) fn tag(command: Command) -> Command {
    shape(command, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")
        .arg(operand("SOURCE_IMAGE"))
        .arg(operand("TARGET_IMAGE"))
}
