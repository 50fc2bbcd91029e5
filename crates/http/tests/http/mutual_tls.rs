//! A server that asks its clients who they are: strangers, and who is not on the list, do not get in.

use std::sync::Arc;

use http::Response;
use pointsman_http::{Body, Clients, Credentials, ServerOptions, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion, version,
};

use crate::rig::{Running, soon, start};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM, signed by `authority`, with this name or URI.
fn signed(authority: &Authority, name: &str) -> (String, String) {
    let uri = name.contains("://");
    let names = if uri {
        Vec::new()
    } else {
        vec![name.to_owned()]
    };
    let mut params = CertificateParams::new(names).unwrap();
    if uri {
        let name = SanType::URI(name.try_into().unwrap());
        params.subject_alt_names.push(name);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn server(authority: &Authority, ids: &[&str]) -> (Running, Tls) {
    let (certificate, key) = signed(authority, "localhost");
    let credentials = Credentials {
        certificate: certificate.into(),
        key: key.into(),
        clients: Some(Clients {
            authorities: authority.pem().into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }),
    };
    let tls = Tls::new(&credentials, false).unwrap();
    let options = ServerOptions {
        tls: Some(tls.clone()),
        ..ServerOptions::default()
    };
    let running = start(options, |_, _| async { Response::new(Body::bytes("in")) });
    (running, tls)
}

/// What a client with this certificate reads; nothing where it does not get in.
async fn reads(running: &Running, trusted: &Authority, own: Option<&(String, String)>) -> String {
    reads_in(running, trusted, own, ALL_VERSIONS).await
}

/// The same in one of these versions of TLS.
async fn reads_in(
    running: &Running,
    trusted: &Authority,
    own: Option<&(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = soon(TcpStream::connect(running.addr)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let Ok(mut stream) = soon(connector.connect(name, stream)).await else {
        return String::new();
    };
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // Under TLS 1.3 a client hears of its refusal with its first read.
    let _ = soon(stream.write_all(asked)).await;
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_who_has_a_certificate_of_the_authority_gets_in() {
    let (ours, theirs) = (authority(), authority());
    let (running, _) = server(&ours, &[]);
    let known = signed(&ours, "client");
    assert!(reads(&running, &ours, Some(&known)).await.ends_with("in"));
    assert_eq!(reads(&running, &ours, None).await, "");
    let stranger = signed(&theirs, "client");
    assert_eq!(reads(&running, &ours, Some(&stranger)).await, "");
    // TLS 1.2 signs what was said in a way of its own.
    let older = &[&version::TLS12];
    let read = reads_in(&running, &ours, Some(&known), older).await;
    assert!(read.ends_with("in"), "{read}");
    assert_eq!(reads_in(&running, &ours, Some(&stranger), older).await, "");
}

#[tokio::test]
async fn a_list_of_ids_is_kept_to_and_can_be_changed() {
    let ours = authority();
    let (running, tls) = server(&ours, &["spiffe://mesh/ns/gateway/*"]);
    let gateway = signed(&ours, "spiffe://mesh/ns/gateway/sa/envoy");
    let other = signed(&ours, "spiffe://mesh/ns/other/sa/x");
    let named = signed(&ours, "client");
    assert!(reads(&running, &ours, Some(&gateway)).await.ends_with("in"));
    assert_eq!(reads(&running, &ours, Some(&other)).await, "");
    assert_eq!(reads(&running, &ours, Some(&named)).await, "");
    let (certificate, key) = signed(&ours, "localhost");
    let credentials = Credentials {
        certificate: certificate.into(),
        key: key.into(),
        clients: Some(Clients {
            authorities: ours.pem().into(),
            ids: vec!["spiffe://mesh/ns/other/sa/x".to_owned()],
        }),
    };
    tls.replace(&credentials).unwrap();
    assert!(reads(&running, &ours, Some(&other)).await.ends_with("in"));
    assert_eq!(reads(&running, &ours, Some(&gateway)).await, "");
}
