//! A prompt as hashing sees it: bytes, piece by piece, borrowed from wherever the door keeps the body.
//!
//! The two generations of the reference hash different bytes of one request, so a view gives the text in
//! the [`Form`] that is asked for. It can be walked any number of times and is never joined or copied whole.

use std::fmt;
use std::ops::ControlFlow;

/// Which bytes stand for the prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Form {
    /// First generation: a completion's text; of a chat the compact JSON of its messages, as Go writes it.
    Json,
    /// Second generation: a completion's text, one prompt per list entry; token ids as little-endian 32-bit
    /// words; of a chat the JSON of its tools, then the role and the text of each message, with nothing between.
    Text,
}

/// A part of the walk through a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// The next bytes of the current prompt; never empty.
    Bytes(&'a [u8]),
    /// The current prompt is complete; another may follow (a list of prompts in one request).
    End,
}

/// The prompts of one request.
pub trait PromptView: Sync {
    /// Hands every piece to `take`, in order, until it breaks off. Each prompt is closed by [`Piece::End`].
    fn walk(&self, form: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>);

    /// Whether more than one prompt may come, so that a walk must not end with the first.
    fn several(&self) -> bool {
        false
    }

    /// Whether an image, a video or a recording is among the messages.
    fn multimodal(&self) -> bool {
        false
    }
}

/// A borrowed view that can stand in a request.
#[derive(Clone, Copy)]
pub struct Prompt<'a>(pub &'a dyn PromptView);

impl Prompt<'_> {
    /// Tokens of all prompts, four bytes each, the last of each prompt filled up.
    pub fn tokens(self) -> u32 {
        let (mut bytes, mut tokens) = (0_usize, 0_usize);
        self.0.walk(Form::Text, &mut |piece| {
            match piece {
                Piece::Bytes(piece) => bytes += piece.len(),
                Piece::End => tokens += std::mem::take(&mut bytes).div_ceil(4),
            }
            ControlFlow::Continue(())
        });
        u32::try_from(tokens + bytes.div_ceil(4)).unwrap_or(u32::MAX)
    }

    /// Bytes of all prompts in this form.
    pub fn bytes(self, form: Form) -> usize {
        let mut bytes = 0;
        self.0.walk(form, &mut |piece| {
            if let Piece::Bytes(piece) = piece {
                bytes += piece.len();
            }
            ControlFlow::Continue(())
        });
        bytes
    }
}

impl fmt::Debug for Prompt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of a prompt is never printed.
        f.write_str("Prompt(..)")
    }
}

/// One prompt of plain text; the same bytes in both forms.
impl PromptView for &[u8] {
    fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        if !self.is_empty() && take(Piece::Bytes(self)).is_break() {
            return;
        }
        let _ = take(Piece::End);
    }
}
