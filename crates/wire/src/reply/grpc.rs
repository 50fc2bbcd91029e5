//! Usage in the answers of vLLM over gRPC: messages behind prefixes of five bytes, cut anywhere.
//!
//! The last counts that are not zero stand. A message of more than 1 MiB is passed over, and so is one that is
//! compressed or cannot be read.

use prost::{Message, Oneof};

use crate::request::vllm_grpc::Call;
use pointsman_core::exchange::event::Usage;

/// Largest message that is looked into.
const MOST: usize = 1 << 20;

/// Flag and length.
const PREFIX: usize = 5;

/// `GenerateResponse`.
#[derive(Clone, PartialEq, Message)]
struct GenerateResponse {
    #[prost(oneof = "Generated", tags = "1, 2")]
    response: Option<Generated>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Generated {
    #[prost(message, tag = "1")]
    Chunk(Chunk),
    #[prost(message, tag = "2")]
    Complete(Complete),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Chunk {
    #[prost(uint32, tag = "2")]
    prompt_tokens: u32,
    #[prost(uint32, tag = "3")]
    completion_tokens: u32,
    #[prost(uint32, tag = "4")]
    cached_tokens: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Complete {
    #[prost(uint32, tag = "3")]
    prompt_tokens: u32,
    #[prost(uint32, tag = "4")]
    completion_tokens: u32,
    #[prost(uint32, tag = "5")]
    cached_tokens: u32,
}

/// `EmbedResponse`.
#[derive(Clone, Copy, PartialEq, Message)]
struct EmbedResponse {
    #[prost(uint32, tag = "2")]
    prompt_tokens: u32,
}

/// Watches one answer.
#[derive(Debug)]
pub struct GrpcWatch {
    call: Call,
    /// The message that has begun, prefix included; empty while one that is too large passes.
    open: Vec<u8>,
    /// Bytes of a message that is passed over which are still to come.
    skip: usize,
}

impl GrpcWatch {
    /// A watch over the answer of a call.
    pub fn new(call: Call) -> Self {
        Self {
            call,
            open: Vec::new(),
            skip: 0,
        }
    }

    /// Shows the next bytes; the last usage among the messages that they complete.
    pub fn chunk(&mut self, mut bytes: &[u8]) -> Option<Usage> {
        let mut last = None;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            if self.open.len() < PREFIX {
                bytes = self.fill(PREFIX, bytes);
            }
            let Some(head) = self.open.first_chunk::<PREFIX>() else {
                break;
            };
            let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if head[0] != 0 || size > MOST {
                self.open.clear();
                self.skip = size;
                continue;
            }
            bytes = self.fill(PREFIX + size, bytes);
            if self.open.len() == PREFIX + size {
                last = self.usage().or(last);
                self.open.clear();
            }
        }
        last
    }

    /// Takes bytes until the open message has `wanted`; what is left of them.
    fn fill<'b>(&mut self, wanted: usize, bytes: &'b [u8]) -> &'b [u8] {
        let (taken, rest) = bytes.split_at((wanted - self.open.len()).min(bytes.len()));
        self.open.extend_from_slice(taken);
        rest
    }

    fn usage(&self) -> Option<Usage> {
        let message = &self.open[PREFIX..];
        let (prompt, completion, cached) = match self.call {
            Call::Embed => {
                let response = EmbedResponse::decode(message).ok()?;
                (response.prompt_tokens, 0, None)
            }
            Call::Generate => match GenerateResponse::decode(message).ok()?.response? {
                Generated::Chunk(c) => {
                    (c.prompt_tokens, c.completion_tokens, Some(c.cached_tokens))
                }
                Generated::Complete(c) => {
                    (c.prompt_tokens, c.completion_tokens, Some(c.cached_tokens))
                }
            },
        };
        (prompt > 0 || completion > 0).then_some(Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            cached_tokens: cached,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(out: &mut Vec<u8>, message: &[u8]) {
        out.push(0);
        out.extend((message.len() as u32).to_be_bytes());
        out.extend(message);
    }

    fn response(generated: Generated) -> Vec<u8> {
        GenerateResponse {
            response: Some(generated),
        }
        .encode_to_vec()
    }

    fn watched(call: Call, answer: &[u8], size: usize) -> Option<Usage> {
        let mut watch = GrpcWatch::new(call);
        let chunks = answer.chunks(size);
        chunks.fold(None, |last, chunk| watch.chunk(chunk).or(last))
    }

    #[test]
    fn the_last_counts_stand_however_the_answer_is_cut() {
        let mut answer = Vec::new();
        let chunk = |prompt_tokens, completion_tokens| {
            response(Generated::Chunk(Chunk {
                prompt_tokens,
                completion_tokens,
                cached_tokens: 3,
            }))
        };
        framed(&mut answer, &chunk(9, 1));
        framed(&mut answer, &chunk(0, 0));
        framed(&mut answer, b"\xff\xff");
        framed(&mut answer, &vec![b'x'; MOST + 1]);
        let complete = Complete {
            prompt_tokens: 9,
            completion_tokens: 4,
            cached_tokens: 8,
        };
        framed(&mut answer, &response(Generated::Complete(complete)));
        framed(&mut answer, &[]);
        let usage = Usage {
            prompt_tokens: 9,
            completion_tokens: 4,
            cached_tokens: Some(8),
        };
        for size in [1, 2, 3, 5, 7, 64, 4096, answer.len()] {
            assert_eq!(
                watched(Call::Generate, &answer, size),
                Some(usage),
                "by {size}"
            );
        }
    }

    #[test]
    fn an_embedding_tells_its_prompt() {
        let mut answer = Vec::new();
        let message = [0x0a, 4, 0, 0, 128, 63, 0x10, 7, 0x18, 1];
        framed(&mut answer, &message);
        let usage = Usage {
            prompt_tokens: 7,
            ..Usage::default()
        };
        assert_eq!(watched(Call::Embed, &answer, 3), Some(usage));
    }
}
