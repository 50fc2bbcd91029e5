//! Setting and removing members of a JSON object in its bytes.
//!
//! What stays keeps its bytes and its order. Members that are set come last, in the order of the rules, because of two equal keys the
//! last one counts; every earlier member of that name goes. The whole text is validated on the way, nothing is built of it.

use std::ops::Range;

use bytes::Bytes;

use crate::json::scanner::{Kind, Scanner};
use crate::request::error::RequestError;

/// What happens to the members of one name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// They become one member with this value, also when there was none.
    Set(&'a [u8]),
    /// They become one member with this value if there was any.
    Replace(&'a [u8]),
    /// They go.
    Remove,
    /// The last of them is changed by these rules itself; one that is missing, or no object, counts as empty.
    Within(&'a [Rule<'a>]),
}

/// A member's name and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'a> {
    /// The name, without escapes.
    pub(crate) key: &'static str,
    /// The change.
    pub(crate) change: Change<'a>,
}

/// Rules in one object; more do not occur, so that what was met fits a word.
const MOST_RULES: usize = 16;

/// What one pass over an object found.
struct Found {
    /// Bit `n`: rule `n` met a member.
    met: u32,
    /// Value of the last member that rule `n` met, for [`Change::Within`].
    values: [Range<usize>; MOST_RULES],
    /// End of the last member; 0 if there is none.
    last_end: usize,
}

/// The object in `frames` with `rules` applied, in one piece.
///
/// # Errors
/// When the text is empty, no JSON, nested too deep, or no object.
pub(crate) fn rewrite<F: AsRef<[u8]>>(
    frames: &[F],
    rules: &[Rule<'_>],
) -> Result<Vec<u8>, RequestError> {
    let len: usize = frames.iter().map(|frame| frame.as_ref().len()).sum();
    let mut copy = Vec::with_capacity(len + 64);
    copy.push(b'{');
    let found = walk(frames, rules, |scanner, run| {
        if copy.len() > 1 {
            copy.push(b',');
        }
        copy.extend_from_slice(&scanner.bytes(&run));
    })?;
    write_set(&mut copy, frames, rules, &found)?;
    copy.push(b'}');
    Ok(copy)
}

/// As [`rewrite`], without copying what stays when no member of these names is there yet.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn extend(frames: &[Bytes], rules: &[Rule<'_>]) -> Result<Vec<Bytes>, RequestError> {
    let found = walk(frames, rules, |_, _| {})?;
    if found.met != 0 {
        return Ok(vec![rewrite(frames, rules)?.into()]);
    }
    if found.last_end == 0 {
        return Ok(vec![rewrite(&[b"{}"], rules)?.into()]);
    }
    // Everything up to the last member as it is, then what is set in place of the closing brace.
    let mut left = found.last_end;
    let mut pieces = Vec::with_capacity(frames.len() + 1);
    for frame in frames {
        let piece = frame.slice(..frame.len().min(left));
        left -= piece.len();
        pieces.push(piece);
        if left == 0 {
            break;
        }
    }
    let mut tail = vec![b','];
    write_set(&mut tail, frames, rules, &found)?;
    if tail.len() == 1 {
        tail.clear();
    }
    tail.push(b'}');
    pieces.push(tail.into());
    Ok(pieces)
}

/// Whether the object in `frames` has a member of this name.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn has<F: AsRef<[u8]>>(frames: &[F], key: &'static str) -> Result<bool, RequestError> {
    let rule = Rule {
        key,
        change: Change::Remove,
    };
    walk(frames, &[rule], |_, _| {}).map(|found| found.met != 0)
}

/// Goes over the object once. `keep` gets the runs of neighbouring members that no rule names, white space between them included.
fn walk<'a, F: AsRef<[u8]>>(
    frames: &'a [F],
    rules: &[Rule<'_>],
    mut keep: impl FnMut(&Scanner<'a, F>, Range<usize>),
) -> Result<Found, RequestError> {
    debug_assert!(rules.len() <= MOST_RULES, "more rules than are kept apart");
    let mut scanner = Scanner::new(frames);
    if scanner.at_end() {
        return Err(RequestError::Empty);
    }
    let kind = scanner.kind()?;
    if kind != Kind::Object {
        return Err(RequestError::NotAnObject {
            found: kind.described(),
        });
    }
    let mut found = Found {
        met: 0,
        values: std::array::from_fn(|_| 0..0),
        last_end: 0,
    };
    let mut kept: Option<Range<usize>> = None;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let start = key.range.start - 1;
        let name = scanner.key_bytes(&key);
        let rule = rules.iter().position(|rule| rule.key.as_bytes() == &*name);
        let value = scanner.skip_value()?;
        found.last_end = value.end;
        match rule {
            None => kept = Some(kept.map_or(start, |run| run.start)..value.end),
            Some(at) => {
                found.met |= 1 << at;
                found.values[at] = value;
                if let Some(run) = kept.take() {
                    keep(&scanner, run);
                }
            }
        }
    }
    scanner.end()?;
    if let Some(run) = kept {
        keep(&scanner, run);
    }
    Ok(found)
}

/// Appends the members that are set, behind whatever `out` ends in.
fn write_set<F: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    frames: &[F],
    rules: &[Rule<'_>],
    found: &Found,
) -> Result<(), RequestError> {
    for (at, rule) in rules.iter().enumerate() {
        let met = found.met >> at & 1 == 1;
        let inner;
        let value = match rule.change {
            Change::Set(value) => value,
            Change::Replace(value) if met => value,
            Change::Replace(_) | Change::Remove => continue,
            Change::Within(rules) => {
                let old = Scanner::new(frames).bytes(&found.values[at]).into_owned();
                let object = met && old.first() == Some(&b'{');
                let old = if object { old } else { b"{}".to_vec() };
                inner = rewrite(&[old], rules)?;
                &inner
            }
        };
        if !matches!(out.last(), None | Some(b'{' | b',')) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(rule.key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULES: &[Rule<'_>] = &[
        Rule {
            key: "a",
            change: Change::Set(b"1"),
        },
        Rule {
            key: "b",
            change: Change::Replace(b"2"),
        },
        Rule {
            key: "c",
            change: Change::Remove,
        },
        Rule {
            key: "d",
            change: Change::Within(&[Rule {
                key: "e",
                change: Change::Set(b"3"),
            }]),
        },
    ];

    #[track_caller]
    fn check(body: &str, expected: &str) {
        for at in 0..=body.len() {
            let cut = |range: Range<usize>| Bytes::copy_from_slice(&body.as_bytes()[range]);
            let frames = [cut(0..at), cut(at..body.len())];
            let whole = rewrite(&frames, RULES).unwrap();
            assert_eq!(String::from_utf8(whole).unwrap(), expected, "cut at {at}");
            let pieces = extend(&frames, RULES).unwrap().concat();
            let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
            assert_eq!(
                value(&pieces),
                value(expected.as_bytes()),
                "extended, cut at {at}"
            );
        }
    }

    #[test]
    fn members_are_set_replaced_removed_and_entered() {
        check("{}", r#"{"a":1,"d":{"e":3}}"#);
        check(" { } ", r#"{"a":1,"d":{"e":3}}"#);
        check(r#"{"x": 0 }"#, r#"{"x": 0,"a":1,"d":{"e":3}}"#);
        check(
            r#"{"b":9,"x":[1, 2],"c":{"a":0},"y":"c","a":7}"#,
            r#"{"x":[1, 2],"y":"c","a":1,"b":2,"d":{"e":3}}"#,
        );
        check(
            r#"{"d":{"f":1,"e":0},"x":1}"#,
            r#"{"x":1,"a":1,"d":{"f":1,"e":3}}"#,
        );
        check(r#"{"d":7,"x":1}"#, r#"{"x":1,"a":1,"d":{"e":3}}"#);
        check(
            r#"{"\u0061":5,"a":6,"x":1}"#,
            r#"{"x":1,"a":1,"d":{"e":3}}"#,
        );
    }

    #[test]
    fn what_needs_no_change_is_not_copied() {
        let body = [
            Bytes::from_static(b"{\"x\":\"long text"),
            Bytes::from_static(b"\"} "),
        ];
        let pieces = extend(&body, RULES).unwrap();
        assert_eq!(pieces[0].as_ptr(), body[0].as_ptr());
        assert_eq!(pieces.concat(), br#"{"x":"long text","a":1,"d":{"e":3}}"#);
        let gone = [Rule {
            key: "c",
            change: Change::Remove,
        }];
        assert_eq!(
            extend(&body, &gone).unwrap().concat(),
            br#"{"x":"long text"}"#
        );
    }

    #[test]
    fn a_member_is_looked_for_on_the_top_level_only() {
        assert!(has(&[r#"{"x":{"a":1},"a":null}"#], "a").unwrap());
        assert!(!has(&[r#"{"x":{"a":1}}"#], "a").unwrap());
        assert!(has(&["[]"], "a").is_err() && has(&["{\"a\":1"], "a").is_err());
    }
}
