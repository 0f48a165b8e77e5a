//! What can be written on the command line: one file per group of verbs.
//!
//! A definition is a function that adds its arguments to a clap command, so
//! that a run of the program builds only the verb that was called. What the
//! verbs do with their arguments is in `commands`.
//!
//! Start reading at [`root`], which puts the table of verbs together.

pub(crate) mod checkpoint;
pub(crate) mod clone;
pub(crate) mod container;
pub(crate) mod help;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod root;
pub(crate) mod run;
pub(crate) mod snapshot;
pub(crate) mod system;
pub(crate) mod volume;

use clap::{Arg, ArgAction, ArgMatches, Command, builder::ValueParser};

/// A command's help and manners; `usage` is what follows its name.
pub(crate) fn shape(command: Command, usage: &'static str) -> Command {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let usage = format!("wharf {name} {usage}");
    let mut help = Arg::new("help").long("help").help("Print this help");
    if !matches!(command.get_name(), "run" | "create") {
        help = help.short_alias('h');
    }
    command
        .override_usage(usage)
        // `-h` is a host name for `run`; elsewhere it asks for help, as in Docker.
        .disable_help_flag(true)
        .arg(help.action(ArgAction::Help))
        .args_override_self(true)
}

/// `--name`, `--name=false`.
pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(ValueParser::new(parse_bool))
        .hide_possible_values(true)
        .value_name("")
}

/// As [`flag`] with a letter.
pub(crate) fn short_flag(letter: char, name: &'static str, help: &'static str) -> Arg {
    flag(name, help).short(letter)
}

/// `--name VALUE`; the last one counts.
pub(crate) fn value(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name(value)
        .action(ArgAction::Set)
        // As in Docker, whatever follows is the value.
        .allow_hyphen_values(true)
}

/// As [`value`] with a letter.
pub(crate) fn short_value(
    letter: char,
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
) -> Arg {
    value(name, value_name, help).short(letter)
}

/// `--name VALUE` as often as wanted.
pub(crate) fn list(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    value(name, value_name, help).action(ArgAction::Append)
}

/// As [`list`] with a letter.
pub(crate) fn short_list(
    letter: char,
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
) -> Arg {
    list(name, value_name, help).short(letter)
}

/// The one argument that has to be there.
pub(crate) fn operand(name: &'static str) -> Arg {
    Arg::new(name).required(true).hide(true).value_name(name)
}

/// One argument or more.
pub(crate) fn operands(name: &'static str) -> Arg {
    operand(name).num_args(1..).action(ArgAction::Append)
}

/// At least `least` words; from the first on, everything is taken as it is,
/// also what looks like a flag.
pub(crate) fn words(name: &'static str, least: usize) -> Arg {
    operand(name)
        .num_args(least..)
        .trailing_var_arg(true)
        .action(ArgAction::Append)
}

pub(crate) fn format_option() -> Arg {
    value(
        "format",
        "FORMAT",
        "Format output: json, table, 'table TEMPLATE' or a Go template",
    )
}

pub(crate) fn inspect_format() -> Arg {
    short_value(
        'f',
        "format",
        "FORMAT",
        "Format output: json or a Go template",
    )
}

/// Go's words for true and false.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".into()),
    }
}

/// Reading what was given.
pub(crate) trait Given {
    /// A flag; false if absent.
    fn on(&self, name: &str) -> bool;
    /// A flag with another default.
    fn on_or(&self, name: &str, absent: bool) -> bool;
    fn text(&self, name: &str) -> Option<&str>;
    fn texts(&self, name: &str) -> Vec<&str>;
}

impl Given for ArgMatches {
    fn on(&self, name: &str) -> bool {
        self.on_or(name, false)
    }

    fn on_or(&self, name: &str, absent: bool) -> bool {
        self.get_one::<bool>(name).copied().unwrap_or(absent)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get_one::<String>(name).map(String::as_str)
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.get_many::<String>(name)
            .map(|texts| texts.map(String::as_str).collect())
            .unwrap_or_default()
    }
}
