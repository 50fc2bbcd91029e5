//! The result of looking for something in text that may have been cut short.

use crate::json::fault::{JsonFault, JsonFaultKind};

/// What a look at the text so far has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// It is there.
    Found(T),
    /// It is not there, and more text will not change that.
    Nothing,
    /// It cannot be told before more text comes.
    More,
}

impl<T> From<JsonFault> for Look<T> {
    fn from(fault: JsonFault) -> Self {
        if fault.kind == JsonFaultKind::UnexpectedEnd {
            Self::More
        } else {
            Self::Nothing
        }
    }
}
