//! TLS of a server: a certificate that can be changed while it serves.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use crate::clients::Clients;
use crate::tls_error::TlsError;
use crate::transcript::provider;

static NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
static USUAL: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// What a server shows, and whom it takes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The certificate chain as PEM text.
    pub certificate: Vec<u8>,
    /// Its key as PEM text.
    pub key: Vec<u8>,
    /// Which clients are taken; `None`: all, and none is asked who it is.
    pub clients: Option<Clients>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key is never printed.
        f.write_str("Credentials")
    }
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
    /// With these credentials; `only_13`: no TLS 1.2.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(credentials: &Credentials, only_13: bool) -> Result<Self, TlsError> {
        let versions = if only_13 { NEWEST } else { USUAL };
        let config = config(credentials, versions)?;
        Ok(Self {
            config: Arc::new(ArcSwap::from_pointee(config)),
            versions,
        })
    }

    /// New connections get these credentials; those that stand keep theirs.
    ///
    /// # Errors
    /// They cannot be used; the old ones stay.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let config = config(credentials, self.versions)?;
        self.config.store(Arc::new(config));
        Ok(())
    }

    /// What new connections come to terms by.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn config(
    credentials: &Credentials,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, TlsError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&credentials.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate("the file holds none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&credentials.key);
    let key = key.map_err(|error| TlsError::Key(error.to_string()))?;
    let provider = provider();
    let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(pair)?;
    let builder = match &credentials.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
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
        let mut credentials = Credentials::default();
        assert!(text(Tls::new(&credentials, false)).starts_with("no usable certificate"));
        credentials.certificate =
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(text(Tls::new(&credentials, false)).starts_with("no usable private key"));
    }
}
