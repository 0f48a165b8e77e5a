//! `login` and `logout`.

use registry::{Client, Credentials, registry_name};
use sys::Result;

use super::Images;

impl Images<'_> {
    /// Shows credentials to a registry and keeps them if it accepts them. An
    /// old URL such as `https://index.docker.io/v1/` will do.
    pub fn login(&self, registry: &str, credentials: &Credentials) -> Result<()> {
        let registry = registry_name(registry);
        let config = self.engine.config();
        Client::login(&config.settings.registry, registry, credentials)?;
        config.credentials.store(registry, credentials)
    }

    /// Forgets the credentials for a registry; whether there were any.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        self.engine
            .config()
            .credentials
            .erase(registry_name(registry))
    }
}
