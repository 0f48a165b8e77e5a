//! The file: Docker's `config.json` as far as it concerns credentials. What
//! else is in it is kept as it is.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sys::{Context, Error, ErrorKind, Result};

use super::Credentials;
use super::helper::{self, Helper};

const LARGEST: u64 = 4 * 1024 * 1024;
/// What Docker has kept Hub's credentials under since its first registry.
const HUB_SERVER: &str = "https://index.docker.io/v1/";
const HUB: &str = "docker.io";

#[derive(Debug, Default)]
pub(super) struct Contents {
    all: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// A file that is not there is empty.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let act = || format!("read credentials in {}", path.display());
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut text).context(act)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Contents::default());
        }
        Err(error) => return Err(error).context(act),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Contents::default());
    }
    let all = serde_json::from_slice(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
        .context(act)?;
    Ok(Contents { all })
}

impl Contents {
    pub(super) fn find(
        &self,
        registry: &str,
        directories: &[PathBuf],
    ) -> Result<Option<Credentials>> {
        let ask = |name: &str| helper::get(Helper { name, directories }, &server_of(registry));
        if let Some(name) = self.own_helper(registry) {
            return ask(&name);
        }
        if let Some(found) = self.entry(registry)? {
            return Ok(Some(found));
        }
        match self.default_helper() {
            Some(name) => ask(&name),
            None => Ok(None),
        }
    }

    /// The helper that keeps this registry's credentials.
    pub(super) fn helper_for(&self, registry: &str) -> Option<String> {
        self.own_helper(registry).or_else(|| self.default_helper())
    }

    fn own_helper(&self, registry: &str) -> Option<String> {
        let helpers = self.all.get("credHelpers")?.as_object()?;
        let wanted = key_of(registry);
        let (_, name) = helpers.iter().find(|(key, _)| key_of(key) == wanted)?;
        name.as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    }

    fn default_helper(&self) -> Option<String> {
        let name = self.all.get("credsStore")?.as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn entry(&self, registry: &str) -> Result<Option<Credentials>> {
        let wanted = key_of(registry);
        let entries = self.all.get("auths").and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten() {
            if key_of(key) != wanted {
                continue;
            }
            let wrong = || {
                let words = format!("the stored credentials for {registry} are malformed");
                Error::new(ErrorKind::InvalidInput, words)
            };
            let entry = Entry::deserialize(value).map_err(|_| wrong())?;
            if let Some(found) = entry.credentials().map_err(|Malformed| wrong())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// What an entry must not be.
struct Malformed;

impl Entry {
    /// `None` if it is empty: a helper has the secret then.
    fn credentials(self) -> Result<Option<Credentials>, Malformed> {
        if !self.registrytoken.is_empty() {
            let token = self.registrytoken;
            return Ok(Some(Credentials::Token { token }));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username, self.password)
        } else {
            let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| Malformed)?;
            let text = String::from_utf8(bytes).map_err(|_| Malformed)?;
            let (user, password) = text.split_once(':').ok_or(Malformed)?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        if !self.identitytoken.is_empty() {
            let token = self.identitytoken;
            return Ok(Some(Credentials::Identity { user, token }));
        }
        Ok((!user.is_empty()).then_some(Credentials::Password { user, password }))
    }
}

/// Writes one entry, leaving all others.
pub(super) fn store(path: &Path, registry: &str, credentials: &Credentials) -> Result<()> {
    let mut entry = Map::new();
    let mut set = |name: &str, value: String| entry.insert(name.to_owned(), Value::String(value));
    match credentials {
        Credentials::Password { user, password } => {
            set("auth", STANDARD.encode(format!("{user}:{password}")));
        }
        Credentials::Identity { user, token } => {
            set("auth", STANDARD.encode(format!("{user}:")));
            set("identitytoken", token.clone());
        }
        Credentials::Token { token } => {
            set("registrytoken", token.clone());
        }
    }
    let mut contents = read(path)?;
    let entries = contents
        .all
        .entry("auths")
        .or_insert_with(|| Map::new().into());
    if !entries.is_object() {
        *entries = Map::new().into();
    }
    if let Some(entries) = entries.as_object_mut() {
        entries.retain(|key, _| key_of(key) != key_of(registry));
        entries.insert(server_of(registry), entry.into());
    }
    write(path, &contents)
}

/// Removes one entry; whether it was there.
pub(super) fn erase(path: &Path, registry: &str) -> Result<bool> {
    let mut contents = read(path)?;
    let Some(entries) = contents.all.get_mut("auths").and_then(Value::as_object_mut) else {
        return Ok(false);
    };
    let before = entries.len();
    entries.retain(|key, _| key_of(key) != key_of(registry));
    let gone = entries.len() < before;
    if gone {
        write(path, &contents)?;
    }
    Ok(gone)
}

/// Replaces the file in one step, readable by its owner alone.
fn write(path: &Path, contents: &Contents) -> Result<()> {
    let act = || format!("write credentials to {}", path.display());
    let text = serde_json::to_string_pretty(&contents.all)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
        .context(act)?;
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context(act)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    // Left by a process of the same number that died here.
    let _ = std::fs::remove_file(&temporary);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.context(act)
}

/// What an entry is filed under, and what helpers are asked for.
pub(super) fn server_of(registry: &str) -> String {
    match key_of(registry) {
        HUB => HUB_SERVER.to_owned(),
        other => other.to_owned(),
    }
}

/// The registry that a key of the file means: Docker wrote URLs at times.
pub(super) fn key_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    match host {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Contents {
        Contents {
            all: serde_json::from_str(text).unwrap(),
        }
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn reads_dockers_file() {
        let contents = contents(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "am9lOmE6Yg=="},
                "https://old.example/v2/": {"username": "u", "password": "p"},
                "id.example": {"auth": "am9lOg==", "identitytoken": "t"},
                "empty.example": {},
                "bad.example": {"auth": "***"}},
              "credHelpers": {"h.example": ""}, "HttpHeaders": {"x": "y"}}"#,
        );
        let find = |registry| contents.find(registry, &[]).unwrap();
        assert_eq!(find("docker.io"), Some(password("joe", "a:b")));
        assert_eq!(find("old.example"), Some(password("u", "p")));
        let identity = Credentials::Identity {
            user: "joe".to_owned(),
            token: "t".to_owned(),
        };
        assert_eq!(find("id.example"), Some(identity));
        assert_eq!(find("empty.example"), None);
        assert_eq!(find("h.example"), None);
        assert_eq!(find("other.example"), None);
        assert!(contents.find("bad.example", &[]).is_err());
    }

    #[test]
    fn keeps_what_it_does_not_know_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wharf/auth.json");
        assert!(!erase(&path, "x").unwrap());
        store(&path, "docker.io", &password("joe", "1")).unwrap();
        let mut all = read(&path).unwrap();
        all.all.insert("psFormat".to_owned(), "x".into());
        write(&path, &all).unwrap();
        store(&path, "localhost:5000", &password("ann", "2")).unwrap();
        let contents = read(&path).unwrap();
        assert_eq!(
            contents.find("docker.io", &[]).unwrap(),
            Some(password("joe", "1"))
        );
        assert_eq!(
            contents.find("localhost:5000", &[]).unwrap(),
            Some(password("ann", "2"))
        );
        assert_eq!(contents.all["psFormat"], "x");
        assert!(contents.all["auths"].get(HUB_SERVER).is_some());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(erase(&path, "docker.io").unwrap());
        assert_eq!(read(&path).unwrap().find("docker.io", &[]).unwrap(), None);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }
}
