//! Requests of inference clients: bytes in, facts for scheduling out.
//!
//! - [`error`]: what is wrong with a request, in words a client can act on.
//! - [`prompt`]: where the prompt lies in the body, and its bytes piece by piece.
//! - [`prompt_view`]: the prompt as hashing sees it.
//! - [`openai`]: the OpenAI bodies, and vLLM's own.
//! - [`vllm_grpc`]: vLLM's calls over gRPC.
//! - [`token_ids`]: prompts that are no part of a JSON body.

pub mod error;
mod nested;
pub mod openai;
pub mod prompt;
pub mod prompt_view;
pub mod token_ids;
pub mod vllm_grpc;
