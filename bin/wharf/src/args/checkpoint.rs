//! Verbs about checkpoints.

use std::ffi::OsString;

use clap::Command;

use super::{
    flag, format_option, inspect_format, operand, operands, shape, short_flag, short_list, value,
};
use crate::commands::NOUNS;

const CREATE_EXAMPLES: &str = "
Examples:
  wharf checkpoint db before-upgrade                    the container ends with it
  wharf checkpoint --leave-running db nightly           or goes on
  wharf restore nightly --name db2 -p 5433:5432         one more of it
";

const IMPORT_EXAMPLES: &str = "
Examples:
  wharf checkpoint export nightly | ssh host wharf checkpoint import -
  wharf checkpoint import --trust nightly.tar db
";

pub(crate) fn create(command: Command) -> Command {
    shape(
        command,
        "[OPTIONS] CONTAINER NAME\n        wharf checkpoint --check CONTAINER",
    )
    .after_help(CREATE_EXAMPLES)
    .arg(flag("leave-running", "Let the container go on afterwards"))
    .arg(flag(
        "tcp-close",
        "TCP connections may be lost: they are found reset",
    ))
    .arg(
        flag(
            "tcp-established",
            "TCP connections go on, where their addresses are",
        )
        .conflicts_with("tcp-close"),
    )
    .arg(flag(
        "check",
        "Only say what would be in the way, and touch nothing",
    ))
    .arg(operand("CONTAINER"))
    .arg(operand("NAME").required(false))
}

pub(crate) fn ls(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(format_option())
        .arg(short_flag('q', "quiet", "Only names"))
}

pub(crate) fn inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] CHECKPOINT [CHECKPOINT...]")
        .arg(inspect_format())
        .arg(operands("CHECKPOINT"))
}

pub(crate) fn rm(command: Command) -> Command {
    shape(command, "CHECKPOINT [CHECKPOINT...]").arg(operands("CHECKPOINT"))
}

pub(crate) fn export(command: Command) -> Command {
    shape(command, "[OPTIONS] CHECKPOINT [FILE|-]")
        .arg(flag("zstd", "Pack it, which takes longer"))
        .arg(operand("CHECKPOINT"))
        .arg(operand("FILE").required(false))
}

pub(crate) fn import(command: Command) -> Command {
    shape(command, "[OPTIONS] FILE|- [NAME]")
        .after_help(IMPORT_EXAMPLES)
        .arg(flag(
            "trust",
            "Grant it what it asks for: devices, directories of the host, ports …",
        ))
        .arg(operand("FILE"))
        .arg(operand("NAME").required(false))
}

pub(crate) fn restore(command: Command) -> Command {
    shape(command, "[OPTIONS] CHECKPOINT")
        .arg(value("name", "NAME", "Name of the container"))
        .arg(short_list(
            'p',
            "publish",
            "PORT",
            "Publish [[IP:]HOST_PORT:]PORT[/PROTOCOL], in the place of what was",
        ))
        .arg(flag("rm", "Remove the container when it ends"))
        .arg(operand("CHECKPOINT"))
}

/// `wharf checkpoint CONTAINER NAME` is `wharf checkpoint create …`: the verb
/// is what everybody means.
pub(crate) fn with_verb(words: Vec<OsString>) -> Vec<OsString> {
    let Some(noun) = NOUNS.iter().find(|noun| noun.name == "checkpoint") else {
        return words;
    };
    // Global options stand before the command; those that take a value hold
    // no verb.
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if !word.starts_with('-') {
            break;
        }
        let takes_value = ["--root", "--runroot", "--config"].contains(&word);
        at += if takes_value { 2 } else { 1 };
    }
    let is_noun = words.get(at).is_some_and(|word| word == noun.name);
    let next = words.get(at + 1).and_then(|word| word.to_str());
    let asks = |word: &str| {
        matches!(word, "--help" | "-h")
            || noun
                .verbs
                .iter()
                .any(|(name, aliases, _)| *name == word || aliases.contains(&word))
    };
    if !is_noun || next.is_none_or(asks) {
        return words;
    }
    let mut words = words;
    words.insert(at + 1, "create".into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_may_be_left_out() {
        for (given, understood) in [
            ("wharf checkpoint db one", "wharf checkpoint create db one"),
            (
                "wharf --root /x -D checkpoint --leave-running db one",
                "wharf --root /x -D checkpoint create --leave-running db one",
            ),
            ("wharf checkpoint ls", "wharf checkpoint ls"),
            ("wharf checkpoint", "wharf checkpoint"),
            ("wharf checkpoint --help", "wharf checkpoint --help"),
            ("wharf run checkpoint x", "wharf run checkpoint x"),
        ] {
            let words = given.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = understood.split(' ').map(OsString::from).collect();
            assert_eq!(with_verb(words), expected);
        }
    }
}
