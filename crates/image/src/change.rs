//! Dockerfile instructions that change an image's config, as `commit` and
//! `import` take them with `--change`.

use spec::image::{ContainerDefaults, Empty, Healthcheck};
use sys::{Context, Error, ErrorKind, Result};

/// Applies the instructions one after the other.
pub fn apply_changes<S: AsRef<str>>(config: &mut ContainerDefaults, lines: &[S]) -> Result<()> {
    let mut command_set = false;
    for line in lines {
        let line = line.as_ref();
        let keyword = split_keyword(line).0;
        // As in a Dockerfile, a new entry point makes the inherited command
        // meaningless.
        if keyword == "ENTRYPOINT" && !command_set {
            config.cmd = None;
        }
        command_set |= keyword == "CMD";
        apply_change(config, line)?;
    }
    Ok(())
}

/// Applies one instruction: `CMD ["a","b"]`, `ENV a=b`, …
pub fn apply_change(config: &mut ContainerDefaults, line: &str) -> Result<()> {
    change(config, line).context(|| {
        let shown: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
        format!("change {shown:?}")
    })
}

fn change(config: &mut ContainerDefaults, line: &str) -> Result<()> {
    let (keyword, rest) = split_keyword(line);
    if rest.is_empty() {
        return Err(invalid(format!("{keyword} needs an argument")));
    }
    match keyword.as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(config, rest)),
        "ENV" => {
            for (name, value) in pairs(rest, config)? {
                set_variable(&mut config.env, &name, &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, config)?),
        "EXPOSE" => {
            for port in words(rest, config)? {
                expose(config, &port)?;
            }
        }
        "USER" => config.user = one_word(rest, config)?,
        "WORKDIR" => config.working_dir = directory(config, rest)?,
        "VOLUME" => {
            let paths = match list(rest) {
                Some(paths) => paths,
                None => words(rest, config)?,
            };
            for path in paths {
                if path.is_empty() {
                    return Err(invalid("a volume needs a path"));
                }
                config.volumes.insert(path, Empty {});
            }
        }
        "STOPSIGNAL" => config.stop_signal = Some(one_word(rest, config)?),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(config, rest)?),
        "ONBUILD" => {
            let (trigger, _) = split_keyword(rest);
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(invalid(format!("ONBUILD cannot be followed by {trigger}")));
            }
            config
                .on_build
                .get_or_insert_default()
                .push(rest.to_owned());
        }
        "SHELL" => {
            let shell = list(rest).filter(|shell| !shell.is_empty());
            config.shell = Some(shell.ok_or_else(|| invalid("SHELL needs a JSON list"))?);
        }
        other => return Err(invalid(format!("{other} cannot be used here"))),
    }
    Ok(())
}

fn split_keyword(line: &str) -> (String, &str) {
    let line = line.trim();
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (keyword.to_ascii_uppercase(), rest.trim_start())
}

/// The exec form is a JSON list of strings; all else goes to the shell.
fn command(config: &ContainerDefaults, text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| with_shell(config, text))
}

fn with_shell(config: &ContainerDefaults, text: &str) -> Vec<String> {
    let shell = config.shell.clone();
    let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    command.push(text.to_owned());
    command
}

fn list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())?
}

fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let is_it = |known: &String| known.split('=').next() == Some(name);
    let variable = format!("{name}={value}");
    match env.iter_mut().find(|known| is_it(known)) {
        Some(known) => *known = variable,
        None => env.push(variable),
    }
}

fn expose(config: &mut ContainerDefaults, text: &str) -> Result<()> {
    let wrong = || {
        invalid(format!(
            "{text:?} is not a port (number[-number][/tcp|udp|sctp])"
        ))
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first: u16 = first.parse().map_err(|_| wrong())?;
    let last: u16 = last.parse().map_err(|_| wrong())?;
    if first == 0 || last < first {
        return Err(wrong());
    }
    for port in first..=last {
        config
            .exposed_ports
            .insert(format!("{port}/{protocol}"), Empty {});
    }
    Ok(())
}

/// A relative path goes on from where the config is.
fn directory(config: &ContainerDefaults, text: &str) -> Result<String> {
    let path = expand_line(text, config)?;
    let base = if path.starts_with('/') {
        ""
    } else {
        &config.working_dir
    };
    let joined = format!("{base}/{path}");
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn healthcheck(config: &ContainerDefaults, text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option
            .split_once(char::is_whitespace)
            .unwrap_or((option, ""));
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| invalid(format!("--{option} needs a value")))?;
        match name {
            "interval" => check.interval = duration(value)?,
            "timeout" => check.timeout = duration(value)?,
            "start-period" => check.start_period = duration(value)?,
            "start-interval" => check.start_interval = duration(value)?,
            "retries" => {
                let wrong = |_| invalid(format!("{value:?} is not a number of retries"));
                check.retries = value.parse().map_err(wrong)?;
            }
            _ => return Err(invalid(format!("--{name} is not known"))),
        }
        rest = after.trim_start();
    }
    let (kind, rest) = split_keyword(rest);
    match (kind.as_str(), rest) {
        ("NONE", "") => check.test = vec!["NONE".to_owned()],
        ("CMD", rest) if !rest.is_empty() => {
            check.test = match list(rest) {
                Some(command) => [vec!["CMD".to_owned()], command].concat(),
                None => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
            };
        }
        _ => return Err(invalid("HEALTHCHECK needs NONE or CMD with a command")),
    }
    let _ = config;
    Ok(check)
}

/// Go's durations: `1m30s`, `500ms`; in nanoseconds.
fn duration(text: &str) -> Result<u64> {
    let wrong = || invalid(format!("{text:?} is not a duration (such as 30s or 1m30s)"));
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut sum = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        sum += number * unit;
        rest = &rest[letters..];
    }
    // Go's durations end at 292 years.
    if text.is_empty() || sum > 9.2e18 {
        return Err(wrong());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Ok(sum.round() as u64)
}

/// `a=b c="d e"`, or the old form `name the rest`.
fn pairs(text: &str, config: &ContainerDefaults) -> Result<Vec<(String, String)>> {
    let first = text.split(char::is_whitespace).next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| invalid(format!("{text:?} has no value")))?;
        return Ok(vec![(
            name.to_owned(),
            expand_line(value.trim_start(), config)?,
        )]);
    }
    let pair = |word: String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| invalid(format!("{word:?} has no value")))?;
        if name.is_empty() {
            return Err(invalid(format!("{word:?} has no name")));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    words(text, config)?.into_iter().map(pair).collect()
}

fn one_word(text: &str, config: &ContainerDefaults) -> Result<String> {
    let mut words = words(text, config)?;
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => Err(invalid(format!("{text:?} is more than one word"))),
    }
}

/// Splits at blanks outside of quotes, and expands variables.
fn words(text: &str, config: &ContainerDefaults) -> Result<Vec<String>> {
    let mut expander = Expander::new(text, config);
    let mut words = Vec::new();
    while let Some(word) = expander.word(Blanks::Split)? {
        words.push(word);
    }
    Ok(words)
}

/// The whole line as one word.
fn expand_line(text: &str, config: &ContainerDefaults) -> Result<String> {
    let mut expander = Expander::new(text.trim_end(), config);
    Ok(expander.word(Blanks::Keep)?.unwrap_or_default())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blanks {
    Split,
    Keep,
}

struct Expander<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    env: &'a [String],
}

impl<'a> Expander<'a> {
    fn new(text: &'a str, config: &'a ContainerDefaults) -> Self {
        Self {
            letters: text.chars().peekable(),
            env: &config.env,
        }
    }

    fn word(&mut self, blanks: Blanks) -> Result<Option<String>> {
        while blanks == Blanks::Split && self.letters.next_if(|c| c.is_whitespace()).is_some() {}
        if self.letters.peek().is_none() {
            return Ok(None);
        }
        let mut word = String::new();
        let mut quoted = false;
        while let Some(letter) = self.letters.next() {
            match letter {
                '"' => quoted = !quoted,
                '\'' if !quoted => loop {
                    match self.letters.next() {
                        Some('\'') => break,
                        Some(inside) => word.push(inside),
                        None => return Err(invalid("a quote is not closed")),
                    }
                },
                '\\' => match self.letters.next() {
                    Some(escaped) if quoted && !matches!(escaped, '"' | '\\' | '$') => {
                        word.extend(['\\', escaped]);
                    }
                    Some(escaped) => word.push(escaped),
                    None => word.push('\\'),
                },
                '$' => word.push_str(&self.variable()?),
                blank if blank.is_whitespace() && !quoted && blanks == Blanks::Split => break,
                other => word.push(other),
            }
        }
        if quoted {
            return Err(invalid("a quote is not closed"));
        }
        Ok(Some(word))
    }

    /// After a `$`: `name`, `{name}`, `{name:-instead}`, `{name:+then}`.
    fn variable(&mut self) -> Result<String> {
        let braced = self.letters.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(letter) = self
            .letters
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(letter);
        }
        if !braced {
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name)
            });
        }
        let mut rest = String::new();
        loop {
            match self.letters.next() {
                Some('}') => break,
                Some(letter) => rest.push(letter),
                None => return Err(invalid("${ is not closed")),
            }
        }
        let value = self.value(&name);
        match rest.split_at_checked(2) {
            _ if name.is_empty() => Err(invalid("${} names no variable")),
            _ if rest.is_empty() => Ok(value),
            Some((":-", instead)) if value.is_empty() => Ok(instead.to_owned()),
            Some((":-", _)) => Ok(value),
            Some((":+", _)) if value.is_empty() => Ok(value),
            Some((":+", then)) => Ok(then.to_owned()),
            _ => Err(invalid(format!("${{{name}{rest}}} is not known"))),
        }
    }

    fn value(&self, name: &str) -> String {
        let pairs = self.env.iter().filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(known, _)| *known == name);
        values
            .next()
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default()
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> ContainerDefaults {
        let mut config = ContainerDefaults::default();
        apply_changes(&mut config, lines).unwrap();
        config
    }

    #[test]
    fn takes_both_forms_of_commands() {
        let config = changed(&[r#"CMD ["a", "b c"]"#, "entrypoint run it"]);
        assert_eq!(config.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        let config = changed(&[r#"SHELL ["bash","-ec"]"#, "CMD x && y"]);
        assert_eq!(config.cmd.unwrap(), ["bash", "-ec", "x && y"]);
        let mut config = ContainerDefaults {
            cmd: Some(vec!["old".into()]),
            ..ContainerDefaults::default()
        };
        apply_changes(&mut config, &["ENTRYPOINT [\"e\"]"]).unwrap();
        assert_eq!(config.cmd, None);
    }

    #[test]
    fn sets_variables_and_labels() {
        let config = changed(&[
            "ENV A=1 B=\"two words\" C='$A' D=a\\ b",
            "ENV E the $A rest",
            "ENV A=2",
            "ENV F=${A}${X:-none}${A:+some}$",
            "LABEL x.y=\"a b\" z=$B",
        ]);
        let wanted = [
            "A=2",
            "B=two words",
            "C=$A",
            "D=a b",
            "E=the 1 rest",
            "F=2nonesome$",
        ];
        assert_eq!(config.env, wanted);
        assert_eq!(config.labels["x.y"], "a b");
        assert_eq!(config.labels["z"], "two words");
    }

    #[test]
    fn sets_the_rest() {
        let config = changed(&[
            "EXPOSE 80 8000-8002/udp",
            "USER app:app",
            "WORKDIR /srv",
            "WORKDIR a/../b",
            "VOLUME /data /log",
            "VOLUME [\"/x y\"]",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f http://localhost",
        ]);
        let ports: Vec<_> = config.exposed_ports.keys().collect();
        assert_eq!(ports, ["80/tcp", "8000/udp", "8001/udp", "8002/udp"]);
        assert_eq!(config.user, "app:app");
        assert_eq!(config.working_dir, "/srv/b");
        assert_eq!(config.volumes.len(), 3);
        assert_eq!(config.stop_signal.unwrap(), "SIGINT");
        assert_eq!(config.on_build.unwrap(), ["RUN make"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f http://localhost"]);
        assert_eq!(
            (check.interval, check.timeout),
            (90_000_000_000, 500_000_000)
        );
        assert_eq!(check.retries, 3);
    }

    #[test]
    fn refuses_what_is_no_change() {
        for line in [
            "",
            "CMD",
            "RUN x",
            "FROM y",
            "ENV A",
            "ENV =b",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 80/icmp",
            "USER a b",
            "SHELL sh",
            "ENV A=\"x",
            "HEALTHCHECK maybe",
            "HEALTHCHECK --interval=x CMD y",
            "ONBUILD FROM x",
        ] {
            let mut config = ContainerDefaults::default();
            assert!(apply_change(&mut config, line).is_err(), "{line}");
        }
    }
}
