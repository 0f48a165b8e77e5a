//! The whole command: global options, the table of verbs, `wharf --help`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Given as _, flag};
use crate::commands::{NOUNS, VERBS, Verb};

/// Options in front of the verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Global {
    pub(crate) root: Option<PathBuf>,
    pub(crate) runroot: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) timings: bool,
}

impl Global {
    pub(crate) fn from(given: &ArgMatches) -> Self {
        let path = |name: &str| given.get_one::<PathBuf>(name).cloned();
        Self {
            root: path("root"),
            runroot: path("runroot"),
            config: path("config"),
            debug: given.on("debug"),
            timings: given.on("timings"),
        }
    }
}

/// Which verbs get their arguments.
#[derive(Clone, Copy)]
pub(crate) enum Detail<'a> {
    /// Those that occur in these words: to build all 40 would take longer
    /// than to start a container.
    Mentioned(&'a [OsString]),
    All,
}

impl Detail<'_> {
    fn includes(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Mentioned(words) => words.iter().any(|word| word == name),
        }
    }
}

/// `wharf` with all that `detail` asks for.
pub(crate) fn root(detail: Detail<'_>) -> Command {
    let mut command = Command::new("wharf")
        .about("A container engine without a daemon")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .override_usage("wharf [OPTIONS] COMMAND")
        .args(global_arguments());
    for verb in VERBS {
        command = command.subcommand(definition(verb, verb.name, verb.name, detail));
    }
    for noun in NOUNS {
        let mut group = Command::new(noun.name)
            .about(noun.about)
            .hide(noun.hidden)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .override_usage(format!("wharf {} COMMAND", noun.name));
        if detail.includes(noun.name) {
            for (name, aliases, verb) in noun.verbs {
                let shown = format!("{} {name}", noun.name);
                let verb = definition(verb, name, &shown, detail);
                group = group.subcommand(verb.aliases(*aliases));
            }
        }
        command = command.subcommand(group);
    }
    command
}

/// The whole command as people read it: `--rm`, without the `=false` that it
/// may have. For scripts and pages made from the definitions.
pub(crate) fn documented() -> Command {
    fn plain(command: Command) -> Command {
        command
            .mut_args(|argument| {
                let is_switch = argument
                    .get_num_args()
                    .is_some_and(|count| count.min_values() == 0)
                    && argument.get_long().is_some();
                if !is_switch {
                    return argument;
                }
                let mut switch = Arg::new(argument.get_id().clone())
                    .action(ArgAction::SetTrue)
                    .help(argument.get_help().cloned().unwrap_or_default());
                if let Some(letter) = argument.get_short() {
                    switch = switch.short(letter);
                }
                // A switch's id is its long name.
                switch.long(argument.get_id().clone())
            })
            .mut_subcommands(plain)
    }
    plain(root(Detail::All))
}

fn definition(verb: &Verb, name: &'static str, shown: &str, detail: Detail<'_>) -> Command {
    let bare = Command::new(name)
        .display_name(shown)
        .about(verb.about)
        .hide(verb.hidden);
    let mentioned = detail.includes(name)
        || NOUNS.iter().any(|noun| {
            noun.verbs
                .iter()
                .any(|(one, aliases, _)| *one == name && aliases.iter().any(|a| detail.includes(a)))
        });
    if mentioned { (verb.define)(bare) } else { bare }
}

fn global_arguments() -> [Arg; 6] {
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    [
        path(
            "root",
            "DIR",
            "Where images and containers are kept (/var/lib/wharf)",
        ),
        path(
            "runroot",
            "DIR",
            "Where the state of what runs is kept (/run/wharf)",
        ),
        path("config", "FILE", "Configuration (/etc/wharf/wharf.toml)"),
        flag("debug", "Say more about errors").short('D'),
        flag("timings", "Tell how long each step took"),
        Arg::new("version")
            .long("version")
            .short('v')
            .action(ArgAction::Version)
            .help("Print the version"),
    ]
}

/// `wharf --help`: verbs in groups, as Docker shows them.
pub(crate) fn help() -> String {
    use std::fmt::Write as _;
    let mut text =
        String::from("Usage:  wharf [OPTIONS] COMMAND\n\nA container engine without a daemon\n");
    let width = VERBS.iter().map(|verb| verb.name.len()).max().unwrap_or(0) + 1;
    for (heading, common) in [("Common Commands", true), ("Commands", false)] {
        let _ = write!(text, "\n{heading}:\n");
        for verb in VERBS
            .iter()
            .filter(|verb| verb.common == common && !verb.hidden)
        {
            let _ = writeln!(text, "  {:width$} {}", verb.name, verb.about);
        }
        if common {
            text.push_str("\nManagement Commands:\n");
            for noun in NOUNS.iter().filter(|noun| !noun.hidden) {
                let _ = writeln!(text, "  {:width$} {}", noun.name, noun.about);
            }
        }
    }
    text.push_str("\nGlobal Options:\n");
    for argument in global_arguments() {
        let short = match argument.get_short() {
            Some(letter) => format!("-{letter}, "),
            None => "    ".to_owned(),
        };
        let value = argument
            .get_value_names()
            .and_then(|names| names.first())
            .map(clap::builder::Str::as_str)
            .unwrap_or_default();
        let option = format!("--{} {value}", argument.get_id());
        let _ = writeln!(
            text,
            "  {short}{option:15} {}",
            argument.get_help().cloned().unwrap_or_default()
        );
    }
    text.push_str("      --help          Print this help\n");
    text.push_str("\nRun 'wharf COMMAND --help' for more about a command.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_sound() {
        root(Detail::All).debug_assert();
    }

    #[test]
    fn builds_only_what_is_mentioned() {
        let words = [OsString::from("wharf"), OsString::from("ps")];
        let command = root(Detail::Mentioned(&words));
        let arguments = |name: &str| {
            command
                .find_subcommand(name)
                .map_or(0, |verb| verb.get_arguments().count())
        };
        assert!(arguments("ps") > 5);
        assert_eq!(arguments("run"), 0);
    }

    #[test]
    fn the_help_groups_commands() {
        let text = help();
        assert!(text.contains("\nCommon Commands:\n  run "), "{text}");
        assert!(
            text.contains("\nManagement Commands:\n  checkpoint "),
            "{text}"
        );
        assert!(!text.contains("internal"), "{text}");
    }
}
