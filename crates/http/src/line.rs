//! One connection to one server, for those who send something now and then: HTTP/1.1 or HTTP/2, with TLS or without.
//!
//! A [`crate::Pool`] is for many requests at a time to many addresses, in plain HTTP/1.1; a line sends one after the
//! other, opens its connection when it is needed and opens it anew when the server has closed it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::body::Body;
use crate::terms::{Speech, Terms, Trust};
use crate::tls_error::TlsError;

/// Longest connect, the handshakes included.
const CONNECT: Duration = Duration::from_secs(5);

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
        Ok(Self::on(&Terms::new(speech, trust)?, name))
    }

    /// A line with TLS on terms that it shares with others, to the server of this name.
    pub fn on(terms: &Terms, name: ServerName<'static>) -> Self {
        Self {
            speech: terms.speech,
            tls: Some((TlsConnector::from(Arc::clone(&terms.config)), name)),
            open: None,
        }
    }

    /// A line with TLS on terms that it shares with others, to whoever is at this address.
    pub fn to(terms: &Terms, address: IpAddr) -> Self {
        Self::on(terms, ServerName::IpAddress(address.into()))
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

    /// Asks for a page, as [`Line::send`] does.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn get(
        &mut self,
        addr: SocketAddr,
        authority: &str,
        uri: Uri,
        headers: HeaderMap,
    ) -> Result<Response<Body>, LineError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let answer = self.send(addr, authority, request).await?;
        Ok(answer.map(Body::Incoming))
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
            ..Trust::default()
        };
        assert!(told("no name at all", &some("")).starts_with("no usable name"));
        assert!(told("otel", &some("nothing")).starts_with("no usable authority"));
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(told("[::1]", &some(garbled)).starts_with("no usable authority"));
    }
}
