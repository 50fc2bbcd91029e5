//! The bounds of a server. Defaults are those of an edge: small windows, small heads, patient with answers, impatient with heads.

use std::time::Duration;

use crate::calm::ALLOWANCE;
use crate::listener::connection_budget;
use crate::tls::Tls;

/// Bounds of one server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections held at once; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, counted from its first byte (of a new connection: from the accept).
    /// Looked at five times per period, so it may take a fifth longer.
    pub header_timeout: Duration,
    /// How long a connection may lie without a request.
    pub keep_alive_idle: Duration,
    /// How long a client may leave an answer unread: that of the connection, or of one HTTP/2 stream that it gives no window.
    pub write_timeout: Duration,
    /// The largest request head in bytes.
    pub max_header_bytes: usize,
    /// The largest line of a request head in bytes.
    pub max_header_line: usize,
    /// The most header fields of a request.
    pub max_headers: usize,
    /// Bounds of HTTP/2 connections.
    pub h2: Http2Options,
    /// TLS, if it is spoken; the handshake is part of the time for the first head.
    pub tls: Option<Tls>,
}

/// Bounds of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// Streams at once.
    pub max_concurrent_streams: u32,
    /// Bytes of one request's body that may be under way.
    pub stream_window: u32,
    /// Bytes of all bodies of a connection that may be under way.
    pub connection_window: u32,
    /// Bytes of an answer that are kept per stream for a client that does not take them.
    pub send_buffer: usize,
    /// Largest frame that a client may send.
    pub max_frame: u32,
    /// Bytes of the table by which a client abbreviates its headers.
    pub header_table: u32,
    /// Streams that a client may have reset before they were looked at; one more ends the connection.
    pub pending_resets: usize,
    /// Streams that may have been reset because of what the client did wrong; one more ends the connection.
    pub faulty_resets: usize,
    /// How much work without a request a client may make at once and per second, in the prices of `calm.rs`.
    pub allowance: f64,
    /// Take authorities with bars, as Istio's names of clusters have them.
    pub bars_in_authority: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: connection_budget(),
            header_timeout: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            max_header_bytes: 32 * 1024,
            max_header_line: 8 * 1024,
            max_headers: 100,
            h2: Http2Options::default(),
            tls: None,
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            send_buffer: 64 * 1024,
            max_frame: 16 * 1024,
            header_table: 4096,
            pending_resets: 20,
            faulty_resets: 100,
            allowance: ALLOWANCE,
            bars_in_authority: false,
        }
    }
}
