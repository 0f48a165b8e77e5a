//! `cargo xtask flags [--check] BINARY`: docs/flags.md, every flag of every verb with the black-box test that shows it.
//!
//! Flags come from the program's own help, which comes from its definitions. Tests are read as text: a list of words
//! in a test that begins with a verb is a command line. Of the tests that use a flag the most specific one is named, the
//! one with the fewest flags.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nouns whose verbs cannot be written without them.
const NOUNS: &[&str] = &[
    "generate", "image", "network", "snapshot", "system", "volume",
];
/// Behind the image nothing is a flag of these.
const RUN_LIKE: &[&str] = &["run", "create", "exec"];

const PREFACE: &str = "# Every flag, and the test that shows it

Made by `cargo xtask flags BINARY` from the program's definitions and the black-box tests; not edited by hand. `create` takes
`run`'s flags and `recreate` those of `update` by the same code, so a test of the one stands for the other. `–` means that no
test uses the flag.

";

/// One flag as the help shows it.
struct Flag {
    /// Without dashes.
    long: String,
    short: Option<char>,
}

/// Of each verb, its flags.
type Verbs = BTreeMap<String, Vec<Flag>>;
/// Of each verb and flag, the tests that use it.
type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// Writes the page, or says that it would be another one.
pub(crate) fn write(arguments: &[String]) -> Result<(), String> {
    let (binary, only_check) = match arguments {
        [binary] => (binary, false),
        [option, binary] if option == "--check" => (binary, true),
        _ => return Err("usage: cargo xtask flags [--check] BINARY".to_owned()),
    };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let verbs = verbs(Path::new(binary))?;
    let uses = uses(&root.join("tests"), &verbs)?;
    let page = page(&verbs, &uses);
    let path = root.join("docs/flags.md");
    if only_check {
        return match std::fs::read_to_string(&path) {
            Ok(written) if written == page => Ok(()),
            _ => Err(format!(
                "docs/flags.md is not of this program and these tests: cargo xtask flags {binary}"
            )),
        };
    }
    std::fs::write(&path, page).map_err(|error| format!("write {}: {error}", path.display()))
}

fn page(verbs: &Verbs, uses: &Uses) -> String {
    let mut flags_of_test: BTreeMap<&String, usize> = BTreeMap::new();
    for tests in uses.values() {
        for test in tests {
            *flags_of_test.entry(test).or_default() += 1;
        }
    }
    let most_specific = |verb: &str, flag: &str| {
        let tests = uses.get(&(verb.to_owned(), flag.to_owned()))?;
        tests.iter().min_by_key(|test| (flags_of_test[test], *test))
    };
    let mut text = PREFACE.to_owned();
    for (verb, flags) in verbs.iter().filter(|(_, flags)| !flags.is_empty()) {
        let _ = write!(text, "## {verb}\n\n| flag | test |\n|---|---|\n");
        for flag in flags {
            let twin = match verb.as_str() {
                "create" => "run",
                "run" => "create",
                "recreate" => "update",
                other => other,
            };
            let test = most_specific(verb, &flag.long).or_else(|| most_specific(twin, &flag.long));
            let short = flag
                .short
                .map(|letter| format!("-{letter}, "))
                .unwrap_or_default();
            let test = test.map_or_else(|| "–".to_owned(), |test| format!("`{test}`"));
            let _ = writeln!(text, "| `{short}--{}` | {test} |", flag.long);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn verbs(binary: &Path) -> Result<Verbs, String> {
    let mut verbs = Verbs::new();
    for verb in listed(&help(binary, &[])?) {
        if NOUNS.contains(&verb.as_str()) {
            let inner = listed(&help(binary, &[&verb])?).into_iter();
            for inner in inner.filter(|inner| !is_alias(&verb, inner)) {
                let flags = flags(&help(binary, &[&verb, &inner])?);
                verbs.insert(format!("{verb} {inner}"), flags);
            }
        } else if !matches!(verb.as_str(), "container" | "oci" | "help") {
            let flags = flags(&help(binary, &[&verb])?);
            verbs.insert(verb, flags);
        }
    }
    Ok(verbs)
}

/// Whether a verb of a noun is another one in a longer form.
fn is_alias(noun: &str, verb: &str) -> bool {
    match noun {
        "image" => matches!(
            verb,
            "history" | "import" | "load" | "ls" | "pull" | "push" | "rm" | "save" | "tag"
        ),
        "system" => matches!(verb, "events" | "info"),
        _ => false,
    }
}

fn help(binary: &Path, words: &[&str]) -> Result<String, String> {
    let output = Command::new(binary)
        .args(words)
        .arg("--help")
        .output()
        .map_err(|error| format!("run {}: {error}", binary.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The commands of a help page: the first words below a heading with `Commands:`.
fn listed(help: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in help.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            inside = line.ends_with("Commands:");
        } else if inside
            && let Some(rest) = line.strip_prefix("  ")
            && !rest.starts_with(' ')
            && let Some(name) = rest.split(' ').next()
        {
            names.push(name.to_owned());
        }
    }
    names
}

fn flags(help: &str) -> Vec<Flag> {
    let flag = |line: &str| {
        let line = line.trim_start();
        let (short, long) = if let Some(long) = line.strip_prefix("--") {
            (None, long)
        } else {
            let (short, long) = line.strip_prefix('-')?.split_once(", --")?;
            (short.chars().next(), long)
        };
        let end = long.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        let long = long[..end.unwrap_or(long.len())].to_owned();
        (long != "help").then_some(Flag { long, short })
    };
    // Deeper lines go on with the text of the one above.
    let shallow = |line: &&str| line.len() - line.trim_start().len() <= 6;
    help.lines().filter(shallow).filter_map(flag).collect()
}

fn uses(tests: &Path, verbs: &Verbs) -> Result<Uses, String> {
    let mut uses = Uses::new();
    for path in sources(tests)? {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("read {}: {error}", path.display()))?;
        let inner = path.strip_prefix(tests).unwrap_or(&path).with_extension("");
        let module = inner
            .display()
            .to_string()
            .replace('/', "::")
            .replace("::main", "");
        for part in text.split("#[test]").skip(1) {
            let Some(name) = part
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next())
            else {
                continue;
            };
            // The test's own body, up to the brace in the first column.
            let body = part.split("\n}\n").next().unwrap_or(part);
            for words in lists(body) {
                note(&words, verbs, &format!("{module}::{name}"), &mut uses);
            }
        }
    }
    Ok(uses)
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory)
        .map_err(|error| format!("read {}: {error}", directory.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "src" {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The lists of words between square brackets; what is no string stands as `?`.
fn lists(body: &str) -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '[' => {
                let before = &body[..body.len() - letters.as_str().len()];
                open.push(noun_before(before).map(str::to_owned).into_iter().collect());
            }
            ']' => lists.extend(open.pop()),
            '"' => {
                let mut word = String::new();
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' => break,
                        '\\' => word.extend(letters.next()),
                        other => word.push(other),
                    }
                }
                if let Some(list) = open.last_mut() {
                    list.push(word);
                }
            }
            'B' if body_says_busybox(letters.as_str()) => {
                if let Some(list) = open.last_mut() {
                    list.push("?".to_owned());
                }
            }
            _ => {}
        }
    }
    lists
}

/// The noun that a test's own `network(&[…` or `volume(bed, &[…` puts before the words.
fn noun_before(text: &str) -> Option<&'static str> {
    let call = text.trim_end_matches(['[', '&']);
    let call = call.strip_suffix("bed, ").unwrap_or(call);
    let name = call.strip_suffix('(')?;
    let noun = NOUNS.iter().find(|noun| name.ends_with(**noun))?;
    let is_whole = !name[..name.len() - noun.len()]
        .ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    is_whole.then_some(noun)
}

fn body_says_busybox(rest: &str) -> bool {
    rest.starts_with("USYBOX")
}

fn note(words: &[String], verbs: &Verbs, test: &str, uses: &mut Uses) {
    let Some(first) = words.first() else { return };
    let (verb, rest) = if NOUNS.contains(&first.as_str()) {
        let Some(second) = words.get(1) else { return };
        (format!("{first} {second}"), &words[2..])
    } else if first.starts_with('-') {
        // Options that are handed to `bed.start` or `bed.shell`, or put behind `run`.
        ("run".to_owned(), words)
    } else {
        (first.clone(), &words[1..])
    };
    let verb = match verb.as_str() {
        "image ls" => "images".to_owned(),
        "image rm" => "rmi".to_owned(),
        _ => verb,
    };
    let Some(flags) = verbs.get(&verb) else {
        return;
    };
    let is_run_like = RUN_LIKE.contains(&verb.as_str());
    for word in rest {
        if is_run_like && (word == "?" || word == "sh") {
            break;
        }
        let long = word
            .strip_prefix("--")
            .map(|long| long.split('=').next().unwrap_or(long));
        let short = word
            .strip_prefix('-')
            .filter(|short| !short.starts_with('-'));
        for flag in flags {
            let by_letter = |short: &str| {
                flag.short
                    .is_some_and(|letter| short.chars().take(4).any(|one| one == letter))
                    && short.chars().all(char::is_alphabetic)
            };
            if long == Some(flag.long.as_str()) || short.is_some_and(by_letter) {
                let key = (verb.clone(), flag.long.clone());
                uses.entry(key).or_default().insert(test.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_flags_of_a_help_page() {
        let help = "Usage:  wharf x\n\nOptions:\n      --add-host HOST:IP   Add --a line\n  -a, --attach STREAM   Attach\n                        --more\n      --help  Print\n";
        let names: Vec<_> = flags(help)
            .into_iter()
            .map(|flag| (flag.long, flag.short))
            .collect();
        assert_eq!(
            names,
            [
                ("add-host".to_owned(), None),
                ("attach".to_owned(), Some('a'))
            ]
        );
    }

    #[test]
    fn knows_the_noun_that_a_closure_adds() {
        let lists =
            lists(r#"network(&["ls", "-q"]).ok(); my_network(&["ls"]); volume(bed, &["ls"])"#);
        assert_eq!(lists[0], ["network", "ls", "-q"]);
        assert_eq!(lists[1], ["ls"]);
        assert_eq!(lists[2], ["volume", "ls"]);
    }

    #[test]
    fn reads_command_lines_of_a_test() {
        let body = r#"bed.run(&["run", "--rm", "-it", BUSYBOX, "sh", "-c", "x"]).ok(); f(&["-v", "a:b"]);"#;
        let lists = lists(body);
        assert_eq!(lists[0], ["run", "--rm", "-it", "?", "sh", "-c", "x"]);
        let flag = |long: &str, short| Flag {
            long: long.to_owned(),
            short,
        };
        let all = vec![
            flag("rm", None),
            flag("tty", Some('t')),
            flag("cpu-shares", Some('c')),
        ];
        let verbs = Verbs::from([("run".to_owned(), all)]);
        let mut uses = Uses::new();
        note(&lists[0], &verbs, "t", &mut uses);
        let used: Vec<&str> = uses.keys().map(|(_, flag)| flag.as_str()).collect();
        assert_eq!(used, ["rm", "tty"]);
    }
}
