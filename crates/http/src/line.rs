//! One connection to one server, for those who send something now and then: HTTP/1.1 or HTTP/2, with TLS or without.
//!
//! A [`crate::Pool`] is for many requests at a time to many addresses, in plain HTTP/1.1; a line sends one after the
//! other, opens its connection when it is needed and opens it anew when the server has closed it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls_error::TlsError;

/// Longest connect, the handshakes included.
const CONNECT: Duration = Duration::from_secs(5);

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
    /// Its own certificate chain and key, for servers that ask.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No connection, or none in time.
    #[error("cannot connect to {addr}: {why}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// Why.
        why: String,
    },
    /// The connection broke, or what came back is no HTTP.
    #[error("no answer of {addr}: {why}")]
    Unanswered {
        /// Who was asked.
        addr: SocketAddr,
        /// Why.
        why: String,
    },
}

/// The connection.
pub struct Line {
    speech: Speech,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Option<Open>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// An open connection; it is closed when this is dropped.
struct Open {
    addr: SocketAddr,
    sender: Sender,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    /// A line in plain text.
    pub const fn plain(speech: Speech) -> Self {
        Self {
            speech,
            tls: None,
            open: None,
        }
    }

    /// A line with TLS to the server of this name, an address among them.
    ///
    /// # Errors
    /// The name is none, or what is trusted or shown cannot be used.
    pub fn secure(speech: Speech, host: &str, trust: &Trust) -> Result<Self, TlsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|error| TlsError::Name(format!("'{host}': {error}")))?;
        let mut config = client_config(trust)?;
        config.alpn_protocols = match speech {
            Speech::Http1 => vec![b"http/1.1".to_vec()],
            Speech::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            speech,
            tls: Some((TlsConnector::from(Arc::new(config)), name)),
            open: None,
        })
    }

    /// Sends a request whose URI is path and query alone to `authority`, which is at `addr`, and waits for the head of
    /// the answer. Where a connection that had been open fails, it goes once over a fresh one.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn send(
        &mut self,
        addr: SocketAddr,
        authority: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, LineError> {
        let kept = self.open.take().filter(|open| open.addr == addr);
        if let Some(open) = kept
            && let Ok(answer) = self.over(open, authority, request.clone()).await
        {
            return Ok(answer);
        }
        let opened = timeout(CONNECT, self.connect(addr)).await;
        let opened = opened.unwrap_or_else(|late| Err(late.to_string()));
        let open = opened.map_err(|why| LineError::Connect { addr, why })?;
        self.over(open, authority, request).await
    }

    async fn over(
        &mut self,
        mut open: Open,
        authority: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, LineError> {
        let addr = open.addr;
        let fault = |why: String| LineError::Unanswered { addr, why };
        let answer = match &mut open.sender {
            Sender::One(sender) => {
                let ready = sender.ready().await;
                ready.map_err(|error| fault(error.to_string()))?;
                let mut request = request;
                let host = http::HeaderValue::from_str(authority);
                let host = host.map_err(|error| fault(error.to_string()))?;
                request.headers_mut().insert(header::HOST, host);
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                let ready = sender.ready().await;
                ready.map_err(|error| fault(error.to_string()))?;
                let whole = self.absolute(authority, request).map_err(fault)?;
                sender.send_request(whole).await
            }
        };
        let answer = answer.map_err(|error| fault(with_cause(&error)))?;
        self.open = Some(open);
        Ok(answer)
    }

    /// HTTP/2 says scheme and authority of every request.
    fn absolute(
        &self,
        authority: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let scheme = match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(Authority::try_from(authority).map_err(|error| error.to_string())?)
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(request)
    }

    async fn connect(&self, addr: SocketAddr) -> Result<Open, String> {
        let text = |error: std::io::Error| with_cause(&error);
        let stream = TcpStream::connect(addr).await.map_err(text)?;
        // Its failure costs a delay and nothing else.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.shake_hands(addr, stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.shake_hands(addr, stream.map_err(text)?).await
            }
        }
    }

    async fn shake_hands<T>(&self, addr: SocketAddr, stream: T) -> Result<Open, String>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let text = |error: hyper::Error| with_cause(&error);
        // The task ends with the connection, and the connection with `Open`.
        let (sender, driver) = match self.speech {
            Speech::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(text)?;
                (Sender::One(sender), tokio::spawn(drop_result(connection)))
            }
            Speech::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(text)?;
                (Sender::Two(sender), tokio::spawn(drop_result(connection)))
            }
        };
        Ok(Open {
            addr,
            sender,
            driver: driver.abort_handle(),
        })
    }
}

/// What went wrong on a connection is told by the request that is under way on it.
async fn drop_result(connection: impl Future<Output = Result<(), hyper::Error>>) {
    let _ = connection.await;
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn client_config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let fault = |error: &dyn std::fmt::Display| TlsError::Authority(error.to_string());
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &trust.own else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| TlsError::Certificate(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| TlsError::Key(error.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_trusted_or_named_is_said() {
        let told = |host: &str, trust: &Trust| match Line::secure(Speech::Http2, host, trust) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let some = |text: &str| Trust {
            authorities: Some(text.as_bytes().to_vec()),
            own: None,
        };
        assert!(told("no name at all", &some("")).starts_with("no usable name"));
        assert!(told("otel", &some("nothing")).starts_with("no usable authority"));
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(told("[::1]", &some(garbled)).starts_with("no usable authority"));
    }
}
