//! A position in a list of frames that reads as one text.
//!
//! The frames are never joined: at the end of one the cursor steps into the next. Everything
//! above it sees absolute offsets, so the way a text was cut cannot change what is read from it.

use std::borrow::Cow;
use std::ops::Range;

/// Where reading stands. Cheap to copy, so a reader can go back.
#[derive(Debug)]
pub(crate) struct Cursor<'a, F> {
    frames: &'a [F],
    /// Index of the next frame to step into.
    next: usize,
    /// The frame that is being read.
    current: &'a [u8],
    /// Absolute offset of the first byte of `current`.
    base: usize,
    /// Position in `current`.
    at: usize,
}

impl<F> Clone for Cursor<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Cursor<'_, F> {}

impl<'a, F: AsRef<[u8]>> Cursor<'a, F> {
    pub(crate) fn new(frames: &'a [F]) -> Self {
        let current = frames.first().map_or(&[][..], AsRef::as_ref);
        Self {
            frames,
            next: 1,
            current,
            base: 0,
            at: 0,
        }
    }

    /// A cursor at an absolute offset, or at the end if the frames are shorter.
    pub(crate) fn at(frames: &'a [F], offset: usize) -> Self {
        let mut cursor = Self::new(frames);
        while cursor.base + cursor.current.len() < offset {
            let Some(frame) = frames.get(cursor.next) else {
                break;
            };
            cursor.base += cursor.current.len();
            cursor.current = frame.as_ref();
            cursor.next += 1;
        }
        cursor.at = (offset - cursor.base).min(cursor.current.len());
        cursor
    }

    /// Bytes from the start of the text.
    #[inline]
    pub(crate) const fn offset(&self) -> usize {
        self.base + self.at
    }

    /// The next byte, which stays unread; `None` at the end of the last frame.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.current.get(self.at) {
            Some(&byte) => Some(byte),
            None => self.step(),
        }
    }

    /// Steps over `n` bytes of the current frame; the caller has seen that they are there.
    #[inline]
    pub(crate) const fn skip(&mut self, n: usize) {
        self.at += n;
    }

    /// What is left of the current frame (may be empty although more frames follow).
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.current.get(self.at..).unwrap_or_default()
    }

    /// The bytes of an absolute range if they lie in the current frame.
    #[inline]
    pub(crate) fn in_current(&self, range: &Range<usize>) -> Option<&'a [u8]> {
        let start = range.start.checked_sub(self.base)?;
        let end = range.end.checked_sub(self.base)?;
        self.current.get(start..end)
    }

    /// The frames the cursor reads.
    pub(crate) const fn frames(&self) -> &'a [F] {
        self.frames
    }

    #[cold]
    fn step(&mut self) -> Option<u8> {
        while let Some(frame) = self.frames.get(self.next) {
            self.base += self.current.len();
            self.current = frame.as_ref();
            self.at = 0;
            self.next += 1;
            if let Some(&byte) = self.current.first() {
                return Some(byte);
            }
        }
        None
    }
}

/// The pieces of an absolute range, one per frame that it touches, in order; empty pieces are
/// left out. Clone it to go through the range again.
#[derive(Debug)]
pub(crate) struct Pieces<'a, F> {
    frames: &'a [F],
    /// Bytes to leave out before the next piece.
    skip: usize,
    /// Bytes still to be given.
    left: usize,
}

impl<F> Clone for Pieces<'_, F> {
    fn clone(&self) -> Self {
        Self {
            frames: self.frames,
            skip: self.skip,
            left: self.left,
        }
    }
}

/// The pieces of `range` in `frames`; what lies beyond the frames is left out.
pub(crate) const fn pieces<'a, F>(frames: &'a [F], range: &Range<usize>) -> Pieces<'a, F> {
    Pieces {
        frames,
        skip: range.start,
        left: range.end.saturating_sub(range.start),
    }
}

impl<'a, F: AsRef<[u8]>> Iterator for Pieces<'a, F> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.left > 0 {
            let (frame, rest) = self.frames.split_first()?;
            let frame = frame.as_ref();
            self.frames = rest;
            let Some(tail) = frame.get(self.skip..) else {
                self.skip -= frame.len();
                continue;
            };
            self.skip = 0;
            let piece = &tail[..tail.len().min(self.left)];
            self.left -= piece.len();
            if !piece.is_empty() {
                return Some(piece);
            }
        }
        None
    }
}

/// The bytes of an absolute range: borrowed when they lie in one frame, else copied together.
pub(crate) fn gather<'a, F: AsRef<[u8]>>(frames: &'a [F], range: &Range<usize>) -> Cow<'a, [u8]> {
    let mut parts = pieces(frames, range);
    let first = parts.next().unwrap_or_default();
    let mut more = parts.peekable();
    if more.peek().is_none() {
        return Cow::Borrowed(first);
    }
    let mut whole = Vec::with_capacity(range.len());
    whole.extend_from_slice(first);
    more.for_each(|piece| whole.extend_from_slice(piece));
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_frames_as_one_text() {
        let frames: [&[u8]; 6] = [b"", b"ab", b"", b"c", b"de", b""];
        let mut cursor = Cursor::new(&frames);
        let mut seen = Vec::new();
        while let Some(byte) = cursor.peek() {
            assert_eq!(cursor.offset(), seen.len());
            seen.push(byte);
            cursor.skip(1);
        }
        assert_eq!(seen, b"abcde");
        assert_eq!(cursor.offset(), 5);
        assert_eq!(cursor.peek(), None);
    }

    #[test]
    fn a_cursor_starts_anywhere() {
        let frames: [&[u8]; 5] = [b"ab", b"", b"cde", b"f", b""];
        for start in 0..=6 {
            let mut cursor = Cursor::at(&frames, start);
            assert_eq!(cursor.offset(), start);
            assert_eq!(cursor.peek(), b"abcdef".get(start).copied());
            assert_eq!(cursor.offset(), start);
        }
        assert_eq!(Cursor::at(&frames, 99).peek(), None);
    }

    #[test]
    fn pieces_cover_a_range_and_no_more() {
        let frames: [&[u8]; 5] = [b"ab", b"", b"cde", b"f", b""];
        let text = b"abcdef";
        for start in 0..=6 {
            for end in start..=6 {
                let parts = pieces(&frames, &(start..end));
                assert_eq!(
                    parts.clone().flatten().copied().collect::<Vec<u8>>(),
                    text[start..end]
                );
                assert!(parts.clone().all(|p| !p.is_empty()));
                assert_eq!(gather(&frames, &(start..end)).as_ref(), &text[start..end]);
            }
        }
        assert_eq!(gather(&frames, &(4..99)).as_ref(), b"ef");
        assert!(matches!(gather(&frames, &(2..5)), Cow::Borrowed(b"cde")));
    }
}
