//! One choice of an answer: its place in the engine and what it says.

use crate::engine::request::Summary;
use crate::server::answer::{Answer, Said, Usage};
use crate::server::answer_text::AnswerText;
use crate::server::host::Seat;
use crate::server::tool_calls::ToolCalls;
use bytes::Bytes;

/// What a choice says, token by token.
#[derive(Clone, Debug)]
pub enum Script {
    /// Text.
    Text(AnswerText),
    /// Tool calls.
    Calls(ToolCalls),
}

/// One choice.
#[derive(Debug)]
pub struct Lane {
    /// Its place in the engine.
    pub seat: Seat,
    /// What it says.
    pub script: Script,
    /// Text that stands before the first token (completions with `echo`).
    pub prefix: String,
    /// Why it ends.
    pub reason: &'static str,
    /// Length of its prompt, in the first choice of each prompt; the others repeat it, and it is counted once.
    pub prompt: Option<u32>,
}

impl Lane {
    /// Waits for the end: what was said, and what it cost.
    pub async fn whole(self) -> (Said, Usage) {
        let Summary {
            output_tokens,
            cached_tokens,
            ..
        } = self.seat.progress.ended().await;
        let said = match self.script {
            Script::Text(mut text) => {
                let mut said = self.prefix;
                (0..output_tokens).for_each(|_| text.next_token(&mut said));
                Said::Text(said)
            }
            Script::Calls(calls) => Said::Calls(calls.list(output_tokens)),
        };
        let usage = Usage {
            prompt: self.prompt.unwrap_or(0),
            completion: output_tokens,
            cached: self.prompt.map_or(0, |_| cached_tokens),
        };
        (said, usage)
    }

    /// The event of the next token.
    pub fn event(&mut self, index: usize, answer: &Answer, usage: Usage) -> Bytes {
        match &mut self.script {
            Script::Text(script) => {
                let mut text = std::mem::take(&mut self.prefix);
                script.next_token(&mut text);
                answer.token(index, &text, usage)
            }
            Script::Calls(calls) => {
                let delta = calls.next_delta();
                answer.delta(index, delta.as_deref().unwrap_or("{}"), usage)
            }
        }
    }
}
