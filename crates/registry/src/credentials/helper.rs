//! Credential helpers: programs `docker-credential-<name>` that keep secrets
//! (github.com/docker/docker-credential-helpers, "Development").

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sys::{Context, Error, ErrorKind, Result};

use super::Credentials;

const LARGEST_ANSWER: u64 = 1024 * 1024;
/// A user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Known {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// A helper by name, and where to look for its program.
#[derive(Clone, Copy)]
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    /// Before the search path of this process.
    pub(super) directories: &'a [PathBuf],
}

/// What the helper knows for a server.
pub(super) fn get(helper: Helper<'_>, server: &str) -> Result<Option<Credentials>> {
    let (succeeded, answer) = ask(helper, "get", server)?;
    if !succeeded {
        let text = String::from_utf8_lossy(&answer);
        // The protocol has words for this and no code.
        if text.to_ascii_lowercase().contains("not found") {
            return Ok(None);
        }
        return Err(failure(helper, &answer));
    }
    let known: Known = serde_json::from_slice(&answer).map_err(|_| {
        Error::new(
            ErrorKind::Corrupt,
            format!("docker-credential-{} answers with no JSON", helper.name),
        )
    })?;
    if known.username.is_empty() && known.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if known.username == TOKEN_USER {
        Credentials::Identity {
            user: String::new(),
            token: known.secret,
        }
    } else {
        Credentials::Password {
            user: known.username,
            password: known.secret,
        }
    }))
}

pub(super) fn store(helper: Helper<'_>, server: &str, credentials: &Credentials) -> Result<()> {
    let (username, secret) = match credentials {
        Credentials::Password { user, password } => (user.clone(), password.clone()),
        Credentials::Identity { token, .. } | Credentials::Token { token } => {
            (TOKEN_USER.to_owned(), token.clone())
        }
    };
    let known = Known {
        server_url: server.to_owned(),
        username,
        secret,
    };
    let text = serde_json::to_string(&known)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    done(helper, ask(helper, "store", &text)?)
}

pub(super) fn erase(helper: Helper<'_>, server: &str) -> Result<()> {
    done(helper, ask(helper, "erase", server)?)
}

fn done(helper: Helper<'_>, (succeeded, answer): (bool, Vec<u8>)) -> Result<()> {
    if succeeded {
        Ok(())
    } else {
        Err(failure(helper, &answer))
    }
}

fn failure(helper: Helper<'_>, answer: &[u8]) -> Error {
    let text = String::from_utf8_lossy(answer);
    let mut words: String = text.trim().chars().take(200).collect();
    words.retain(|letter| !letter.is_control());
    Error::new(
        ErrorKind::Unavailable,
        format!("docker-credential-{}: {words}", helper.name),
    )
}

/// Runs the helper; whether it succeeded, and what it said.
fn ask(helper: Helper<'_>, act: &str, input: &str) -> Result<(bool, Vec<u8>)> {
    let name = helper.name;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        let words = format!("{name:?} is not the name of a credential helper");
        return Err(Error::new(ErrorKind::InvalidInput, words));
    }
    let program = format!("docker-credential-{name}");
    let what = || format!("run {program}");
    let mut places = helper.directories.iter().map(|place| place.join(&program));
    let found = places.find(|path| path.is_file());
    let mut child = Command::new(found.unwrap_or_else(|| PathBuf::from(&program)))
        .arg(act)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(what)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing says in its status what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let mut answer = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(LARGEST_ANSWER).read_to_end(&mut answer),
        None => Ok(0),
    };
    let status = child.wait().context(what)?;
    read.context(what)?;
    Ok((status.success(), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_a_name_and_no_path() {
        for name in ["", "../x", "a/b", "a b", "a;b"] {
            let helper = Helper {
                name,
                directories: &[],
            };
            assert!(get(helper, "x").is_err(), "{name}");
        }
    }
}
