//! Who we are at each registry: wharf's own file, Docker's file, and the
//! credential helpers that either names.
//!
//! Both files have Docker's format, so tools may share them:
//! `{"auths": {"host": {"auth": base64(user:password)}}, "credsStore": …}`.

mod file;
mod helper;

use std::fmt;
use std::path::PathBuf;

use sys::Result;

use self::helper::Helper;

/// The registry that people mean by a host or an old URL: Docker Hub has many
/// (`https://index.docker.io/v1/`).
pub fn registry_name(text: &str) -> &str {
    file::key_of(text)
}

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// Traded for access tokens at the registry's token server.
    Identity {
        user: String,
        token: String,
    },
    /// Shown to the registry as it is.
    Token {
        token: String,
    },
}

impl Credentials {
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } | Self::Identity { user, .. } => {
                Some(user.as_str()).filter(|user| !user.is_empty())
            }
            Self::Token { .. } => None,
        }
    }
}

/// Secrets stay out of debug output.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Password { .. } => "Password",
            Self::Identity { .. } => "Identity",
            Self::Token { .. } => "Token",
        };
        f.debug_struct(kind)
            .field("user", &self.user())
            .finish_non_exhaustive()
    }
}

/// Where a client takes credentials from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// Nobody, everywhere.
    None,
    /// These, for one registry and no other.
    Given {
        registry: String,
        credentials: Credentials,
    },
    Files(CredentialFiles),
}

impl CredentialSource {
    /// The credentials for a registry, if there are any.
    pub fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        match self {
            Self::None => Ok(None),
            Self::Given {
                registry: for_whom,
                credentials,
            } => {
                Ok((file::key_of(for_whom) == file::key_of(registry)).then(|| credentials.clone()))
            }
            Self::Files(files) => files.find(registry),
        }
    }
}

/// The files with credentials, the first one ours.
#[derive(Clone, Debug, Default)]
pub struct CredentialFiles {
    /// Written by `store` and `erase` (mode 0600); asked first.
    pub own: Option<PathBuf>,
    /// Docker's `config.json`; only read.
    pub docker: Option<PathBuf>,
    /// Where helpers are looked for before the search path.
    pub helpers: Vec<PathBuf>,
}

impl CredentialFiles {
    /// The credentials for a registry: in each file its helper for that
    /// registry, then its entries, then its default helper.
    pub fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        for path in self.own.iter().chain(&self.docker) {
            let contents = file::read(path)?;
            if let Some(found) = contents.find(registry, &self.helpers)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps credentials in our own file, or in the helper that it names.
    pub fn store(&self, registry: &str, credentials: &Credentials) -> Result<()> {
        let path = self.own_path()?;
        let contents = file::read(path)?;
        match contents.helper_for(registry) {
            Some(name) => {
                helper::store(self.helper(&name), &file::server_of(registry), credentials)
            }
            None => file::store(path, registry, credentials),
        }
    }

    /// Forgets the credentials of a registry in our own file and its helper;
    /// whether there were any.
    pub fn erase(&self, registry: &str) -> Result<bool> {
        let path = self.own_path()?;
        let contents = file::read(path)?;
        let in_helper = match contents.helper_for(registry) {
            Some(name) => {
                let helper = self.helper(&name);
                let server = file::server_of(registry);
                let known = helper::get(helper, &server)?.is_some();
                if known {
                    helper::erase(helper, &server)?;
                }
                known
            }
            None => false,
        };
        Ok(file::erase(path, registry)? || in_helper)
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper {
            name,
            directories: &self.helpers,
        }
    }

    fn own_path(&self) -> Result<&std::path::Path> {
        self.own.as_deref().ok_or_else(|| {
            sys::Error::new(
                sys::ErrorKind::InvalidInput,
                "no file for credentials is configured",
            )
        })
    }
}
