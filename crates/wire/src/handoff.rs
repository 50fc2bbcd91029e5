//! How one request is handed from a prefill engine to a decode engine: what stands in ids, bodies and answers.
//!
//! - [`dialect`]: the ways in which engines want to be told, and the bodies of both legs in each of them.
//! - `members`: setting and removing members of a JSON object without reading the rest.
//! - [`transfer`]: what a prefill engine's answer says about where its KV cache lies.
//! - [`threshold`]: whether a decode engine declined for want of cached tokens.
//!
//! The id that names a pair: `___prefill_addr_{P}___decode_addr_{D}_{32 hex}`. The engines put `cmpl-` or `chatcmpl-` in front and may
//! put more behind; the p2p connector reads the two addresses out of it, and people read there which pair served them. Nothing here
//! sends anything.

pub mod dialect;
mod members;
pub mod threshold;
pub mod transfer;

const PREFILL: &str = "___prefill_addr_";
const DECODE: &str = "___decode_addr_";
const HEX_LEN: usize = 32;

/// The parts of an id that names a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairId<'a> {
    /// Name or address of the prefill engine.
    pub prefill: &'a str,
    /// Name or address of the decode engine.
    pub decode: &'a str,
    /// 32 hexadecimal digits that make the id unique.
    pub unique: &'a str,
}

/// The id of a request on both of its legs; `uuid_hex` is a UUID as 32 hexadecimal digits.
pub fn internal_id(prefill: &str, decode: &str, uuid_hex: &str) -> String {
    [PREFILL, prefill, DECODE, decode, "_", uuid_hex].concat()
}

/// Whether an engine may find an address in an id: it is satisfied with less than [`parse_internal_id`].
pub fn names_engine(id: &str) -> bool {
    id.contains(PREFILL) || id.contains(DECODE)
}

/// Reads an id back, with whatever an engine put in front of it or behind it. `None` if it is not one.
pub fn parse_internal_id(id: &str) -> Option<PairId<'_>> {
    let (_, rest) = id.split_once(PREFILL)?;
    let (prefill, rest) = rest.split_once(DECODE)?;
    let (at, unique) = rest.rmatch_indices('_').find_map(|(at, _)| {
        let unique = rest.get(at + 1..at + 1 + HEX_LEN)?;
        unique
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then_some((at, unique))
    })?;
    Some(PairId {
        prefill,
        decode: &rest[..at],
        unique,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let hex = "0123456789abcdef0123456789abcdef";
        let id = internal_id("vllm-prefill-p2p:14579", "vllm_decode_p2p:14579", hex);
        assert_eq!(
            id,
            format!(
                "___prefill_addr_vllm-prefill-p2p:14579___decode_addr_vllm_decode_p2p:14579_{hex}"
            )
        );
        let pair = PairId {
            prefill: "vllm-prefill-p2p:14579",
            decode: "vllm_decode_p2p:14579",
            unique: hex,
        };
        for seen in [
            id.clone(),
            format!("chatcmpl-{id}"),
            format!("cmpl-{id}-0"),
            format!("cmpl-{id}_1"),
        ] {
            assert_eq!(parse_internal_id(&seen), Some(pair), "{seen}");
            assert!(names_engine(&seen), "{seen}");
        }
        for other in [
            "",
            "cmpl-1",
            "___prefill_addr_a___decode_addr_b",
            "___prefill_addr_a___decode_addr_b_0123",
        ] {
            assert_eq!(parse_internal_id(other), None, "{other}");
            assert_eq!(names_engine(other), other.contains("_addr_"), "{other}");
        }
    }
}
