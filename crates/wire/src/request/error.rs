//! What is wrong with a request, in words that a client reads.

use crate::json::fault::{JsonFault, JsonFaultKind, MAX_DEPTH};
use std::borrow::Cow;

/// Why a request body cannot be scheduled. All of them are the client's fault (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no body, or only white space.
    #[error("request body is empty; send a JSON object")]
    Empty,
    /// The body is not JSON.
    #[error("request body is not valid JSON: {what} at byte {offset}")]
    Malformed {
        /// Bytes from the start of the body to the fault.
        offset: usize,
        /// What is wrong there.
        what: JsonFaultKind,
    },
    /// Objects and lists are nested deeper than is read.
    #[error("request body is nested deeper than {MAX_DEPTH} levels at byte {offset}")]
    TooDeep {
        /// Bytes from the start of the body to the bracket that was one too many.
        offset: usize,
    },
    /// A field that the path needs is not there.
    #[error("field '{field}' is missing; send {expected}")]
    Missing {
        /// Name of the field.
        field: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A field holds something it cannot hold.
    #[error("field '{field}' is {found}; send {expected}")]
    WrongType {
        /// Name or path of the field, as `messages[3].content`.
        field: Cow<'static, str>,
        /// What was found, with its article.
        found: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// The body is JSON but not an object.
    #[error("request body is {found}; send a JSON object")]
    NotAnObject {
        /// What was found, with its article.
        found: &'static str,
    },
}

impl RequestError {
    /// The field at fault, for the `param` of an error answer.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Missing { field, .. } => Some(field),
            Self::WrongType { field, .. } => Some(field),
            _ => None,
        }
    }
}

impl From<JsonFault> for RequestError {
    fn from(fault: JsonFault) -> Self {
        match fault.kind {
            JsonFaultKind::TooDeep => Self::TooDeep {
                offset: fault.offset,
            },
            what => Self::Malformed {
                offset: fault.offset,
                what,
            },
        }
    }
}
