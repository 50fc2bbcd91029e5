//! Why a body ended before its end.

/// A body that broke off. Whoever forwards such a body must break off too, never end it as if it were whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer's connection broke, or what it sent was no HTTP.
    #[error("the peer broke off the body: {0}")]
    Peer(#[source] hyper::Error),
    /// The producer of a channel body went away without finishing it.
    #[error("the body was abandoned by its producer")]
    Abandoned,
    /// A fault was switched on that cuts bodies.
    #[error("the body was cut by an injected fault")]
    Cut,
    /// Any other source.
    #[error("the body failed: {0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}
