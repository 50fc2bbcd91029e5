//! The text behind block ids: bytes that follow from the ids, so that the router can hash a prompt.
//!
//! Four bytes stand for a token. Equal ids give equal bytes and different ids different ones; tokens after
//! the last id follow from it, too. The same bytes in both forms: nothing here is a chat or a list.

use std::ops::ControlFlow;

use pointsman_core::model::prompt::{Form, Piece, PromptView};
use pointsman_core::rng::splitmix;

/// Bytes per token.
pub const BYTES_PER_TOKEN: usize = 4;

/// Bytes that are handed over at once.
const CHUNK: usize = 1024;

/// A prompt of `tokens` tokens whose leading blocks have these ids.
#[derive(Clone, Copy, Debug)]
pub struct BlockPrompt<'a> {
    /// Ids of the leading blocks.
    pub ids: &'a [u64],
    /// Tokens of one block.
    pub block_tokens: u32,
    /// Length of the whole prompt.
    pub tokens: u32,
}

impl PromptView for BlockPrompt<'_> {
    fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        let mut left = self.tokens as usize * BYTES_PER_TOKEN;
        let block = self.block_tokens as usize * BYTES_PER_TOKEN;
        let rest = !self.ids.last().copied().unwrap_or_default();
        let (mut chunk, mut filled) = ([0; CHUNK], 0);
        let mut ids = self.ids.iter();
        while left > 0 {
            // What is left after the last id is one long block.
            let (mut state, length) = match ids.next() {
                Some(&id) => (id, block.min(left)),
                None => (rest, left),
            };
            left -= length;
            let mut missing = length;
            while missing > 0 {
                let word = splitmix(&mut state).to_le_bytes();
                let bytes = missing.min(word.len());
                chunk[filled..filled + bytes].copy_from_slice(&word[..bytes]);
                (filled, missing) = (filled + bytes, missing - bytes);
                if filled + word.len() > CHUNK {
                    if take(Piece::Bytes(&chunk[..filled])).is_break() {
                        return;
                    }
                    filled = 0;
                }
            }
        }
        if filled > 0 && take(Piece::Bytes(&chunk[..filled])).is_break() {
            return;
        }
        let _ = take(Piece::End);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ids: &[u64], tokens: u32) -> Vec<u8> {
        let mut text = Vec::new();
        let prompt = BlockPrompt {
            ids,
            block_tokens: 16,
            tokens,
        };
        let mut ends = 0;
        prompt.walk(Form::Text, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => text.extend_from_slice(bytes),
                Piece::End => ends += 1,
            }
            ControlFlow::Continue(())
        });
        assert_eq!(ends, 1);
        text
    }

    #[test]
    fn equal_leading_ids_are_equal_leading_bytes_and_no_more() {
        let a: Vec<u64> = (0..40).collect();
        let mut b = a.clone();
        b[30] = 99;
        let (a, b) = (text(&a, 645), text(&b, 645));
        assert_eq!((a.len(), b.len()), (645 * 4, 645 * 4));
        assert_eq!(a[..30 * 64], b[..30 * 64]);
        assert_ne!(a[30 * 64..31 * 64], b[30 * 64..31 * 64]);
        assert_eq!(a[31 * 64..], b[31 * 64..]);
        assert_ne!(a[..64], a[64..128]);
    }

    #[test]
    fn every_length_is_given_whole_and_a_walk_can_be_left() {
        for tokens in [0, 1, 15, 16, 17, 300] {
            assert_eq!(text(&[5], tokens).len(), tokens as usize * 4);
        }
        let mut seen = 0;
        let prompt = BlockPrompt {
            ids: &[1, 2, 3],
            block_tokens: 16,
            tokens: 9_000,
        };
        prompt.walk(Form::Json, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(seen, 1);
    }
}
