//! Whom to believe: the system's authorities, those of one registry, or
//! anybody where the configuration says so.
//!
//! ureq's own TLS takes a list of roots and no more. Ours also takes the very
//! certificate of a server, as `openssl req -x509` makes it and as Docker
//! accepts it: it is marked as an authority, which webpki refuses in a server.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError as Bad, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};
use sys::{Context, Error, ErrorKind, Result};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use crate::config::RegistryConfig;

const LARGEST_BUNDLE: u64 = 16 * 1024 * 1024;
const MOST_FILES: usize = 64;

type Certificate = CertificateDer<'static>;

/// How much a host's certificate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    Verified,
    Unverified,
}

/// The TLS side of connections to `authority` (host and optional port).
pub(crate) fn client_config(
    config: &RegistryConfig,
    authority: &str,
    trust: Trust,
) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let broken = |error: String| Error::new(ErrorKind::Internal, format!("set TLS up: {error}"));
    let (own, chains) = match trust {
        Trust::Unverified => (Vec::new(), None),
        Trust::Verified => {
            let own = own_authorities(config, authority)?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(own.iter().cloned());
            roots.add_parsable_certificates(system_authorities(config)?);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| broken(error.to_string()))?;
            (own, Some(verifier))
        }
    };
    let verifier = Verifier {
        chains,
        own,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(error.to_string()))?
        // "Dangerous" is what rustls calls every verifier but its own.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Checks what a server shows.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates put there for this very registry.
    own: Vec<Certificate>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chains) = &self.chains else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict = chains.verify_server_cert(shown, intermediates, name, ocsp, now);
        match verdict {
            // Neither its dates nor a signature are wrong: it is an authority
            // itself, and one that we were told to trust.
            Err(rustls::Error::InvalidCertificate(Bad::Other(_)))
                if self.own.iter().any(|own| own == shown) =>
            {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The last link of a connector chain: TLS for HTTPS, nothing for HTTP.
pub(crate) struct TlsConnector {
    /// `None` where only plain HTTP is spoken.
    pub(crate) config: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let config = self.config.as_ref().ok_or(ureq::Error::TlsRequired)?;
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host)
            .map_err(|_| ureq::Error::Tls("its name cannot be that of a server"))?
            .to_owned();
        let in_handshake = |error| ureq::Error::Io(std::io::Error::other(error));
        let mut connection =
            ClientConnection::new(Arc::clone(config), name).map_err(in_handshake)?;
        let clock = Arc::clone(&details.current_time);
        let mut socket = TransportAdapter::new(transport.boxed(), clock);
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let stream = StreamOwned::new(connection, socket);
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let length = self.stream.read(input)?;
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Whether somebody put certificates there for `authority`: then it speaks
/// HTTPS, even on loopback.
pub(crate) fn has_own_authorities(config: &RegistryConfig, authority: &str) -> bool {
    own_authorities(config, authority).is_ok_and(|found| !found.is_empty())
}

fn own_authorities(config: &RegistryConfig, authority: &str) -> Result<Vec<Certificate>> {
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

fn system_authorities(config: &RegistryConfig) -> Result<Vec<Certificate>> {
    let bundle = config.ca_bundles.iter().find(|path| path.exists());
    bundle.map_or(Ok(Vec::new()), |path| read_bundle(path))
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate>> {
    let act = || format!("read certificates of {}", path.display());
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_BUNDLE).read_to_end(&mut text))
        .context(act)?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
        .context(act)
}

/// What a failed handshake means for people; `None` if `error` is none.
pub(crate) fn words_for(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<rustls::Error>()?;
    let words = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
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
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => format!("TLS: {other}"),
    };
    Some(words)
}
