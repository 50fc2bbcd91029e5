//! What a prefill engine's answer says about where its KV cache lies.
//!
//! The object `kv_transfer_params` is taken over byte for byte; only whether a decode engine could act on it is looked at. A decode
//! engine that gets half of it fetches blocks that are not there, and answers from them.

use crate::json::scanner::{Kind, Scanner};

/// Members without which a decode engine cannot fetch the KV cache.
const NEEDED: [&str; 4] = [
    "remote_engine_id",
    "remote_block_ids",
    "remote_host",
    "remote_port",
];

/// Why an answer says nothing that decode could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTransfer {
    /// The answer is not a JSON object.
    #[error("the prefill answer is no JSON object")]
    Unreadable,
    /// There is no `kv_transfer_params`, or it is no object.
    #[error("the prefill answer has no kv_transfer_params")]
    Missing,
    /// A member is missing, null, or `do_remote_prefill` is not true.
    #[error("kv_transfer_params of the prefill answer lacks '{0}'")]
    Partial(&'static str),
}

/// The object `kv_transfer_params` of a prefill answer, as decode is to get it.
///
/// # Errors
/// [`NoTransfer`] when decode could not use it.
pub fn transfer_params<F: AsRef<[u8]>>(frames: &[F]) -> Result<Vec<u8>, NoTransfer> {
    let mut scanner = Scanner::new(frames);
    let unreadable = |_| NoTransfer::Unreadable;
    let mut range = None;
    let mut first = true;
    scanner.enter_object().map_err(unreadable)?;
    while let Some(key) = scanner.next_key(&mut first).map_err(unreadable)? {
        let ours = &*scanner.key_bytes(&key) == b"kv_transfer_params";
        let object = scanner.kind().map_err(unreadable)? == Kind::Object;
        let value = scanner.skip_value().map_err(unreadable)?;
        if ours {
            range = object.then_some(value);
        }
    }
    scanner.end().map_err(unreadable)?;
    let range = range.ok_or(NoTransfer::Missing)?;
    let params = scanner.bytes(&range).into_owned();
    match lacking(&params) {
        None => Ok(params),
        Some(name) => Err(NoTransfer::Partial(name)),
    }
}

/// The first member that an object of parameters lacks.
fn lacking(params: &[u8]) -> Option<&'static str> {
    let text = [params];
    let mut scanner = Scanner::new(&text);
    let (mut there, mut fetches) = ([false; NEEDED.len()], false);
    let mut first = true;
    // The text has been validated as part of the answer, so it has no fault left to report.
    scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        let name = scanner.key_bytes(&key);
        let kind = scanner.kind().ok()?;
        let value = scanner.skip_value().ok()?;
        if let Some(at) = NEEDED.iter().position(|n| n.as_bytes() == &*name) {
            there[at] = kind != Kind::Null;
        } else if &*name == b"do_remote_prefill" {
            fetches = &*scanner.bytes(&value) == b"true";
        }
    }
    if !fetches {
        return Some("do_remote_prefill");
    }
    let missing = there.iter().position(|there| !there)?;
    Some(NEEDED[missing])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &str = r#"{"do_remote_decode":false, "do_remote_prefill":true,"remote_engine_id":"e","remote_block_ids":[1, 2],"remote_host":"10.0.0.1","remote_port":5600,"tp_size":1}"#;

    #[track_caller]
    fn check(answer: &str, expected: Result<&str, NoTransfer>) {
        for at in 0..=answer.len() {
            let (left, right) = answer.as_bytes().split_at(at);
            let found = transfer_params(&[left, right])
                .map(|params| String::from_utf8_lossy(&params).into_owned());
            assert_eq!(found, expected.map(str::to_owned), "cut at {at}");
        }
    }

    #[test]
    fn the_object_is_taken_over_byte_for_byte() {
        check(
            &format!(r#"{{"id":"x","choices":[], "kv_transfer_params": {PARAMS} ,"usage":{{}}}}"#),
            Ok(PARAMS),
        );
    }

    #[test]
    fn what_decode_could_not_use_is_named() {
        for (answer, why) in [
            ("", NoTransfer::Unreadable),
            ("[]", NoTransfer::Unreadable),
            ("{\"kv_transfer_params\":{}", NoTransfer::Unreadable),
            ("{}", NoTransfer::Missing),
            ("{\"kv_transfer_params\":null}", NoTransfer::Missing),
            (
                "{\"kv_transfer_params\":{}}",
                NoTransfer::Partial("do_remote_prefill"),
            ),
        ] {
            check(answer, Err(why));
        }
        for name in NEEDED {
            for instead in ["null", "absent"] {
                let params = match instead {
                    "null" => PARAMS.replace(
                        &format!("\"{name}\":"),
                        &format!("\"{name}\":null,\"was_{name}\":"),
                    ),
                    _ => PARAMS.replace(name, "other"),
                };
                check(
                    &format!("{{\"kv_transfer_params\":{params}}}"),
                    Err(NoTransfer::Partial(name)),
                );
            }
        }
    }
}
