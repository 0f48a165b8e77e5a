//! Whom to believe: the system's authorities, those of one registry, or
//! anybody where the configuration says so.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use sys::{Context, Error, ErrorKind, Result};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::config::RegistryConfig;

const LARGEST_BUNDLE: u64 = 16 * 1024 * 1024;
const MOST_FILES: usize = 64;

/// How much a host's certificate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    Verified,
    Unverified,
}

/// The TLS side of connections to `authority` (host and optional port).
pub(crate) fn config(config: &RegistryConfig, authority: &str, trust: Trust) -> Result<TlsConfig> {
    if trust == Trust::Unverified {
        return Ok(TlsConfig::builder().disable_verification(true).build());
    }
    let mut certificates = own_authorities(config, authority)?;
    certificates.extend(system_authorities(config)?);
    let roots = if certificates.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::Specific(Arc::new(certificates))
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// Whether somebody put certificates there for `authority`: then it speaks
/// HTTPS, even on loopback.
pub(crate) fn has_own_authorities(config: &RegistryConfig, authority: &str) -> bool {
    own_authorities(config, authority).is_ok_and(|found| !found.is_empty())
}

fn own_authorities(config: &RegistryConfig, authority: &str) -> Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    // The name becomes a path: what is odd about it has no directory.
    if authority.contains('/') || authority.starts_with('.') {
        return Ok(found);
    }
    for directory in &config.certs_dirs {
        let Ok(entries) = std::fs::read_dir(directory.join(authority)) else {
            continue;
        };
        for entry in entries.flatten().take(MOST_FILES) {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                found.extend(read_bundle(&path)?);
            }
        }
    }
    Ok(found)
}

fn system_authorities(config: &RegistryConfig) -> Result<Vec<Certificate<'static>>> {
    let bundle = config.ca_bundles.iter().find(|path| path.exists());
    bundle.map_or(Ok(Vec::new()), |path| read_bundle(path))
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let act = || format!("read certificates of {}", path.display());
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_BUNDLE).read_to_end(&mut text))
        .context(act)?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => {
                return Err(Error::new(ErrorKind::InvalidInput, error.to_string()).wrap(act()));
            }
        }
    }
    Ok(certificates)
}

/// What a failed handshake means for people; `None` if `error` is none.
pub(crate) fn words_for(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<rustls::Error>()?;
    use rustls::CertificateError as Bad;
    use rustls::Error as Tls;
    let words = match error {
        Tls::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its certificate is signed by an unknown authority".to_owned(),
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            Bad::Revoked => "its certificate is revoked".to_owned(),
            // A certificate that is an authority itself, say.
            other => format!("its certificate is not valid ({other})"),
        },
        Tls::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => format!("TLS: {other}"),
    };
    Some(words)
}
