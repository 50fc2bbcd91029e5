//! What is wrong with a JSON text, and at which byte.

use std::fmt;

/// Levels of nested objects and lists that are read; one more is refused.
pub const MAX_DEPTH: usize = 128;

/// The first place where a text stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// Bytes from the start of the whole text (all frames together) to the fault.
    pub offset: usize,
    /// What was wrong there.
    pub kind: JsonFaultKind,
}

/// The ways in which a text is not JSON, or not JSON that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFaultKind {
    /// The text ended inside a value; more bytes could make it whole.
    UnexpectedEnd,
    /// Another byte stands where one of these was due.
    Expected(&'static str),
    /// A byte below 0x20 stands in a string without an escape.
    ControlCharacter,
    /// A backslash is followed by something that is no escape.
    BadEscape,
    /// A string is not valid UTF-8.
    BadUtf8,
    /// A number does not follow the grammar of RFC 8259.
    BadNumber,
    /// Objects and lists are nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// The value is whole and something other than white space follows it.
    TrailingText,
}

impl fmt::Display for JsonFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => write!(f, "unexpected end of text"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::ControlCharacter => write!(f, "control character in a string; escape it"),
            Self::BadEscape => write!(f, "invalid escape in a string"),
            Self::BadUtf8 => write!(f, "string is not valid utf-8"),
            Self::BadNumber => write!(f, "invalid number"),
            Self::TooDeep => {
                write!(f, "nested deeper than {} levels", MAX_DEPTH)
            }
            Self::TrailingText => write!(f, "text after the end of the value"),
        }
    }
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl std::error::Error for JsonFault {}
