//! Which clients a TLS server takes: those with a certificate of an authority that is trusted, and of them those of a list.
//!
//! The list holds URIs that stand in a certificate's subject alternative names, such as SPIFFE ids; one that ends with
//! `/*` stands for all below it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use webpki::EndEntityCert;

use crate::greeting::restored;
use crate::tls_error::TlsError;

/// Which clients are taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clients {
    /// Certificates of the authorities that are trusted, as PEM text.
    pub authorities: Vec<u8>,
    /// URIs of clients; empty: whoever has a certificate.
    pub ids: Vec<String>,
}

impl Clients {
    pub(crate) fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for found in CertificateDer::pem_slice_iter(&self.authorities) {
            let fault = |why: String| TlsError::Authority(why);
            let authority = found.map_err(|error| fault(error.to_string()))?;
            roots
                .add(authority)
                .map_err(|error| fault(error.to_string()))?;
        }
        let usual = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        Ok(Arc::new(Listed {
            usual,
            ids: self.ids.clone(),
        }))
    }
}

/// Whether an id is on a list.
fn is_listed(ids: &[String], id: &str) -> bool {
    ids.iter().any(|listed| match listed.strip_suffix('*') {
        Some(above) if above.ends_with('/') => id
            .strip_prefix(above)
            .is_some_and(|below| !below.is_empty()),
        _ => listed == id,
    })
}

/// Takes what the usual verifier takes, if its id is on the list or there is none.
struct Listed {
    usual: Arc<dyn ClientCertVerifier>,
    ids: Vec<String>,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listed")
    }
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.usual.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .usual
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.ids.is_empty() {
            return Ok(verified);
        }
        let unfit = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| unfit())?;
        let mut ids = certificate.valid_uri_names();
        if ids.any(|id| is_listed(&self.ids, id)) {
            return Ok(verified);
        }
        Err(unfit())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Here it is the whole handshake that is signed, not its hash.
        let said = restored(message);
        let message = said.as_deref().unwrap_or(message);
        self.usual
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_listed_by_itself_or_by_what_is_above_it() {
        let ids = [
            "spiffe://a/ns/gw/sa/envoy",
            "spiffe://a/ns/edge/*",
            "spiffe://b*",
        ]
        .map(str::to_owned);
        let listed = |id: &str| is_listed(&ids, id);
        assert!(listed("spiffe://a/ns/gw/sa/envoy"));
        assert!(listed("spiffe://a/ns/edge/sa/x"));
        assert!(!listed("spiffe://a/ns/edge/"));
        assert!(!listed("spiffe://a/ns/edges/sa/x"));
        assert!(!listed("spiffe://a/ns/gw/sa/envoy2"));
        assert!(!listed("spiffe://bad"));
    }

    #[test]
    fn without_an_authority_nobody_could_connect() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let of = |authorities: &[u8]| {
            let clients = Clients {
                authorities: authorities.to_vec(),
                ids: Vec::new(),
            };
            clients.verifier(Arc::clone(&provider)).err()
        };
        assert!(of(b"").is_some());
        let garbled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(of(garbled).is_some());
    }
}
