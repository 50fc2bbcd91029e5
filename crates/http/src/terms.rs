//! What a client of TLS asks of a server and shows to it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::tls_error::TlsError;

/// What a server is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, which with TLS is agreed on and without is known beforehand.
    Http2,
}

/// What a client of TLS trusts, and what it shows, as PEM text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Certificates of the authorities that are trusted; `None`: the system's.
    pub authorities: Option<Vec<u8>>,
    /// Whether any server is trusted, whoever vouches for it: what is said to it is secret from others, and no more.
    pub anybody: bool,
    /// Its own certificate chain and key, for servers that ask.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// A client's side of TLS, ready to be used by any number of lines; clones share it.
#[derive(Clone)]
pub struct Terms {
    pub(crate) speech: Speech,
    pub(crate) config: Arc<ClientConfig>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key is never printed.
        f.write_str("Terms")
    }
}

impl Terms {
    /// With this trust.
    ///
    /// # Errors
    /// What is trusted or shown cannot be used.
    pub fn new(speech: Speech, trust: &Trust) -> Result<Self, TlsError> {
        let mut config = client_config(trust)?;
        config.alpn_protocols = match speech {
            Speech::Http1 => vec![b"http/1.1".to_vec()],
            Speech::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            speech,
            config: Arc::new(config),
        })
    }
}

fn client_config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    // An authority that is named is read in any case, so that a wrong file is noticed.
    let builder = if trust.anybody {
        if trust.authorities.is_some() {
            roots(trust)?;
        }
        let anybody = Arc::new(Anybody { provider });
        builder
            .dangerous()
            .with_custom_certificate_verifier(anybody)
    } else {
        builder.with_root_certificates(roots(trust)?)
    };
    let Some((certificate, key)) = &trust.own else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate("the file holds none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| TlsError::Key(error.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(pair)
}

fn roots(trust: &Trust) -> Result<RootCertStore, TlsError> {
    let fault = |error: &dyn fmt::Display| TlsError::Authority(error.to_string());
    let mut roots = RootCertStore::empty();
    match &trust.authorities {
        Some(text) => {
            for found in CertificateDer::pem_slice_iter(text) {
                let authority = found.map_err(|error| fault(&error))?;
                roots.add(authority).map_err(|error| fault(&error))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
    }
    if roots.is_empty() {
        return Err(fault(&"there is none"));
    }
    Ok(roots)
}

/// Takes every certificate; that the server holds its key is still seen to.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trust: &Trust) -> String {
        match Terms::new(Speech::Http1, trust) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn who_trusts_anybody_needs_no_authority_and_still_hears_of_a_wrong_one() {
        let mut trust = Trust {
            anybody: true,
            ..Trust::default()
        };
        assert_eq!(told(&trust), "");
        trust.authorities = Some(b"nothing".to_vec());
        assert!(told(&trust).starts_with("no usable authority"));
    }

    #[test]
    fn what_a_client_shows_must_be_whole() {
        let mut trust = Trust {
            anybody: true,
            own: Some((b"nothing".to_vec(), Vec::new())),
            ..Trust::default()
        };
        assert!(told(&trust).starts_with("no usable certificate"));
        let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        trust.own = Some((certificate.to_vec(), b"nothing".to_vec()));
        assert!(told(&trust).starts_with("no usable private key"));
    }
}
