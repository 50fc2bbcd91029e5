//! What can be wrong with the bytes of a gRPC stream, and the status codes that end one.

/// Status codes of gRPC that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// All is well.
    Ok = 0,
    /// The client left.
    Cancelled = 1,
    /// Something that has no code of its own.
    Unknown = 2,
    /// A message is larger than what is taken.
    ResourceExhausted = 8,
    /// There is no such method, or no such compression.
    Unimplemented = 12,
    /// A message cannot be read.
    Internal = 13,
    /// The server is shutting down.
    Unavailable = 14,
}

/// Why the bytes of a stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameFault {
    /// A message is larger than the bound.
    #[error("received message larger than max ({size} vs. {most})")]
    TooLarge {
        /// Its size as announced, or the bound when it showed only while unpacking.
        size: usize,
        /// The bound.
        most: usize,
    },
    /// A message is compressed in a way that was not announced.
    #[error("a message is compressed, but not with gzip")]
    Compressed,
    /// A compressed message cannot be unpacked.
    #[error("a compressed message cannot be unpacked")]
    Garbled,
    /// The flag is neither 0 nor 1.
    #[error("a message has the flag {0}")]
    Flag(u8),
}

impl FrameFault {
    /// The status that ends the stream.
    pub const fn code(self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::ResourceExhausted,
            Self::Compressed => Code::Unimplemented,
            Self::Garbled | Self::Flag(_) => Code::Internal,
        }
    }
}
