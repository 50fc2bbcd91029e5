//! Where the prompt lies in a body, and its raw bytes piece by piece.
//!
//! Raw bytes are those of the body, neither copied nor unescaped: the content of a string prompt between its quotes,
//! the whole JSON value of anything else (messages, token ids). Hashing reads the prompt through
//! [`crate::request::prompt_view`], which undoes escapes and writes what the reference hashes.

use crate::json::cursor::{Pieces, pieces};
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

    /// The canonical bytes of the prompt, in pieces that are never empty; `frames` are the ones
    /// the request was read from. Clone the iterator, or call again, to start over.
    pub fn segments<'a, F: AsRef<[u8]>>(&'a self, frames: &'a [F]) -> Segments<'a, F> {
        Segments {
            frames,
            spans: self.spans.iter(),
            current: pieces(frames, &(0..0)),
        }
    }
}

/// Iterator over the canonical bytes of a prompt; see [`PromptSpans::segments`].
#[derive(Debug)]
pub struct Segments<'a, F> {
    frames: &'a [F],
    spans: std::slice::Iter<'a, Range<usize>>,
    current: Pieces<'a, F>,
}

impl<F> Clone for Segments<'_, F> {
    fn clone(&self) -> Self {
        Self {
            frames: self.frames,
            spans: self.spans.clone(),
            current: self.current.clone(),
        }
    }
}

impl<'a, F: AsRef<[u8]>> Iterator for Segments<'a, F> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(piece) = self.current.next() {
                return Some(piece);
            }
            self.current = pieces(self.frames, self.spans.next()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_the_spans_whatever_the_frames() {
        let text = b"0123456789";
        let mut prompt = PromptSpans::default();
        prompt.push(1..4);
        prompt.push(5..5);
        prompt.push(6..10);
        assert_eq!(prompt.len(), 7);
        for size in 1..=10 {
            let frames: Vec<&[u8]> = text.chunks(size).collect();
            let segments = prompt.segments(&frames);
            let again = segments.clone();
            assert_eq!(segments.flatten().copied().collect::<Vec<_>>(), b"1236789");
            assert_eq!(again.flatten().count(), 7);
        }
        assert_eq!(PromptSpans::default().segments(&[text]).next(), None);
    }
}
