//! The id of an answer: the field `id` of its first object, or of the `response` inside it.

use crate::json::fault::JsonFault;
use crate::json::scanner::{Kind, Scanner};
use crate::reply::look::Look;

/// Longest id that is kept, in bytes.
pub const LONGEST_ID: usize = 512;

/// Looks for the id in the first bytes of an answer; `events` if it is an event stream.
pub fn first_id(events: bool, text: &[u8]) -> Look<String> {
    if !events {
        return id_of(text).unwrap_or(Look::Nothing);
    }
    let mut rest = text;
    loop {
        let end = memchr::memchr(b'\n', rest);
        if let Some(payload) = rest.strip_prefix(b"data:")
            && let Some(look) = id_of(payload)
        {
            return look;
        }
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return Look::More,
        }
    }
}

/// The id of the object at the front of `text`; `None` if something else stands there.
fn id_of(text: &[u8]) -> Option<Look<String>> {
    let frames = [text];
    let mut scanner = Scanner::new(&frames);
    match scanner.kind() {
        Ok(Kind::Object) => Some(read_id(&mut scanner).unwrap_or_else(Look::from)),
        Ok(_) => None,
        Err(fault) => match fault.into() {
            Look::Nothing => None,
            look => Some(look),
        },
    }
}

fn read_id(scanner: &mut Scanner<'_, &[u8]>) -> Result<Look<String>, JsonFault> {
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match (key.slice.unwrap_or_default(), scanner.kind()?) {
            (b"id", Kind::Str) => {
                let id = scanner.string()?;
                let fits = (1..=LONGEST_ID).contains(&id.range.len());
                return Ok(match fits {
                    true => Look::Found(scanner.text(&id).into_owned()),
                    false => Look::Nothing,
                });
            }
            (b"response", Kind::Object) => return read_id(scanner),
            _ => {
                scanner.skip_value()?;
            }
        }
    }
    Ok(Look::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: bool, text: &str, expected: Look<&str>) {
        let got = first_id(events, text.as_bytes());
        let got = match &got {
            Look::Found(id) => Look::Found(id.as_str()),
            Look::Nothing => Look::Nothing,
            Look::More => Look::More,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn the_id_is_the_first_objects() {
        check(
            false,
            r#"{"id":"cmpl-1","object":1}"#,
            Look::Found("cmpl-1"),
        );
        check(
            false,
            r#" {"a":{"id":"no"},"id":"a\u002db"}"#,
            Look::Found("a-b"),
        );
        check(false, r#"{"id":7}"#, Look::Nothing);
        check(false, r#"{"id":""}"#, Look::Nothing);
        check(false, r#"{"id":"cm"#, Look::More);
        check(false, "[]", Look::Nothing);
        check(false, " ", Look::More);
        check(
            false,
            &format!("{{\"id\":\"{}\"}}", "x".repeat(512)),
            Look::Found(&"x".repeat(512)),
        );
        check(
            false,
            &format!("{{\"id\":\"{}\"}}", "x".repeat(513)),
            Look::Nothing,
        );
        check(
            true,
            ": hi\r\nevent: x\r\ndata: {\"id\":\"c\"}\r\n\r\n",
            Look::Found("c"),
        );
        check(
            true,
            "data: {\"type\":\"t\",\"response\":{\"id\":\"r\"}}",
            Look::Found("r"),
        );
        check(
            true,
            "data: [DONE]\n\ndata: {\"id\":\"late\"}",
            Look::Found("late"),
        );
        check(true, "data: {\"x\":1}\n\n", Look::Nothing);
        check(true, ": hi\nda", Look::More);
    }
}
