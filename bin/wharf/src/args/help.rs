//! `wharf VERB --help`, in the shape that Docker's users know.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::root::{Detail, root};

/// Narrower than this, words would stand below each other.
const NARROW: usize = 60;
/// Wider than this, lines are hard to follow.
const WIDE: usize = 100;

/// The help that these words ask for.
pub(crate) fn asked(words: &[OsString], width: usize) -> String {
    let mut command = root(Detail::All);
    // Fills in what follows from other things, such as usage.
    command.build();
    let mut found = &command;
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(verb) = found.find_subcommand(word) {
            found = verb;
        }
    }
    if found.get_name() == "wharf" {
        return super::root::help();
    }
    text(found, width)
}

fn text(command: &Command, width: usize) -> String {
    use std::fmt::Write as _;
    let mut command_for_usage = command.clone();
    let usage = command_for_usage.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let about = command.get_about().cloned().unwrap_or_default();
    let mut text = format!("Usage:  {usage}\n\n{about}\n");
    let verbs: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| {
            let about = verb.get_about().cloned().unwrap_or_default();
            (format!("  {}", verb.get_name()), about.to_string())
        })
        .collect();
    if !verbs.is_empty() {
        let _ = write!(text, "\nCommands:\n{}", columns(&verbs, width));
    }
    let mut arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && argument.get_long().is_some())
        .collect();
    arguments.sort_by_key(|argument| argument.get_long());
    let options: Vec<(String, String)> = arguments.into_iter().map(option).collect();
    let _ = write!(text, "\nOptions:\n{}", columns(&options, width));
    if let Some(examples) = command.get_after_help() {
        let _ = write!(text, "{examples}");
    }
    text.trim_end().to_owned()
}

/// `  -m, --memory SIZE` and its words.
fn option(argument: &Arg) -> (String, String) {
    let short = argument
        .get_short()
        .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let long = argument.get_long().unwrap_or_default();
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(clap::builder::Str::as_str)
        .filter(|name| !name.is_empty() && argument.get_action().takes_values())
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    let help = argument.get_help().cloned().unwrap_or_default();
    (format!("  {short}--{long}{value}"), help.to_string())
}

/// Two columns; the second one is wrapped.
fn columns(rows: &[(String, String)], width: usize) -> String {
    let width = width.clamp(NARROW, WIDE);
    // One long option does not push all the rest aside.
    let first = rows
        .iter()
        .map(|(left, _)| left.chars().count() + 3)
        .filter(|wide| *wide <= width / 2)
        .max()
        .unwrap_or(width / 2);
    let indent = " ".repeat(first);
    let mut text = String::new();
    for (left, right) in rows {
        text.push_str(left);
        let used = left.chars().count();
        if used + 2 > first {
            text.push('\n');
            text.push_str(&indent);
        } else {
            text.push_str(&" ".repeat(first - used));
        }
        let mut column = first;
        for (at, word) in right.split(' ').enumerate() {
            let length = word.chars().count();
            if at > 0 && column + 1 + length > width {
                text.push('\n');
                text.push_str(&indent);
                column = first;
            } else if at > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        asked(&words, 80)
    }

    #[test]
    fn looks_as_dockers_does() {
        assert_eq!(
            help(&["wharf", "stop", "--help"]),
            "Usage:  wharf stop [OPTIONS] CONTAINER [CONTAINER...]\n\n\
             Stop running containers\n\n\
             Options:\n\
             \x20     --help              Print this help\n\
             \x20 -s, --signal SIGNAL     Signal to send first (default: its own)\n\
             \x20 -t, --timeout SECONDS   Time before SIGKILL, -1 for ever (default: its own)"
        );
        let run = help(&["wharf", "run", "--help"]);
        assert!(run.contains("\n  -t, --tty "), "{run}");
        assert!(run.contains("\nExamples:\n  wharf run -it --rm"), "{run}");
        assert!(run.lines().all(|line| line.chars().count() <= 80), "{run}");
        assert!(
            help(&["wharf", "container", "ls", "--help"]).starts_with("Usage:  wharf container ls")
        );
        assert!(help(&["wharf", "image", "--help"]).contains("\nCommands:\n  "));
        assert!(help(&["wharf", "--help"]).contains("Common Commands"));
    }

    #[test]
    fn every_verb_has_help_and_every_option_words() {
        for verb in crate::commands::VERBS {
            let text = help(&["wharf", verb.name, "--help"]);
            assert!(text.contains(verb.about), "{text}");
            for line in text.lines().filter(|line| line.starts_with("      --")) {
                assert!(line.trim().contains(' '), "{}: {line}", verb.name);
            }
        }
    }
}
