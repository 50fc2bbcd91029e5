//! Where the prompt lies in a body.
//!
//! That is the content of a string prompt between its quotes, and the whole JSON value of anything else (messages,
//! token ids). Hashing reads the prompt through [`crate::request::prompt_view`], which undoes escapes and writes
//! what the reference hashes.

use smallvec::SmallVec;
use std::ops::Range;

/// What the field of the prompt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A string; whether it has escapes.
    Text { escaped: bool },
    /// A list of strings, of token ids or of lists of token ids.
    List,
    /// The messages of a chat.
    Messages,
    /// The items of a response.
    Items,
}

/// Where the values lie that a view of the prompt walks over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) shape: Shape,
    /// The field of the prompt: the content of a string, or the value.
    pub(crate) prompt: Range<usize>,
    /// The value of `tools`, where the kind of request has them.
    pub(crate) tools: Option<Range<usize>>,
    /// The value of `instructions` of a response.
    pub(crate) instructions: Option<Range<usize>>,
    /// Whether the request is a response, whose prompt is one JSON text.
    pub(crate) response: bool,
    /// Whether some token ids stand for images and the like.
    pub(crate) features: bool,
}

/// The parts of a body that make up the prompt, in the order in which an engine reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptSpans {
    spans: SmallVec<[Range<usize>; 2]>,
}

impl PromptSpans {
    /// Adds a part, as a range of offsets into the whole body.
    pub fn push(&mut self, span: Range<usize>) {
        if !span.is_empty() {
            self.spans.push(span);
        }
    }

    /// The parts as ranges of offsets into the whole body.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// Bytes in all parts together.
    pub fn len(&self) -> usize {
        self.spans.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there is no prompt, or an empty one.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}
