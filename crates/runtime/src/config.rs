//! Reading `config.json` and process files: what is wrong is told with the
//! field that it is in.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use spec::runtime::{Process, Spec};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::sandbox::Sandbox;
use crate::seccomp;

/// Larger than any configuration that makes sense.
const SIZE_MAX: u64 = 16 << 20;

/// Reads `config.json`.
pub fn read_spec(path: &Path) -> Result<Spec> {
    read(path)
}

/// Reads a process on its own, as `exec --process` has it.
pub fn read_process(path: &Path) -> Result<Process> {
    read(path)
}

/// Whether this runtime can honour every field of `spec`, as far as that is
/// known without looking at the host. The error names the field.
pub fn validate(spec: &Spec, bundle: &Path) -> Result<()> {
    let sandbox = Sandbox::plan(spec, bundle, None)?;
    if let Some(profile) = &sandbox.linux.seccomp {
        seccomp::custom(profile)?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let read = || -> Result<T> {
        // With room it is read at once; most have less.
        let mut text = Vec::with_capacity(32 << 10);
        File::open(path)?.take(SIZE_MAX).read_to_end(&mut text)?;
        parse(&text)
    };
    read().context(|| format!("read {}", path.display()))
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        // Once more, slowly, to learn where it was.
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let place = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err();
        let place = place.map(|error| error.path().to_string());
        let message = match place.filter(|place| place != ".") {
            Some(place) => format!("{place}: {error}"),
            None => error.to_string(),
        };
        Error::new(ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let text = br#"{"ociVersion": "1.3.0", "linux": {"namespaces": [{"type": "dream"}]}}"#;
        let said = parse::<Spec>(text).unwrap_err().to_string();
        assert!(said.starts_with("linux.namespaces[0].type: "), "{said}");
        let said = parse::<Spec>(b"[").unwrap_err().to_string();
        assert!(!said.starts_with('.'), "{said}");
    }
}
