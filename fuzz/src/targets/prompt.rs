//! Hashes of blocks: the same for any pieces of a prompt, and equal exactly as far as prompts are.

use std::ops::ControlFlow;

use bytes::Bytes;
use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_core::model::prompt::{Form, Piece, PromptView};

use crate::cuts::{WAYS, cut};
use crate::shape::Shape;
use crate::target::Target;

/// The target. The first bytes say how blocks are cut, the rest is prompts, with a zero byte between two.
pub const TARGET: Target = Target {
    name: "prompt",
    what: "block hashes of prompts in pieces",
    run,
    words: &[
        "\0",
        "\0\0",
        "0123456789abcdef",
        "\u{1}\u{4}\u{0}",
        "\u{0}\u{1}\u{ff}",
    ],
    also: &[],
};

/// Prompts, each in frames.
struct Cut(Vec<Vec<Bytes>>);

impl PromptView for Cut {
    fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        for prompt in &self.0 {
            let pieces = prompt.iter().filter(|piece| !piece.is_empty());
            for piece in pieces.map(|piece| Piece::Bytes(piece)).chain([Piece::End]) {
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

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let [form, block, most, text @ ..] = input else {
        return shape.done();
    };
    let (block, max_blocks) = (
        u32::from(*block),
        if *most == 0 {
            u32::MAX
        } else {
            u32::from(*most)
        },
    );
    let scheme = if form & 1 == 0 {
        Scheme::Bytes { block, max_blocks }
    } else {
        Scheme::Tokens { block, max_blocks }
    };
    let prompts: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
    let hashed = |cut: &dyn Fn(&[u8]) -> Vec<Bytes>| {
        let view = Cut(prompts.iter().map(|prompt| cut(prompt)).collect());
        let mut hashes = PromptHashes::default();
        hashes.compute(scheme, "m", "salt", &view);
        hashes
    };
    let expected = hashed(&|prompt| crate::cuts::whole(prompt));
    for way in WAYS {
        assert_eq!(
            expected,
            hashed(&|prompt| cut(prompt, way)),
            "the pieces matter"
        );
    }
    check(scheme, &prompts, &expected);
    shape.number(u64::from(*form & 1));
    shape.size(expected.len());
    shape.size(expected.prompts().count());
    shape.size(scheme.block_bytes());
    shape.done()
}

/// Every prompt has its hashes, and they depend on nothing but what comes before.
fn check(scheme: Scheme, prompts: &[&[u8]], hashes: &PromptHashes) {
    let block = scheme.block_bytes();
    if block == 0 {
        assert!(hashes.is_empty(), "hashes of empty blocks");
        return;
    }
    let count = |prompt: &[u8]| match scheme {
        Scheme::Bytes { max_blocks, .. } => (prompt.len() / block).min(max_blocks as usize),
        Scheme::Tokens { max_blocks, .. } => prompt.len().div_ceil(block).min(max_blocks as usize),
    };
    let with: Vec<&&[u8]> = prompts.iter().filter(|prompt| count(prompt) > 0).collect();
    let lengths: Vec<usize> = hashes.prompts().map(<[u64]>::len).collect();
    let expected: Vec<usize> = with.iter().map(|prompt| count(prompt)).collect();
    assert_eq!(lengths, expected, "another number of blocks");
    let mut alone = PromptHashes::default();
    for (prompt, hashes) in with.iter().zip(hashes.prompts()) {
        alone.compute(scheme, "m", "salt", *prompt);
        assert_eq!(alone.all(), hashes, "another prompt of the request matters");
    }
}
