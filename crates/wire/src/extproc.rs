//! The talk between a gateway and an endpoint picker: `envoy.service.ext_proc.v3` over gRPC.
//!
//! In reading order: the messages ([`messages`], [`health`]) and their framing ([`grpc`]); how bodies are passed
//! ([`mode`]); what the gateway says ([`head`], [`hint`], [`body`]); what it is told ([`answer`], [`rewrite`]).
//! Field numbers and names are those of the published interface and of the reference.

pub mod answer;
pub mod body;
pub mod frame_fault;
pub mod go_json;
pub mod grpc;
mod gzip;
pub mod head;
pub mod health;
pub mod hint;
pub mod messages;
pub mod mode;
pub mod names;
pub mod rewrite;
