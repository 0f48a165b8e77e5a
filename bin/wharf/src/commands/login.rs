//! `wharf login`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use engine::images::Credentials;
use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::terminal::raw;
use crate::terminal::signals::{Signals, Watch};

/// Where one logs in who names no server.
pub(super) const DEFAULT_SERVER: &str = "docker.io";
/// No password is longer; a file given by mistake is.
const PASSWORD_MAX: u64 = 64 << 10;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let server = server(given.text("SERVER"));
    let engine = call.engine()?;
    let signals = Signals::new()?;
    std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || interrupted("log in"));
        let credentials = credentials(call)?;
        engine
            .images()
            .login(&server, &credentials)
            .context(|| format!("log in to {server}"))
    })?;
    output::print_line("Login Succeeded")?;
    Ok(DONE)
}

/// Without what browsers show around a host name.
pub(super) fn server(given: Option<&str>) -> String {
    let text = given.unwrap_or(DEFAULT_SERVER).trim();
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let bare = bare.split('/').next().unwrap_or(bare);
    match bare {
        "" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_SERVER.to_owned(),
        other => other.to_owned(),
    }
}

fn credentials(call: &Call<'_>) -> Result<Credentials> {
    let given = call.given;
    let from_stdin = given.on("password-stdin");
    let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
    if from_stdin && given.text("password").is_some() {
        return invalid("--password and --password-stdin exclude each other");
    }
    if from_stdin && given.text("username").is_none() {
        return invalid("--password-stdin needs --username");
    }
    if given.text("password").is_some() {
        output::note("WARNING: others on this host can see --password; --password-stdin is safe");
    }
    let user = match given.text("username") {
        Some(user) => user.to_owned(),
        None => ask("Username: ")?,
    };
    if user.is_empty() {
        return invalid("a user name is needed");
    }
    let password = match given.text("password") {
        Some(password) => password.to_owned(),
        None if from_stdin => {
            let mut text = String::new();
            io::stdin()
                .take(PASSWORD_MAX)
                .read_to_string(&mut text)
                .context(|| "read the password")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => {
            let unseen = io::stdin().is_terminal().then(raw::no_echo).transpose()?;
            let password = ask("Password: ")?;
            drop(unseen);
            password
        }
    };
    if password.is_empty() {
        return invalid("a password is needed");
    }
    Ok(Credentials::Password { user, password })
}

fn ask(question: &str) -> Result<String> {
    use std::io::Write as _;
    if !io::stdin().is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "there is no terminal to ask for user and password: use -u and --password-stdin",
        ));
    }
    // Not locked while we wait: the end of a wait has to be told there.
    let _ = io::stderr().write_all(question.as_bytes());
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context(|| "read the answer")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_host_names() {
        for (given, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("localhost:5000"), "localhost:5000"),
            (Some("http://registry.example/v2/"), "registry.example"),
        ] {
            assert_eq!(server(given), expected);
        }
    }
}
