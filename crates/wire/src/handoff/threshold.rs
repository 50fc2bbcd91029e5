//! Whether a decode engine declined a request because too little of its prompt was cached.
//!
//! A request with `cache_hit_threshold` goes to decode first. The engine answers it, or gives up at once with the finish reason
//! `cache_threshold` in the first choice, of a whole answer or of the first event of a stream.

use crate::json::scanner::{Kind, Scanner};

/// The member of a request that asks for this.
pub const FIELD: &str = "cache_hit_threshold";

/// Where an answer's beginning stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More of it must be seen.
    Unknown,
    /// The engine gave up: the prompt must be prefilled elsewhere.
    Declined,
    /// It is the answer.
    Answered,
}

/// Looks at the beginning of an answer; `ended` says that it is all of it, `events` that it is an event stream.
pub fn verdict<F: AsRef<[u8]>>(frames: &[F], events: bool, ended: bool) -> Verdict {
    if !events {
        if !ended {
            return Verdict::Unknown;
        }
        return decided(declines(frames));
    }
    let text = frames
        .iter()
        .flat_map(|frame| frame.as_ref())
        .copied()
        .collect::<Vec<u8>>();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let Some(data) = line.strip_prefix(b"data:") else {
            continue;
        };
        if !line.ends_with(b"\n") {
            break;
        }
        return decided(declines(&[data]));
    }
    if ended {
        Verdict::Answered
    } else {
        Verdict::Unknown
    }
}

const fn decided(declined: Option<bool>) -> Verdict {
    match declined {
        Some(true) => Verdict::Declined,
        _ => Verdict::Answered,
    }
}

/// Whether the first choice has the finish reason; `None` for what is no such answer.
fn declines<F: AsRef<[u8]>>(frames: &[F]) -> Option<bool> {
    let mut scanner = Scanner::new(frames);
    let mut first = true;
    let mut declined = false;
    scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        let choices = &*scanner.key_bytes(&key) == b"choices";
        if !choices || scanner.kind().ok()? != Kind::List {
            scanner.skip_value().ok()?;
            continue;
        }
        scanner.enter_list().ok()?;
        let (mut first_element, mut number) = (true, 0);
        while scanner.next_element(&mut first_element).ok()? {
            if number == 0 && scanner.kind().ok()? == Kind::Object {
                declined = choice_declines(&mut scanner)?;
            } else {
                scanner.skip_value().ok()?;
            }
            number += 1;
        }
    }
    Some(declined)
}

fn choice_declines<F: AsRef<[u8]>>(scanner: &mut Scanner<'_, F>) -> Option<bool> {
    let mut first = true;
    let mut declined = false;
    scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        let reason = &*scanner.key_bytes(&key) == b"finish_reason";
        if reason && scanner.kind().ok()? == Kind::Str {
            let text = scanner.string().ok()?;
            declined = scanner.text(&text) == "cache_threshold";
        } else {
            scanner.skip_value().ok()?;
        }
    }
    Some(declined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, events: bool, ended: bool, expected: Verdict) {
        for at in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(at);
            assert_eq!(verdict(&[left, right], events, ended), expected, "{at}");
        }
    }

    #[test]
    fn a_whole_answer_is_judged_at_its_end() {
        let declined = r#"{"id":"x","choices":[{"index":0,"finish_reason":"cache_threshold"},{"finish_reason":"stop"}]}"#;
        check(declined, false, true, Verdict::Declined);
        check(declined, false, false, Verdict::Unknown);
        for answered in [
            r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"cache_threshold"}]}"#,
            r#"{"choices":[{"finish_reason":null,"text":"cache_threshold"}]}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":7}"#,
            "no json",
        ] {
            check(answered, false, true, Verdict::Answered);
        }
    }

    #[test]
    fn a_stream_is_judged_by_its_first_event() {
        let first = "data: {\"choices\":[{\"finish_reason\":\"cache_threshold\"}]}\r\n";
        check(first, true, false, Verdict::Declined);
        check(
            &format!(": comment\n{first}\ndata: [DONE]\n\n"),
            true,
            true,
            Verdict::Declined,
        );
        check("data: {\"choi", true, false, Verdict::Unknown);
        check(": comment\n\n", true, false, Verdict::Unknown);
        check(": comment\n\n", true, true, Verdict::Answered);
        check(
            "data: {\"choices\":[{\"delta\":{}}]}\n\ndata: {\"choices\":[{\"finish_reason\":\"cache_threshold\"}]}\n\n",
            true,
            true,
            Verdict::Answered,
        );
    }
}
