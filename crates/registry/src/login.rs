//! Are these credentials good?

use sys::Result;
use ureq::http::Method;

use crate::Client;
use crate::config::RegistryConfig;
use crate::credentials::{CredentialSource, Credentials};
use crate::endpoint;
use crate::session::Ask;
use crate::session::Target;
use crate::token::Scopes;

impl Client {
    /// Shows credentials to a registry; `Denied` if it refuses them. Keeping
    /// them is `CredentialFiles::store`.
    pub fn login(config: &RegistryConfig, registry: &str, credentials: &Credentials) -> Result<()> {
        let source = CredentialSource::Given {
            registry: registry.to_owned(),
            credentials: credentials.clone(),
        };
        let client = Self::new(config.clone(), source);
        let endpoint = endpoint::origin(config, registry)?;
        let response = client.session.ask(&Ask {
            endpoint: &endpoint,
            method: Method::GET,
            target: Target::Path(""),
            headers: Vec::new(),
            scopes: &Scopes::new(),
        })?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(client.session.refused(&endpoint, response))
        }
    }
}
