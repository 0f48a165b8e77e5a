//! The door of the crate.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use spec::Reference;
use sys::{Error, ErrorKind, Result};

use crate::config::RegistryConfig;
use crate::credentials::CredentialSource;
use crate::endpoint::{self, Endpoint};
use crate::session::Session;
use crate::token::Scopes;

/// A client of any number of registries. Clones share connections and tokens;
/// all methods may be called from several threads.
#[derive(Clone)]
pub struct Client {
    pub(crate) session: Arc<Session>,
    /// Mirrors that failed are not asked again.
    silent: Arc<Mutex<HashSet<String>>>,
}

impl Client {
    /// Opens nothing yet.
    pub fn new(config: RegistryConfig, credentials: CredentialSource) -> Self {
        Self {
            session: Arc::new(Session::new(config, credentials)),
            silent: Arc::default(),
        }
    }

    /// Asks the mirrors of a registry in order, then the registry itself; the
    /// first success counts, else what the registry itself said.
    pub(crate) fn for_pull<T>(
        &self,
        reference: &Reference,
        ask: impl Fn(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let endpoints = endpoint::for_pull(&self.session.config, reference.registry())?;
        let Some((origin, mirrors)) = endpoints.split_last() else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a registry without an endpoint",
            ));
        };
        for mirror in mirrors {
            if self.is_silent(mirror) {
                continue;
            }
            match ask(mirror) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(_) => self.mark_silent(mirror),
            }
        }
        ask(origin)
    }

    /// The registry itself, for pushes.
    pub(crate) fn origin(&self, reference: &Reference) -> Result<Endpoint> {
        endpoint::origin(&self.session.config, reference.registry())
    }

    fn is_silent(&self, mirror: &Endpoint) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.contains(&mirror.authority)
    }

    fn mark_silent(&self, mirror: &Endpoint) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.insert(mirror.authority.clone());
    }
}

/// A repository's path at an endpoint.
pub(crate) fn repository_at(endpoint: &Endpoint, reference: &Reference) -> String {
    format!("{}{}", endpoint.prefix, reference.repository())
}

pub(crate) fn pull_scope(repository: &str) -> Scopes {
    Scopes::from([format!("repository:{repository}:pull")])
}

pub(crate) fn push_scope(repository: &str) -> Scopes {
    Scopes::from([format!("repository:{repository}:pull,push")])
}
