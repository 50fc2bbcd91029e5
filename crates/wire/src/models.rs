//! One list of models out of the `GET /v1/models` answers of several endpoints.
//!
//! Entries are taken over byte for byte, in the order in which their ids are first seen; a later
//! entry with a known id is dropped. An answer that is not a JSON object with a list `data` is
//! ignored as a whole, an entry without a string `id` by itself.

use crate::json::fault::JsonFault;
use crate::json::scanner::{Kind, Scanner};
use std::collections::HashSet;
use std::ops::Range;

/// A merged list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedModels {
    /// The answer: `{"object":"list","data":[…]}`.
    pub body: Vec<u8>,
    /// Models in it.
    pub models: usize,
    /// Answers that were ignored.
    pub ignored: usize,
}

/// Merges whole answers, each in one piece.
pub fn merge<A: AsRef<[u8]>>(answers: &[A]) -> MergedModels {
    let mut body = b"{\"object\":\"list\",\"data\":[".to_vec();
    let mut seen = HashSet::new();
    let mut ignored = 0;
    for answer in answers {
        let answer = answer.as_ref();
        let Ok(Some(entries)) = entries(answer) else {
            ignored += 1;
            continue;
        };
        for (id, range) in entries {
            if !seen.insert(id) {
                continue;
            }
            if seen.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(&answer[range]);
        }
    }
    body.extend_from_slice(b"]}");
    MergedModels {
        body,
        models: seen.len(),
        ignored,
    }
}

type Entries = Vec<(String, Range<usize>)>;

/// The entries of one answer: id and place.
fn entries(answer: &[u8]) -> Result<Option<Entries>, JsonFault> {
    let frames = [answer];
    let mut scanner = Scanner::new(&frames);
    if scanner.kind()? != Kind::Object {
        return Ok(None);
    }
    let mut found = None;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.key_bytes(&key).as_ref() == b"data" && scanner.kind()? == Kind::List {
            let mut entries = Vec::new();
            let mut first = true;
            scanner.enter_list()?;
            while scanner.next_element(&mut first)? {
                entries.extend(entry(&mut scanner)?);
            }
            found = Some(entries);
        } else {
            scanner.skip_value()?;
        }
    }
    scanner.end()?;
    Ok(found)
}

fn entry(scanner: &mut Scanner<'_, &[u8]>) -> Result<Option<(String, Range<usize>)>, JsonFault> {
    let start = scanner.offset();
    if scanner.kind()? != Kind::Object {
        scanner.skip_value()?;
        return Ok(None);
    }
    let mut id = None;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        if scanner.key_bytes(&key).as_ref() == b"id" && scanner.kind()? == Kind::Str {
            let read = scanner.string()?;
            id = Some(scanner.text(&read).into_owned());
        } else {
            scanner.skip_value()?;
        }
    }
    Ok(id.map(|id| (id, start..scanner.position())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answers: &[&str], data: &str, models: usize, ignored: usize) {
        let merged = merge(answers);
        let expected = format!("{{\"object\":\"list\",\"data\":[{data}]}}");
        assert_eq!(String::from_utf8_lossy(&merged.body), expected);
        assert_eq!((merged.models, merged.ignored), (models, ignored));
    }

    #[test]
    fn lists_merge_by_id() {
        let (a, b) = (r#"{"id":"a","created":1}"#, r#"{ "root" : "x" , "id":"b"}"#);
        let both = format!(r#"{{"object":"list","data":[ {a} , {b} ]}}"#);
        check(&[], "", 0, 0);
        check(&[&both], &format!("{a},{b}"), 2, 0);
        check(
            &[r#"{"data":[{"id":"\u0061","created":2}]}"#, &both],
            &format!(r#"{{"id":"\u0061","created":2}},{b}"#),
            2,
            0,
        );
        check(
            &[
                "<html>",
                "",
                "[]",
                "{\"data\":{}}",
                &both,
                "{\"data\":[{\"id\":\"c\"}",
            ],
            &format!("{a},{b}"),
            2,
            5,
        );
        check(
            &[
                r#"{"data":[{"id":7},{},"x",{"id":"c"},null]}"#,
                r#"{"data":[]}"#,
            ],
            r#"{"id":"c"}"#,
            1,
            0,
        );
    }
}
