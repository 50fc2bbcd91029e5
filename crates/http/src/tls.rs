//! TLS of a server: a certificate that can be changed while it serves.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::TlsAcceptor;

static NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
static USUAL: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate, or a garbled one.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// The text holds no private key, or a garbled one.
    #[error("no usable private key: {0}")]
    Key(String),
    /// The two do not belong together, or their kind is not known.
    #[error("certificate and key cannot be used: {0}")]
    Pair(String),
}

/// A server's side of TLS; clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With a certificate chain and its key as PEM text; `only_13`: no TLS 1.2.
    ///
    /// # Errors
    /// The two cannot be used.
    pub fn new(certificate: &[u8], key: &[u8], only_13: bool) -> Result<Self, TlsError> {
        let versions = if only_13 { NEWEST } else { USUAL };
        let config = config(certificate, key, versions)?;
        Ok(Self {
            config: Arc::new(ArcSwap::from_pointee(config)),
            versions,
        })
    }

    /// New connections get this certificate; those that stand keep theirs.
    ///
    /// # Errors
    /// It cannot be used; the old one stays.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let config = config(certificate, key, self.versions)?;
        self.config.store(Arc::new(config));
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn config(
    certificate: &[u8],
    key: &[u8],
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate("the file holds none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_named() {
        let text = |result: Result<Tls, TlsError>| match result {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(text(Tls::new(b"", b"", false)).starts_with("no usable certificate"));
        let garbled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(text(Tls::new(garbled, b"", false)).starts_with("no usable private key"));
    }
}
