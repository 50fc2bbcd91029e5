//! Prompts that are token ids already, or text outside of a JSON body, as hashing sees them.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use pointsman_core::model::prompt::{Form, Piece, PromptView};
use serde::Deserialize;

/// Token ids handed over at a time.
const AT_ONCE: usize = 64;

/// A prompt that was not read out of a JSON body.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PlainPrompt {
    content: Content,
    multimodal: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text(Bytes),
    Tokens(Vec<Vec<u32>>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(Bytes::new())
    }
}

impl PlainPrompt {
    /// A text.
    pub fn text(text: Bytes) -> Self {
        Self {
            content: Content::Text(text),
            multimodal: false,
        }
    }

    /// Prompts of token ids; `multimodal` is whether some of them stand for something else than text.
    pub fn tokens(prompts: Vec<Vec<u32>>, multimodal: bool) -> Self {
        Self {
            content: Content::Tokens(prompts),
            multimodal,
        }
    }

    /// Its size, four bytes to a token id.
    pub fn bytes(&self) -> usize {
        match &self.content {
            Content::Text(text) => text.len(),
            Content::Tokens(prompts) => prompts.iter().map(|prompt| prompt.len() * 4).sum(),
        }
    }
}

impl fmt::Debug for PlainPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of a prompt is never printed.
        f.write_str("PlainPrompt(..)")
    }
}

/// The same in both forms: a text as it is, token ids as little-endian words.
impl PromptView for PlainPrompt {
    fn walk(&self, form: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        match &self.content {
            Content::Text(text) => (&**text).walk(form, take),
            Content::Tokens(prompts) => {
                // Broken off or through: there is nothing left to do.
                let _ = prompts.iter().try_for_each(|prompt| words(prompt, take));
            }
        }
    }

    fn several(&self) -> bool {
        matches!(&self.content, Content::Tokens(prompts) if prompts.len() > 1)
    }

    fn multimodal(&self) -> bool {
        self.multimodal
    }
}

fn words(prompt: &[u32], take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut bytes = [0; AT_ONCE * 4];
    for ids in prompt.chunks(AT_ONCE) {
        for (word, id) in bytes.chunks_exact_mut(4).zip(ids) {
            word.copy_from_slice(&id.to_le_bytes());
        }
        take(Piece::Bytes(&bytes[..ids.len() * 4]))?;
    }
    take(Piece::End)
}

/// One prompt in the answer of a server that renders prompts.
#[derive(Deserialize)]
struct Prompt {
    token_ids: Vec<u32>,
}

/// The answer: a prompt, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    One(Prompt),
    Several(Vec<Prompt>),
}

/// The token ids in the answer of a server that renders prompts, by prompt; `None` if it is no such answer, or an
/// empty one.
pub fn rendered(answer: &[u8]) -> Option<Vec<Vec<u32>>> {
    let prompts = match serde_json::from_slice(answer).ok()? {
        Prompts::One(prompt) => vec![prompt],
        Prompts::Several(prompts) => prompts,
    };
    let ids: Vec<Vec<u32>> = prompts.into_iter().map(|prompt| prompt.token_ids).collect();
    ids.iter().any(|ids| !ids.is_empty()).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::model::prompt::Prompt as View;

    fn walked(prompt: &PlainPrompt) -> Vec<Vec<u8>> {
        let (mut all, mut open) = (Vec::new(), Vec::new());
        prompt.walk(Form::Text, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => open.extend_from_slice(bytes),
                Piece::End => all.push(std::mem::take(&mut open)),
            }
            ControlFlow::Continue(())
        });
        all
    }

    #[test]
    fn answers_of_a_renderer_are_one_prompt_or_several() {
        let one = br#"{"request_id":"r","token_ids":[1,2],"features":null}"#;
        assert_eq!(rendered(one), Some(vec![vec![1, 2]]));
        let several = br#"[{"token_ids":[1]},{"token_ids":[2,3]}]"#;
        assert_eq!(rendered(several), Some(vec![vec![1], vec![2, 3]]));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"token_ids":[]}"#,
            r#"{"token_ids":[-1]}"#,
            "<html>",
        ] {
            assert_eq!(rendered(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn token_ids_are_words_and_as_many_tokens() {
        let ids: Vec<u32> = (0..150).collect();
        let prompt = PlainPrompt::tokens(vec![ids.clone(), vec![7]], true);
        let expected: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(walked(&prompt), [expected, 7_u32.to_le_bytes().to_vec()]);
        assert_eq!(View(&prompt).tokens(), 151);
        assert!(prompt.several() && prompt.multimodal());
        assert_eq!(prompt.bytes(), 604);
        let text = PlainPrompt::text("héllo".into());
        assert_eq!(walked(&text), ["héllo".as_bytes()]);
        assert!(!text.several() && !text.multimodal());
    }
}
