//! The chained hashes of a prompt's blocks, as both generations of the reference compute them.
//!
//! With `h(0) = XXH64(model || salt)` and `LE64` the eight little-endian bytes of a number:
//!
//! - [`Scheme::Bytes`] (first generation): `h(i) = XXH64(block(i) || LE64(h(i-1)))` over blocks of bytes of
//!   [`Form::Json`]; only full blocks count.
//! - [`Scheme::Tokens`] (second generation): `h(i) = XXH64(LE64(XXH64(block(i))) || LE64(h(i-1)))` over blocks of
//!   four-byte token ids of [`Form::Text`], whose tail is padded with zero bytes to a whole id; the partial last
//!   block counts too.
//!
//! Every prompt of a request starts again at `h(0)`, which is no block's hash itself. A block that lies within one
//! piece of the view is hashed where it lies; only a block that spans pieces is gathered, in a buffer of one block.
//! The hash of a block tells all blocks before it, the model and the salt, so equal hashes mean equal prefixes.

use std::ops::ControlFlow;

use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::model::prompt::{Form, Piece, PromptView};

/// Up to this size a block is copied beside the hash before it: cheaper than hashing in two steps.
const SMALL: usize = 128;

/// Bytes of a token id.
const ID: usize = 4;
/// Bytes of a block that is copied next to the hash before it.
const SHORT: usize = 128;

/// How a prompt is cut into blocks, and how many of them are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scheme {
    /// First generation.
    Bytes {
        /// Bytes of a block; 0 hashes nothing.
        block: u32,
        /// Blocks of a prompt that are hashed; what follows is not looked at. `u32::MAX`: all.
        max_blocks: u32,
    },
    /// Second generation.
    Tokens {
        /// Token ids of a block; 0 hashes nothing.
        block: u32,
        /// Blocks of a prompt that are hashed; what follows is not looked at. `u32::MAX`: all.
        max_blocks: u32,
    },
}

impl Scheme {
    /// The bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Bytes { block, .. } => block as usize,
            Self::Tokens { block, .. } => block as usize * ID,
        }
    }

    /// The form of the prompt that is hashed.
    pub const fn form(self) -> Form {
        match self {
            Self::Bytes { .. } => Form::Json,
            Self::Tokens { .. } => Form::Text,
        }
    }

    const fn max_blocks(self) -> usize {
        match self {
            Self::Bytes { max_blocks, .. } | Self::Tokens { max_blocks, .. } => max_blocks as usize,
        }
    }

    /// The hash of a block from its bytes and the hash of the one before.
    fn chain(self, block: &[u8], before: u64) -> u64 {
        match self {
            // Hashed in one go, which is three times as fast as in two parts.
            Self::Bytes { .. } if block.len() <= SHORT => {
                let mut both = [0; SHORT + 8];
                both[..block.len()].copy_from_slice(block);
                both[block.len()..block.len() + 8].copy_from_slice(&before.to_le_bytes());
                xxh64(&both[..block.len() + 8], 0)
            }
            Self::Bytes { .. } if block.len() <= SMALL => {
                let mut both = [0; SMALL + 8];
                both[..block.len()].copy_from_slice(block);
                both[block.len()..block.len() + 8].copy_from_slice(&before.to_le_bytes());
                xxh64(&both[..block.len() + 8], 0)
            }
            Self::Bytes { .. } => {
                let mut state = Xxh64::new(0);
                state.update(block);
                state.update(&before.to_le_bytes());
                state.digest()
            }
            Self::Tokens { .. } => {
                let mut both = [0; 16];
                both[..8].copy_from_slice(&xxh64(block, 0).to_le_bytes());
                both[8..].copy_from_slice(&before.to_le_bytes());
                xxh64(&both, 0)
            }
        }
    }
}

/// The block hashes of one request, prompt after prompt. Reuse it: a warm one computes without allocating.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptHashes {
    hashes: Vec<u64>,
    ends: Vec<u32>,
    /// The bytes of a block that spans pieces; empty between calls.
    gathered: Vec<u8>,
}

impl PromptHashes {
    /// Forgets the hashes and keeps the memory.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.ends.clear();
    }

    /// Hashes the prompts of `view` for `model` and `salt` (empty: none), in place of what was here.
    /// Walks no further than the cap of the scheme, unless another prompt may follow.
    pub fn compute(&mut self, scheme: Scheme, model: &str, salt: &str, view: &dyn PromptView) {
        self.clear();
        self.gathered.clear();
        if scheme.block_bytes() == 0 || scheme.max_blocks() == 0 {
            return;
        }
        let mut chain = Chain::new(scheme, model, salt, self);
        let several = view.several();
        view.walk(scheme.form(), &mut |piece| match piece {
            Piece::Bytes(bytes) => {
                chain.take(bytes);
                if chain.capped() && !several {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            Piece::End => {
                chain.end();
                ControlFlow::Continue(())
            }
        });
        chain.end();
    }

    /// The hashes of all prompts, one after the other.
    pub fn all(&self) -> &[u64] {
        &self.hashes
    }

    /// The hashes of each prompt that has any.
    pub fn prompts(&self) -> impl Iterator<Item = &[u64]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let hashes = &self.hashes[start..end as usize];
            start = end as usize;
            hashes
        })
    }

    /// Blocks of all prompts together.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether no block was hashed.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Adds a prompt of hashes that were computed elsewhere; one without any is left out.
    pub fn push_prompt(&mut self, hashes: &[u64]) {
        self.hashes.extend_from_slice(hashes);
        self.close();
    }

    /// Closes the current prompt, if it has hashes.
    fn close(&mut self) {
        let end = self.hashes.len() as u32;
        if self.ends.last().copied().unwrap_or(0) < end {
            self.ends.push(end);
        }
    }
}

/// The walk through the prompts of a request.
struct Chain<'a> {
    scheme: Scheme,
    block: usize,
    /// `h(0)`.
    root: u64,
    before: u64,
    /// Blocks that the current prompt may still have.
    left: usize,
    out: &'a mut PromptHashes,
}

impl<'a> Chain<'a> {
    fn new(scheme: Scheme, model: &str, salt: &str, out: &'a mut PromptHashes) -> Self {
        let mut state = Xxh64::new(0);
        state.update(model.as_bytes());
        state.update(salt.as_bytes());
        let root = state.digest();
        Self {
            scheme,
            block: scheme.block_bytes(),
            root,
            before: root,
            left: scheme.max_blocks(),
            out,
        }
    }

    /// Whether the current prompt has as many blocks as it may have.
    const fn capped(&self) -> bool {
        self.left == 0
    }

    /// Takes the next bytes of the current prompt.
    fn take(&mut self, mut bytes: &[u8]) {
        if self.capped() {
            return;
        }
        let started = self.out.gathered.len();
        if started > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(self.block - started));
            self.out.gathered.extend_from_slice(head);
            bytes = rest;
            if self.out.gathered.len() < self.block {
                return;
            }
            self.push_gathered();
        }
        let whole = (bytes.len() / self.block).min(self.left);
        let (blocks, rest) = bytes.split_at(whole * self.block);
        for block in blocks.chunks_exact(self.block) {
            self.before = self.scheme.chain(block, self.before);
            self.out.hashes.push(self.before);
        }
        self.left -= whole;
        if !self.capped() {
            self.out.gathered.extend_from_slice(rest);
        }
    }

    /// Ends the current prompt and makes ready for the next one.
    fn end(&mut self) {
        if matches!(self.scheme, Scheme::Tokens { .. }) && !self.out.gathered.is_empty() {
            let ids = self.out.gathered.len().next_multiple_of(ID);
            self.out.gathered.resize(ids, 0);
            self.push_gathered();
        }
        self.out.gathered.clear();
        self.out.close();
        self.before = self.root;
        self.left = self.scheme.max_blocks();
    }

    fn push_gathered(&mut self) {
        self.before = self.scheme.chain(&self.out.gathered, self.before);
        self.out.hashes.push(self.before);
        self.out.gathered.clear();
        self.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Prompts handed over in pieces of a given size.
    struct Cut<'a>(&'a [&'a [u8]], usize);

    impl PromptView for Cut<'_> {
        fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
            for prompt in self.0 {
                let pieces = prompt.chunks(self.1).map(Piece::Bytes);
                for piece in pieces.chain([Piece::End]) {
                    if take(piece).is_break() {
                        return;
                    }
                }
            }
        }

        fn several(&self) -> bool {
            self.0.len() > 1
        }
    }

    /// The formulas of the page's head, over joined text.
    fn plainly(scheme: Scheme, model: &str, salt: &str, prompts: &[&[u8]]) -> Vec<Vec<u64>> {
        let root = xxh64(format!("{model}{salt}").as_bytes(), 0);
        let blocks_of = |prompt: &[u8]| {
            let mut text = prompt.to_vec();
            if matches!(scheme, Scheme::Tokens { .. }) {
                text.resize(text.len().next_multiple_of(4), 0);
            }
            let mut before = root;
            text.chunks(scheme.block_bytes())
                .filter(|block| {
                    matches!(scheme, Scheme::Tokens { .. }) || block.len() == scheme.block_bytes()
                })
                .take(scheme.max_blocks())
                .map(|block| {
                    before = match scheme {
                        Scheme::Bytes { .. } => xxh64(&[block, &before.to_le_bytes()].concat(), 0),
                        Scheme::Tokens { .. } => {
                            let own = xxh64(block, 0).to_le_bytes();
                            xxh64(&[own, before.to_le_bytes()].concat(), 0)
                        }
                    };
                    before
                })
                .collect::<Vec<u64>>()
        };
        let all = prompts.iter().map(|prompt| blocks_of(prompt));
        all.filter(|hashes| !hashes.is_empty()).collect()
    }

    #[track_caller]
    fn check(scheme: Scheme, prompt: &str, expected: &[u64]) {
        let mut hashes = PromptHashes::default();
        hashes.compute(scheme, "test-model1", "", &prompt.as_bytes());
        assert_eq!(hashes.all(), expected);
    }

    #[test]
    fn hashes_are_the_reference_s() {
        let bytes = Scheme::Bytes {
            block: 4,
            max_blocks: 256,
        };
        check(bytes, "aaa", &[]);
        check(bytes, "aaaaaa", &[0xcc89_52e7_0e1c_4504]);
        check(
            bytes,
            "aaaabbbbcccc",
            &[
                0xcc89_52e7_0e1c_4504,
                0x2517_07ac_8b04_8154,
                0xa392_6788_8ad6_734a,
            ],
        );
    }

    #[test]
    fn a_walk_stops_at_the_cap() {
        struct Endless;
        impl PromptView for Endless {
            fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
                while take(Piece::Bytes(b"on and on ")).is_continue() {}
            }
        }
        let mut hashes = PromptHashes::default();
        let (block, max_blocks) = (16, 9);
        hashes.compute(Scheme::Tokens { block, max_blocks }, "m", "", &Endless);
        assert_eq!(hashes.len(), 9);
        hashes.compute(Scheme::Bytes { block, max_blocks }, "m", "", &Endless);
        assert_eq!(hashes.prompts().map(<[u64]>::len).collect::<Vec<_>>(), [9]);
        for none in [
            Scheme::Bytes {
                block: 0,
                max_blocks,
            },
            Scheme::Tokens {
                block,
                max_blocks: 0,
            },
        ] {
            hashes.compute(none, "m", "", &Endless);
            assert!(hashes.is_empty());
        }
    }

    proptest! {
        #[test]
        fn hashes_do_not_depend_on_the_pieces(
            prompts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
            piece in 1..80usize,
            block in 1..20u32,
            max_blocks in prop_oneof![0..8u32, Just(u32::MAX)],
            tokens: bool,
        ) {
            let scheme = if tokens {
                Scheme::Tokens { block, max_blocks }
            } else {
                Scheme::Bytes { block, max_blocks }
            };
            let prompts: Vec<&[u8]> = prompts.iter().map(Vec::as_slice).collect();
            let mut hashes = PromptHashes::default();
            hashes.push_prompt(&[7]);
            hashes.compute(scheme, "model", "salt", &Cut(&prompts, piece));
            let expected = plainly(scheme, "model", "salt", &prompts);
            let got: Vec<Vec<u64>> = hashes.prompts().map(<[u64]>::to_vec).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
