//! A stand-in for a tokenizer: text to numbers, without a vocabulary.
//!
//! A piece is a run of letters, digits and underscores, or one other character, with the white space
//! that follows it; its number is the 32-bit FNV-1a hash of the piece, as in the reference simulator
//! (there letters are ASCII only). White space before the first piece is a piece of its own.

use std::collections::HashMap;

/// Token that opens a chat message.
const MESSAGE_START: u32 = 151_644;

/// Token that closes a chat message.
const MESSAGE_END: u32 = 151_645;

/// Most pieces that [`Vocabulary`] remembers.
const REMEMBERED: usize = 65_536;

/// The pieces of a text, in order; joined they are the text.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let word = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let space = rest[word..]
            .find(|c: char| !c.is_whitespace())
            .unwrap_or(rest.len() - word);
        let (piece, tail) = rest.split_at(word + space);
        rest = tail;
        Some(piece)
    })
}

/// Appends the token of each piece of `text`.
pub fn tokenize(text: &str, out: &mut Vec<u32>) {
    out.extend(pieces(text).map(token));
}

/// Appends the tokens of one chat message: its bounds, its role, its text.
pub fn tokenize_message(role: &str, text: &str, out: &mut Vec<u32>) {
    out.push(MESSAGE_START);
    tokenize(role, out);
    tokenize(text, out);
    out.push(MESSAGE_END);
}

/// Appends the tokens that ask the model for its answer.
pub fn tokenize_turn(out: &mut Vec<u32>) {
    out.push(MESSAGE_START);
    tokenize("assistant", out);
}

/// The token of a piece.
pub fn token(piece: &str) -> u32 {
    piece.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The pieces seen by `/tokenize`, so that `/detokenize` can give them back.
#[derive(Debug, Default)]
pub struct Vocabulary {
    pieces: HashMap<u32, String>,
}

impl Vocabulary {
    /// Remembers the pieces of a text, as long as there is room.
    pub fn learn(&mut self, text: &str) {
        for piece in pieces(text) {
            if self.pieces.len() < REMEMBERED {
                self.pieces
                    .entry(token(piece))
                    .or_insert_with(|| piece.to_owned());
            }
        }
    }

    /// The text of tokens; an unknown one is written as its number.
    pub fn text(&self, tokens: &[u32]) -> String {
        let mut out = String::new();
        for token in tokens {
            match self.pieces.get(token) {
                Some(piece) => out.push_str(piece),
                None => out.push_str(&format!("<{token}>")),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(pieces(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_keep_the_space_behind_them() {
        check("", &[]);
        check(
            "Hello, big  world!",
            &["Hello", ", ", "big  ", "world", "!"],
        );
        check("a_1-b", &["a_1", "-", "b"]);
        check("grüße 👋 du", &["grüße ", "👋 ", "du"]);
    }

    #[test]
    fn tokens_are_fnv_hashes() {
        // Published test values of FNV-1a, 32 bits.
        assert_eq!(token("a"), 0xe40c_292c);
        assert_eq!(token("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn learned_pieces_come_back() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.learn("Hello world");
        let mut tokens = Vec::new();
        tokenize("Hello world", &mut tokens);
        tokens.push(7);
        assert_eq!(vocabulary.text(&tokens), "Hello world<7>");
    }

    proptest! {
        #[test]
        fn pieces_joined_are_the_text(text in ".{0,80}") {
            prop_assert_eq!(pieces(&text).collect::<String>(), text);
        }
    }
}
