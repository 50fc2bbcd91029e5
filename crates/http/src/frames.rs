//! A collected body as the list of frames it arrived in.
//!
//! Joining frames costs about half a millisecond per MiB, so nothing on the way of a request joins them: readers scan the list, and the
//! upstream connection sends the list. A clone costs one reference count per frame.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

/// A body held in memory, in the pieces it arrived in.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pieces: SmallVec<[Bytes; 2]>,
    len: usize,
}

impl Frames {
    /// Bytes in all frames together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The frames in the order of the body; none of them is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// The frames as a slice.
    pub fn as_slice(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Adds a frame at the end. An empty one is dropped.
    pub fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.len += frame.len();
            self.pieces.push(frame);
        }
    }

    /// A body of one frame.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let mut frames = Self::default();
        frames.push(bytes);
        frames
    }

    /// The whole body when it lies in one piece (an empty body does).
    pub fn as_single(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(&[]),
            [only] => Some(only),
            _ => None,
        }
    }

    /// The whole body in one piece: borrowed when it already is, else copied.
    pub fn joined(&self) -> Cow<'_, [u8]> {
        match self.as_single() {
            Some(single) => Cow::Borrowed(single),
            None => Cow::Owned(self.pieces.concat()),
        }
    }

    /// The frame at `index`, if there is one.
    pub(crate) fn get(&self, index: usize) -> Option<&Bytes> {
        self.pieces.get(index)
    }
}

impl FromIterator<Bytes> for Frames {
    fn from_iter<I: IntoIterator<Item = Bytes>>(iter: I) -> Self {
        let mut frames = Self::default();
        for frame in iter {
            frames.push(frame);
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&'static str], joined: &str, single: bool) {
        let frames: Frames = pieces
            .iter()
            .map(|piece| Bytes::from_static(piece.as_bytes()))
            .collect();
        assert_eq!(frames.joined(), joined.as_bytes());
        assert_eq!(frames.len(), joined.len());
        assert_eq!(frames.is_empty(), joined.is_empty());
        assert_eq!(frames.as_single().is_some(), single);
        assert_eq!(frames.iter().map(Bytes::len).sum::<usize>(), joined.len());
    }

    #[test]
    fn pieces_keep_their_order_and_empty_ones_vanish() {
        check(&[], "", true);
        check(&[""], "", true);
        check(&["ab"], "ab", true);
        check(&["ab", "", "c"], "abc", false);
        check(&["a", "b", "c", "d", "e", "f"], "abcdef", false);
    }
}
