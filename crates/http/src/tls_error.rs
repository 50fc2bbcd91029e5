//! Why what a side of TLS is given cannot be used.

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate, or a garbled one.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// The text holds no private key, or a garbled one.
    #[error("no usable private key: {0}")]
    Key(String),
    /// The text holds no authority, or a garbled one.
    #[error("no usable authority: {0}")]
    Authority(String),
    /// What a server is called is neither a name nor an address.
    #[error("no usable name: {0}")]
    Name(String),
    /// The two do not belong together, or their kind is not known.
    #[error("certificate and key cannot be used: {0}")]
    Pair(String),
}
