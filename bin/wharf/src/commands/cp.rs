//! `wharf cp`.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use engine::CopyRequest;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::{self, PIPE_CLOSED, human};

/// One of the two arguments.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// A tar on stdin or stdout.
    Stream,
    Host(&'a str),
    Container(&'a str, PathBuf),
}

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let (from, to) = (
        given.text("SOURCE").unwrap_or_default(),
        given.text("TARGET").unwrap_or_default(),
    );
    let request = CopyRequest {
        archive: given.on("archive"),
        follow: given.on("follow-link"),
    };
    let containers = call.engine()?;
    let containers = containers.containers();
    let act = || format!("copy {from} to {to}");
    let bytes = match (place(from)?, place(to)?) {
        (Place::Container(name, path), Place::Host(host)) => containers
            .copy_to_host(name, &path, &absolute(host)?, request)
            .context(act)?,
        (Place::Host(host), Place::Container(name, path)) => containers
            .copy_from_host(&absolute(host)?, name, &path, request)
            .context(act)?,
        (Place::Container(name, path), Place::Stream) => {
            if io::stdout().is_terminal() {
                return Err(invalid("stdout is a terminal: redirect it"));
            }
            let sink = BufWriter::with_capacity(256 << 10, io::stdout());
            let done = containers
                .copy_to_tar(name, &path, request, sink)
                .and_then(|mut sink| Ok(sink.flush()?));
            return match done {
                Err(error) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
                    Ok(PIPE_CLOSED)
                }
                done => done.context(act).map(|()| DONE),
            };
        }
        (Place::Stream, Place::Container(name, path)) => containers
            .copy_from_tar(io::stdin(), name, &path)
            .context(act)?,
        (Place::Container(..), Place::Container(..)) => {
            return Err(invalid(
                "files are copied between a container and the host: \
                 two containers can be joined with wharf cp A:PATH - | wharf cp - B:PATH",
            ));
        }
        _ => {
            return Err(invalid(
                "one of the two has to be in a container: write it as CONTAINER:PATH",
            ));
        }
    };
    let is_quiet = given.on_or("quiet", !io::stdout().is_terminal());
    if !is_quiet {
        output::note(&format!(
            "Successfully copied {} to {to}",
            human::size(bytes)
        ));
    }
    Ok(DONE)
}

/// As Docker: what begins with a slash or a dot is on the host, whatever
/// colons follow.
fn place(text: &str) -> Result<Place<'_>> {
    if text == "-" {
        return Ok(Place::Stream);
    }
    if text.starts_with(['/', '.']) {
        return Ok(Place::Host(text));
    }
    match text.split_once(':') {
        Some(("", _)) => Err(invalid("the container has no name")),
        // Paths in a container begin at its root.
        Some((name, path)) => Ok(Place::Container(name, joined(Path::new("/"), path))),
        None => Ok(Place::Host(text)),
    }
}

/// Keeps a slash or dot at the end, which says something.
fn joined(base: &Path, path: &str) -> PathBuf {
    let mut text = OsString::from(base);
    if !text.as_encoded_bytes().ends_with(b"/") {
        text.push("/");
    }
    text.push(path.trim_start_matches('/'));
    PathBuf::from(text)
}

fn absolute(path: &str) -> Result<PathBuf> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    let here = std::env::current_dir().context(|| "find the working directory")?;
    Ok(joined(&here, path))
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_containers_from_the_host() {
        for (text, expected) in [
            ("-", Place::Stream),
            ("/a:b", Place::Host("/a:b")),
            ("./a:b", Place::Host("./a:b")),
            ("a", Place::Host("a")),
            ("web:etc/x/.", Place::Container("web", "/etc/x/.".into())),
            ("web:/", Place::Container("web", "/".into())),
        ] {
            assert_eq!(place(text).unwrap(), expected, "{text}");
        }
        assert!(place(":/a").is_err());
        assert_eq!(joined(Path::new("/a"), "b/").as_os_str(), "/a/b/");
    }
}
