//! Talks to registries: OCI distribution 1.1 and Docker's registry v2, over
//! blocking HTTP.
//!
//! It finds manifests, gives readers of blobs and sends blobs. It stores
//! nothing but credentials: what is read goes to whoever asked, and the digest
//! of a blob is checked by whoever stores it (the digest of a manifest is
//! checked here). It reads no environment; every path comes in
//! [`RegistryConfig`] and [`CredentialSource`].
//!
//! Nothing is opened before the first request: no name is looked up, no
//! certificate is read, no thread is started.
//!
//! Start reading at [`Client`], then `session` (one request with credentials
//! and retries), then [`endpoint`] (which hosts stand for a registry).
//! The user's page is `docs/registries.md`.

#![forbid(unsafe_code)]

pub mod challenge;
mod client;
pub mod config;
pub mod credentials;
pub mod dns;
pub mod endpoint;
mod fetch;
mod login;
pub mod manifest;
mod resolve;
mod retry;
mod session;
mod tags;
mod tls;
mod token;
mod transport;
mod upload;
pub mod url;

pub use client::Client;
pub use config::{Mirror, ProxyConfig, RegistryConfig, RegistryEntry, Timeouts};
pub use credentials::{CredentialFiles, CredentialSource, Credentials, registry_name};
pub use resolve::Resolved;
pub use upload::{Upload, Uploaded};
