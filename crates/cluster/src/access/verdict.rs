//! What the API server says of a reader.

/// What the API server says of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// Nobody has this token.
    Unknown,
    /// Its owner may not.
    Denied {
        /// The owner.
        user: String,
    },
    /// The API server did not say.
    Unanswered {
        /// Whose the token is, if that was said.
        user: Option<String>,
        /// Why.
        why: String,
    },
}
