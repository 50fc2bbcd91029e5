//! A collected body as the list of frames it arrived in.
//!
//! Joining frames costs about half a millisecond per MiB, so nothing on the way of a request joins them: readers scan the list, and the
//! upstream connection sends the list. A clone costs one reference count per frame. Only small frames in a row are
//! joined as they come: a body of single bytes would otherwise be a list as long as itself, each entry of which keeps a
//! whole read buffer alive.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Frames below this size are joined with one of that kind before them.
const SMALL: usize = 2048;

/// Most bytes that are joined to one frame.
const JOINED: usize = 64 * 1024;

/// A body held in memory, in the pieces it arrived in.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pieces: SmallVec<[Bytes; 2]>,
    len: usize,
    /// Whether the last piece was joined from small ones, and may grow.
    growing: bool,
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
        if frame.is_empty() {
            return;
        }
        self.len += frame.len();
        let small = frame.len() < SMALL;
        if let Some(last) = self.pieces.last_mut()
            && small
            && (last.len() < SMALL || self.growing && last.len() < JOINED)
        {
            *last = joined(std::mem::take(last), &frame);
            self.growing = true;
            return;
        }
        self.pieces.push(frame);
        self.growing = false;
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

/// One piece of two; the first grows in place where it is nobody else's.
fn joined(first: Bytes, second: &[u8]) -> Bytes {
    let mut whole = first.try_into_mut().unwrap_or_else(|shared| {
        let mut whole = BytesMut::with_capacity(2 * (shared.len() + second.len()));
        whole.extend_from_slice(&shared);
        whole
    });
    whole.extend_from_slice(second);
    whole.freeze()
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
        check(&["ab", "", "c"], "abc", true);
        let large: &'static str = "x".repeat(SMALL).leak();
        check(&[large, "", "c"], &format!("{large}c"), false);
        check(&["a", large, "c"], &format!("a{large}c"), false);
    }

    #[test]
    fn a_body_of_single_bytes_is_a_short_list() {
        let shared = Bytes::from("y".repeat(300_000));
        let frames: Frames = (0..shared.len()).map(|at| shared.slice(at..=at)).collect();
        assert_eq!(frames.joined(), &shared[..]);
        assert_eq!(frames.as_slice().len(), 300_000usize.div_ceil(JOINED));
        // What was read from the network is not kept for it.
        assert!(shared.is_unique());
    }

    #[test]
    fn a_clone_keeps_what_it_had() {
        let mut frames: Frames = ["a", "b"].map(Bytes::from).into_iter().collect();
        let before = frames.clone();
        frames.push(Bytes::from_static(b"c"));
        assert_eq!(
            (before.joined(), frames.joined()),
            (Cow::Borrowed(&b"ab"[..]), Cow::Borrowed(&b"abc"[..]))
        );
    }
}
