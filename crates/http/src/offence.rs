//! What is wrong with a request that is refused before anybody serves it. The answer to it is made in `refusal.rs`.

use http::StatusCode;

/// A breach of HTTP, or of a bound of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// The status of the answer, where an answer can still be given.
    pub status: StatusCode,
    /// What is wrong, as a sentence for whoever wrote the client. Plain ASCII without quotes.
    pub text: &'static str,
}

impl Offence {
    /// A breach of the grammar: 400.
    pub const fn bad(text: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text,
        }
    }

    /// A head beyond a bound: 431.
    pub const fn large(text: &'static str) -> Self {
        Self {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            text,
        }
    }
}
