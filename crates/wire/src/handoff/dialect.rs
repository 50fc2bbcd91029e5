//! The ways in which pairs of engines want to be told of a handoff, and the bodies of both legs in each.
//!
//! | dialect | legs | prefill body | decode body |
//! |---|---|---|---|
//! | p2p, fs | in turn, one id that names the pair | one token, nothing streamed | as it came |
//! | nixlv2 | in turn | one token, nothing streamed, asks for `kv_transfer_params` | with the `kv_transfer_params` of the prefill answer |
//! | shared-storage | decode first if `cache_hit_threshold` is there, then in turn | one token, threshold 0 | threshold 0 |
//! | lmcache | in turn | one token | as it came |
//! | sglang | at the same time | with the meeting place of both | the same |
//!
//! What a client says about a transfer itself (`kv_transfer_params`, `bootstrap_*`) never reaches an engine of the dialect that reads
//! it: those members name addresses that the engine would connect to.

use bytes::Bytes;

use crate::handoff::members::{Change, Rule, extend, has, rewrite};
use crate::handoff::threshold;
use crate::json::write::push_string;
use crate::request::error::RequestError;

/// How a pair of engines wants to be told of a handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// From GPU to GPU; the engines find each other by the addresses in the request id.
    P2p,
    /// Through a shared file system; the id names the pair for people.
    Fs,
    /// vLLM's NixlConnector: the prefill answer says where the cache lies, the decode request repeats it.
    NixlV2,
    /// A shared store that decode looks into by content.
    SharedStorage,
    /// SGLang: both engines are told a meeting place at the same time.
    Sglang,
    /// LMCache: prefill fills a store, decode finds it by content.
    Lmcache,
}

/// Where the two engines of an sglang pair meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting<'a> {
    /// Host of the prefill engine.
    pub host: &'a str,
    /// Port of its bootstrap server.
    pub port: u16,
    /// A number that no other request in flight has.
    pub room: u64,
}

/// Which request schema a path takes, as far as its token limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schema {
    /// `max_tokens` and its kin on the top level.
    Flat,
    /// `max_output_tokens`.
    Responses,
    /// `sampling_params` inside.
    Sampling,
}

const ONE: Change<'static> = Change::Set(b"1");

const fn rule<'a>(key: &'static str, change: Change<'a>) -> Rule<'a> {
    Rule { key, change }
}

/// What asks a NIXL engine to keep the cache for somebody else.
const ASK_NIXL: &[u8] =
    b"{\"do_remote_decode\":true,\"do_remote_prefill\":false,\"remote_engine_id\":null,\
\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}";

const KV_PARAMS: &str = "kv_transfer_params";

impl Dialect {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::P2p,
        Self::Fs,
        Self::NixlV2,
        Self::SharedStorage,
        Self::Lmcache,
        Self::Sglang,
    ];

    /// The name on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Fs => "fs",
            Self::NixlV2 => "nixlv2",
            Self::SharedStorage => "shared-storage",
            Self::Sglang => "sglang",
            Self::Lmcache => "lmcache",
        }
    }

    /// Whether the id of a request names its pair, on both legs and so for the client.
    pub const fn names_pair(self) -> bool {
        matches!(self, Self::P2p | Self::Fs)
    }

    /// Whether both legs run at the same time.
    pub const fn is_concurrent(self) -> bool {
        matches!(self, Self::Sglang)
    }

    /// Whether decode needs what the prefill answer says.
    pub const fn needs_params(self) -> bool {
        matches!(self, Self::NixlV2)
    }

    /// Whether the decode leg's body differs from the client's.
    pub const fn changes_decode(self) -> bool {
        matches!(self, Self::NixlV2 | Self::SharedStorage | Self::Sglang)
    }

    /// For how many seconds a prefill engine keeps a cache that nobody has fetched, where the dialect sets a bound.
    pub const fn lease_s(self) -> Option<u32> {
        match self {
            Self::NixlV2 => Some(30),
            _ => None,
        }
    }

    /// Whether a POST to this path is handed off. Any other request is decode's alone.
    pub fn takes(self, path: &str) -> bool {
        match path {
            "/v1/completions" | "/v1/chat/completions" => true,
            "/v1/messages" | "/v1/responses" | "/inference/v1/generate" => !self.names_pair(),
            _ => false,
        }
    }

    /// The body of the prefill leg. `meeting` is read by sglang alone.
    ///
    /// # Errors
    /// When the body is empty, no JSON, nested too deep, or no object.
    pub fn prefill_body<F: AsRef<[u8]>>(
        self,
        path: &str,
        frames: &[F],
        meeting: &Meeting<'_>,
    ) -> Result<Vec<u8>, RequestError> {
        let none = Change::Set(b"0");
        match (self, Schema::of(path)) {
            (Self::P2p | Self::Fs, _) => rewrite(
                frames,
                &[
                    rule("max_tokens", ONE),
                    rule("max_completion_tokens", Change::Replace(b"1")),
                    rule("stream", Change::Replace(b"false")),
                    rule("stream_options", Change::Remove),
                ],
            ),
            (Self::NixlV2, schema) => {
                let inner = [rule("max_tokens", ONE), rule("min_tokens", ONE)];
                let mut rules = vec![
                    rule(KV_PARAMS, Change::Set(ASK_NIXL)),
                    rule("stream", Change::Set(b"false")),
                    rule("stream_options", Change::Remove),
                ];
                match schema {
                    Schema::Flat => rules.extend([
                        rule("max_tokens", ONE),
                        rule("max_completion_tokens", ONE),
                        rule("min_tokens", ONE),
                    ]),
                    Schema::Responses => rules.push(rule("max_output_tokens", ONE)),
                    Schema::Sampling => rules.push(rule("sampling_params", Change::Within(&inner))),
                }
                rewrite(frames, &rules)
            }
            (Self::SharedStorage | Self::Lmcache, schema) => {
                let inner = [rule("max_tokens", ONE)];
                let mut rules = match schema {
                    Schema::Flat => {
                        vec![rule("max_tokens", ONE), rule("max_completion_tokens", ONE)]
                    }
                    Schema::Responses => vec![rule("max_output_tokens", ONE)],
                    Schema::Sampling => vec![rule("sampling_params", Change::Within(&inner))],
                };
                if self == Self::SharedStorage {
                    rules.push(rule(threshold::FIELD, none));
                }
                rewrite(frames, &rules)
            }
            (Self::Sglang, _) => meeting.with(|rules| rewrite(frames, rules)),
        }
    }

    /// The body of the decode leg after a prefill; `params` is what [`crate::handoff::transfer::transfer_params`] found.
    ///
    /// # Errors
    /// As [`Self::prefill_body`], in the dialects that change the body.
    pub fn decode_body(
        self,
        frames: &[Bytes],
        params: &[u8],
        meeting: &Meeting<'_>,
    ) -> Result<Vec<Bytes>, RequestError> {
        match self {
            Self::P2p | Self::Fs | Self::Lmcache => Ok(frames.to_vec()),
            Self::NixlV2 => extend(frames, &[rule(KV_PARAMS, Change::Set(params))]),
            Self::SharedStorage => extend(frames, &[rule(threshold::FIELD, Change::Set(b"0"))]),
            Self::Sglang => meeting.with(|rules| extend(frames, rules)),
        }
    }

    /// The body with which decode computes the prompt itself.
    ///
    /// # Errors
    /// As [`Self::decode_body`].
    pub fn local_body(self, frames: &[Bytes]) -> Result<Vec<Bytes>, RequestError> {
        let gone = |keys: &[&'static str]| {
            let rules: Vec<_> = keys.iter().map(|key| rule(key, Change::Remove)).collect();
            for key in keys {
                if has(frames, key)? {
                    return extend(frames, &rules);
                }
            }
            Ok(frames.to_vec())
        };
        match self {
            Self::P2p | Self::Fs | Self::Lmcache => Ok(frames.to_vec()),
            Self::NixlV2 => gone(&[KV_PARAMS]),
            // Below the threshold the engine would decline, and there is nobody else.
            Self::SharedStorage => extend(frames, &[rule(threshold::FIELD, Change::Set(b"0"))]),
            Self::Sglang => gone(&["bootstrap_host", "bootstrap_port", "bootstrap_room"]),
        }
    }

    /// Whether decode is to be asked first, and prefill only if it declines.
    ///
    /// # Errors
    /// As [`Self::prefill_body`].
    pub fn asks_decode_first<F: AsRef<[u8]>>(self, frames: &[F]) -> Result<bool, RequestError> {
        match self {
            Self::SharedStorage => has(frames, threshold::FIELD),
            _ => Ok(false),
        }
    }
}

impl Schema {
    fn of(path: &str) -> Self {
        match path {
            "/v1/responses" => Self::Responses,
            "/inference/v1/generate" => Self::Sampling,
            _ => Self::Flat,
        }
    }
}

impl Meeting<'_> {
    fn with<T>(&self, apply: impl FnOnce(&[Rule<'_>]) -> T) -> T {
        let mut host = Vec::with_capacity(self.host.len() + 2);
        push_string(&mut host, self.host);
        let (port, room) = (self.port.to_string(), self.room.to_string());
        apply(&[
            rule("bootstrap_host", Change::Set(&host)),
            rule("bootstrap_port", Change::Set(port.as_bytes())),
            rule("bootstrap_room", Change::Set(room.as_bytes())),
        ])
    }
}

#[cfg(test)]
mod tests;
