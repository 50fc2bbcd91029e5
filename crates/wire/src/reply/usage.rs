//! A usage object out of the bytes of an answer.
//!
//! Both spellings are read: `prompt_tokens`, `completion_tokens`, `prompt_tokens_details` and
//! `input_tokens`, `output_tokens`, `input_tokens_details`. Counts are whole numbers from zero to
//! a billion; anything else in one of them makes the whole object unbelievable. Missing generated or
//! cached tokens are zero (embeddings generate none), a missing prompt count is not believed.
//!
//! Anthropic's streams tell the prompt at the beginning and what was generated at the end: an object with
//! `output_tokens` alone goes on with the counts of the one before. Its cached tokens are `cache_read_input_tokens`.

use crate::json::fault::JsonFault;
use crate::json::scanner::{Kind, Scanner};
use crate::reply::look::Look;
use pointsman_core::exchange::event::Usage;

/// The key before a usage object, with its quotes.
pub const KEY: &[u8] = b"\"usage\"";

/// Largest believable token count.
const MOST_TOKENS: f64 = 1e9;

/// Looks for the usage object behind the key at the front of `text`; `before` is what the one before said. `Found(None)`
/// is an object that is not believable; `Nothing` is no usage object at all (another value, `null`).
pub fn usage_at(text: &[u8], before: Option<Usage>) -> Look<Option<Usage>> {
    if text.len() < KEY.len() {
        return if KEY.starts_with(text) {
            Look::More
        } else {
            Look::Nothing
        };
    }
    let Some(after) = text.strip_prefix(KEY) else {
        return Look::Nothing;
    };
    let blank = after
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    match after.get(blank) {
        None => Look::More,
        Some(b':') => read(&after[blank + 1..], before).unwrap_or_else(Look::from),
        Some(_) => Look::Nothing,
    }
}

fn read(text: &[u8], before: Option<Usage>) -> Result<Look<Option<Usage>>, JsonFault> {
    let frames = [text];
    let mut scanner = Scanner::new(&frames);
    if scanner.kind()? != Kind::Object {
        return Ok(Look::Nothing);
    }
    let (mut prompt, mut completion, mut cached) = (Count::Absent, Count::Absent, Count::Absent);
    let mut goes_on = false;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        match (key.slice.unwrap_or_default(), scanner.kind()?) {
            (b"prompt_tokens" | b"input_tokens", kind) => prompt = count(&mut scanner, kind)?,
            (name @ (b"completion_tokens" | b"output_tokens"), kind) => {
                goes_on = name == b"output_tokens";
                completion = count(&mut scanner, kind)?;
            }
            (b"cache_read_input_tokens", kind) => cached = count(&mut scanner, kind)?,
            (b"prompt_tokens_details" | b"input_tokens_details", Kind::Object) => {
                cached = cached_tokens(&mut scanner)?;
            }
            _ => {
                scanner.skip_value()?;
            }
        }
    }
    Ok(match (&prompt, &completion, before) {
        (Count::Absent, Count::Absent, _) => Look::Nothing,
        (Count::Absent, Count::Is(completion_tokens), Some(before)) if goes_on => {
            Look::Found(Some(Usage {
                completion_tokens: *completion_tokens,
                ..before
            }))
        }
        _ => Look::Found(believable(prompt, completion, cached)),
    })
}

/// A count as it was found.
enum Count {
    Absent,
    Is(u32),
    Bad,
}

fn believable(prompt: Count, completion: Count, cached: Count) -> Option<Usage> {
    let Count::Is(prompt_tokens) = prompt else {
        return None;
    };
    let completion_tokens = match completion {
        Count::Absent => 0,
        Count::Is(tokens) => tokens,
        Count::Bad => return None,
    };
    let cached_tokens = match cached {
        Count::Absent => None,
        Count::Is(tokens) => Some(tokens),
        Count::Bad => return None,
    };
    Some(Usage {
        prompt_tokens,
        completion_tokens,
        cached_tokens,
    })
}

fn count(scanner: &mut Scanner<'_, &[u8]>, kind: Kind) -> Result<Count, JsonFault> {
    if kind != Kind::Number {
        scanner.skip_value()?;
        return Ok(if kind == Kind::Null {
            Count::Absent
        } else {
            Count::Bad
        });
    }
    let range = scanner.number()?;
    let digits = scanner.bytes(&range);
    let value = std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| digits.parse::<f64>().ok());
    Ok(match value {
        Some(value) if (0.0..=MOST_TOKENS).contains(&value) && value.fract() == 0.0 => {
            Count::Is(value as u32)
        }
        _ => Count::Bad,
    })
}

fn cached_tokens(scanner: &mut Scanner<'_, &[u8]>) -> Result<Count, JsonFault> {
    let mut cached = Count::Absent;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let kind = scanner.kind()?;
        if key.slice == Some(b"cached_tokens") {
            cached = count(scanner, kind)?;
        } else {
            scanner.skip_value()?;
        }
    }
    Ok(cached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Look<Option<(u32, u32, Option<u32>)>>) {
        let text = format!("\"usage\" : {value}");
        let got = usage_at(text.as_bytes(), None);
        let expected = match expected {
            Look::Found(usage) => Look::Found(usage.map(
                |(prompt_tokens, completion_tokens, cached_tokens)| Usage {
                    prompt_tokens,
                    completion_tokens,
                    cached_tokens,
                },
            )),
            Look::Nothing => Look::Nothing,
            Look::More => Look::More,
        };
        assert_eq!(got, expected, "{text}");
        // Any beginning of it asks for more, or says what the whole says.
        for end in 0..text.len() {
            let part = usage_at(&text.as_bytes()[..end], None);
            assert!(part == Look::More || part == got, "{}", &text[..end]);
        }
    }

    #[test]
    fn counts_are_believed_or_not() {
        let both = r#"{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}"#;
        check(both, Look::Found(Some((5, 3, None))));
        check(
            r#"{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"audio":0,"cached_tokens":4}}"#,
            Look::Found(Some((5, 3, Some(4)))),
        );
        check(
            r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":0},"output_tokens":3.0}"#,
            Look::Found(Some((5, 3, Some(0)))),
        );
        check(
            r#"{"prompt_tokens":5,"total_tokens":5}"#,
            Look::Found(Some((5, 0, None))),
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":null}"#,
            Look::Found(Some((5, 3, None))),
        );
        check("null", Look::Nothing);
        check("{}", Look::Nothing);
        check("[1]", Look::Nothing);
        check(r#""text""#, Look::Nothing);
        check(r#"{"completion_tokens":3}"#, Look::Found(None));
        check(
            r#"{"prompt_tokens":"5","completion_tokens":3}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":-1,"completion_tokens":3}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":1e300}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":1e999}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":18446744073709551616}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":2.5,"completion_tokens":1}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":[5],"completion_tokens":{}}"#,
            Look::Found(None),
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":-4}}"#,
            Look::Found(None),
        );
        check("{\"prompt_tokens\":5", Look::More);
        check("{\"prompt_tokens\":5;", Look::Nothing);
    }
}
