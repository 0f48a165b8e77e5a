//! Failures as people see them: one sentence, a hint, an exit code.

use clap::error::{ContextKind, ContextValue};
use sys::{Error, ErrorKind};

use crate::commands::{NOUNS, Noun, VERBS, Verb};

/// Exit code when `run`, `create` or `exec` failed before the container's
/// command could run.
const ENGINE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// As a shell reports a program that SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Which codes a verb ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// 1 for every failure.
    Plain,
    /// 125, 126, 127: other codes are the container's.
    Container,
    /// As `Container`, but 1 where there is no container to be in.
    Session,
}

/// The one place where a kind becomes an exit code.
pub(crate) fn exit_code(kind: ErrorKind, codes: Codes) -> u8 {
    match (kind, codes) {
        (ErrorKind::Interrupted, _) => INTERRUPTED,
        (_, Codes::Plain)
        | (ErrorKind::NoTerminal, _)
        | (ErrorKind::NotFound | ErrorKind::Conflict, Codes::Session) => 1,
        (ErrorKind::CommandNotFound, _) => NOT_FOUND,
        (ErrorKind::CommandNotExecutable, _) => NOT_EXECUTABLE,
        (_, Codes::Container | Codes::Session) => ENGINE,
    }
}

/// The lines for stderr: `wharf: sentence`, and `hint: …` if there is one.
pub(crate) fn message(error: &Error, debug: bool) -> String {
    use std::fmt::Write as _;
    let mut text = format!("wharf: {}", printable(&error.to_string()));
    if let Some(hint) = hint(error) {
        let _ = write!(text, "\nhint: {hint}");
    }
    if debug {
        let _ = write!(text, "\ndebug: kind {:?}", error.kind());
        if let Some(errno) = error.errno() {
            let _ = write!(text, ", error number {errno}");
        }
        for frame in error.frames() {
            let _ = write!(text, "\ndebug:   {}", printable(frame));
        }
    }
    text
}

/// What comes from images and registries must not control the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' => ' ',
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

/// The same error, saying that it came of `act`, unless it does already.
pub(crate) fn during(act: &str, error: Error) -> Error {
    match error.frames().first() {
        Some(first) if first.starts_with(act) => error,
        _ => error.wrap(act),
    }
}

/// Advice for what people meet often.
fn hint(error: &Error) -> Option<String> {
    let text = error.to_string();
    let has = |part: &str| text.contains(part);
    let advice = match error.kind() {
        ErrorKind::Denied if has("/var/lib/wharf") || has("/run/wharf") => {
            "wharf needs root for its default directories: use sudo, or --root and --runroot"
        }
        ErrorKind::Denied if text.starts_with("log in to ") => {
            "check the user's name and password; a registry may want a token in its place"
        }
        ErrorKind::NotFound if has("look up ") && has("no such host") => {
            "check the registry's name and this machine's network"
        }
        ErrorKind::Denied if has("login") || has("unauthorized") || has("credentials") => {
            "log in first: wharf login SERVER"
        }
        ErrorKind::NotFound if has("no such container") => "wharf ps -a lists all containers",
        ErrorKind::NotFound if text.starts_with("pull ") => {
            "check name and tag; some images are seen only after wharf login"
        }
        ErrorKind::NotFound if has("no such image") => {
            "wharf images lists what is here, wharf pull NAME fetches an image"
        }
        ErrorKind::NotFound if has("no such network") => "use bridge, none, host or container:NAME",
        ErrorKind::NotFound if has("wharf-runtime") => {
            "the program wharf-runtime belongs beside wharf; WHARF_RUNTIME names another place"
        }
        ErrorKind::AlreadyExists | ErrorKind::Conflict if has("name") && has("in use") => {
            "remove the other one with wharf rm, or choose another name"
        }
        ErrorKind::Conflict if has("is running") => "stop it first with wharf stop, or use -f",
        ErrorKind::Conflict if has("not running") => "start it first with wharf start",
        ErrorKind::Unavailable if has("address already in use") || has("already in use") => {
            "choose another port of the host, or leave it out to get a free one: -p CONTAINER_PORT"
        }
        ErrorKind::Unavailable if has("no space left") => {
            "wharf rm and wharf rmi free space; --root puts the store elsewhere"
        }
        ErrorKind::CommandNotFound => "the program is not in the image, or not in its PATH",
        ErrorKind::Corrupt if has("digest") => {
            "what arrived is not what the registry announced: try again, then ask its operator"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// A fault in the command line, in our own words.
pub(crate) fn usage(error: &clap::Error) -> Error {
    let text = |kind: ContextKind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    };
    // `--memory <SIZE>` becomes `--memory`.
    let argument = || {
        let text = text(ContextKind::InvalidArg).unwrap_or_default();
        let bare = text.split([' ', '[', '=']).next().unwrap_or_default();
        bare.trim_end_matches("...")
            .trim_matches(['<', '>'])
            .to_owned()
    };
    let sentence = match error.kind() {
        clap::error::ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("there is no command {name:?}")
        }
        clap::error::ErrorKind::UnknownArgument => match argument() {
            name if name.starts_with('-') => format!("unknown flag: {name}"),
            name => format!("there is one argument too many: {name}"),
        },
        clap::error::ErrorKind::InvalidValue | clap::error::ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let why = match text(ContextKind::ValidValue) {
                Some(values) => format!("use {values}"),
                None => std::error::Error::source(error)
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            };
            match (value.is_empty(), why.is_empty()) {
                (true, _) => format!("{} needs a value", argument()),
                (false, true) => format!("{} cannot be {value:?}", argument()),
                (false, false) => format!("{} cannot be {value:?}: {why}", argument()),
            }
        }
        clap::error::ErrorKind::NoEquals => format!("{} needs = before its value", argument()),
        clap::error::ErrorKind::TooManyValues | clap::error::ErrorKind::WrongNumberOfValues => {
            format!("{} was given too many values", argument())
        }
        clap::error::ErrorKind::TooFewValues | clap::error::ErrorKind::MissingRequiredArgument => {
            let names = match argument() {
                name if name.is_empty() => text(ContextKind::InvalidArg).unwrap_or_default(),
                name => name,
            };
            format!("an argument is missing: {names}")
        }
        clap::error::ErrorKind::MissingSubcommand => "a command is missing".to_owned(),
        clap::error::ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let shown = error.to_string();
            let line = shown.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    };
    Error::new(ErrorKind::InvalidInput, sentence)
}

/// What was probably meant, or where to look. `verb` and `noun` are those that
/// were written, as far as they are known.
pub(crate) fn usage_hint(
    error: &clap::Error,
    verb: Option<&str>,
    noun: Option<&'static Noun>,
) -> String {
    let text = |kind: ContextKind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // The best one comes last.
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    };
    // Of commands we know better: a short word is like many.
    let command = text(ContextKind::InvalidSubcommand).filter(|_| verb.is_none());
    let suggested = command
        .and_then(|word| nearest(&word, noun))
        .or_else(|| text(ContextKind::SuggestedSubcommand))
        .or_else(|| text(ContextKind::SuggestedArg))
        .or_else(|| text(ContextKind::SuggestedValue));
    let flag = text(ContextKind::InvalidArg).unwrap_or_default();
    let is_global = ["--root", "--runroot", "--config", "--debug", "--timings"]
        .iter()
        .any(|global| flag.starts_with(global));
    match (suggested, verb) {
        (_, Some(_)) if is_global => format!("{flag} stands before the command"),
        (Some(suggested), _) => format!("did you mean {suggested}?"),
        (None, Some(verb)) => format!("wharf {verb} --help shows its arguments"),
        (None, None) => match noun {
            Some(noun) => format!("wharf {} --help lists its commands", noun.name),
            None => "wharf --help lists the commands".to_owned(),
        },
    }
}

/// The commands that are fewest slips of the fingers away, at most two:
/// `rm or run`. Behind a noun its own, by whichever of their names.
fn nearest(word: &str, noun: Option<&'static Noun>) -> Option<String> {
    let near = |name: &'static str| {
        let slips = slips(word, name);
        (slips <= 2 && slips < name.len()).then_some((slips, name))
    };
    let mut found: Vec<(usize, &str)> = if let Some(noun) = noun {
        let verbs = noun.verbs.iter().filter(|(_, _, verb)| !verb.hidden);
        // Each once, by its first name unless another one is nearer.
        let nearest = |(name, others, _): &(&'static str, &'static [&'static str], Verb)| {
            let names = [*name].into_iter().chain(others.iter().copied());
            names.filter_map(near).min_by_key(|(slips, _)| *slips)
        };
        verbs.filter_map(nearest).collect()
    } else {
        let verbs = VERBS.iter().filter(|verb| !verb.hidden);
        let nouns = NOUNS.iter().filter(|noun| !noun.hidden);
        let names = verbs.map(|verb| verb.name);
        let names = names.chain(nouns.map(|noun| noun.name));
        names.filter_map(near).collect()
    };
    found.sort_unstable();
    let least = found.first()?.0;
    let mut names: Vec<&str> = found
        .iter()
        .take_while(|(slips, _)| *slips == least)
        .map(|(_, name)| *name)
        .collect();
    let last = names.pop()?;
    Some(match names.join(", ") {
        others if others.is_empty() => last.to_owned(),
        others => format!("{others} or {last}"),
    })
}

/// Letters added, left out, taken for another, or swapped.
fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let differs = usize::from(one[i - 1] != other[j - 1]);
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_docker() {
        for (kind, container, plain) in [
            (ErrorKind::NotFound, 125, 1),
            (ErrorKind::CommandNotFound, 127, 1),
            (ErrorKind::CommandNotExecutable, 126, 1),
            (ErrorKind::Internal, 125, 1),
            (ErrorKind::Interrupted, 130, 130),
            (ErrorKind::NoTerminal, 1, 1),
        ] {
            assert_eq!(exit_code(kind, Codes::Container), container);
            assert_eq!(exit_code(kind, Codes::Plain), plain);
        }
    }

    #[test]
    fn typing_errors_are_understood() {
        let top = |word| nearest(word, None);
        assert_eq!(top("rnu").as_deref(), Some("run"));
        assert_eq!(top("imgaes").as_deref(), Some("images"));
        assert_eq!(top("stpo").as_deref(), Some("stop"));
        assert_eq!(top("rn").as_deref(), Some("rm or run"));
        assert_eq!(top("netwrok").as_deref(), Some("network"));
        assert_eq!(top("kubernetes"), None);
        let container = NOUNS.iter().find(|noun| noun.name == "container");
        let behind = |word| nearest(word, container);
        assert_eq!(behind("lss").as_deref(), Some("ls"));
        assert_eq!(behind("lsit").as_deref(), Some("list"));
        assert_eq!(behind("remvoe").as_deref(), Some("remove"));
        // Two names of one command are one.
        assert_eq!(behind("s").as_deref(), Some("ls"));
        // No command of a container.
        assert_eq!(behind("pulll"), None);
        assert_eq!(slips("", "abc"), 3);
    }

    #[test]
    fn messages_have_one_style() {
        let error = Error::new(ErrorKind::NotFound, "no such container: web").wrap("stop web");
        assert_eq!(
            message(&error, false),
            "wharf: stop web: no such container: web\nhint: wharf ps -a lists all containers"
        );
        let evil = Error::new(ErrorKind::Corrupt, "got \u{1b}[2J\nx");
        assert_eq!(message(&evil, false), "wharf: got \u{fffd}[2J x");
        assert!(message(&evil, true).contains("\ndebug: kind Corrupt"));
    }
}
