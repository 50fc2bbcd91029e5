//! Prompts and arrivals from files: JSON lines of prompts, and traces in the format of Mooncake.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load::{Ask, BYTES_PER_TOKEN, Prompt};

/// Tokens of one block of a trace.
const BLOCK_TOKENS: usize = 512;
/// Longest prompt that a line may ask for, in bytes.
const LONGEST: usize = 16 << 20;
/// Broken lines that are named.
const NAMED: usize = 5;

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Read {
    /// Its name.
    pub file: String,
    /// Lines that became requests.
    pub used: usize,
    /// Empty lines.
    pub empty: usize,
    /// Lines that made no sense.
    pub broken: usize,
    /// The first of these, with their numbers and what is wrong.
    pub first_broken: Vec<String>,
}

impl Read {
    /// One sentence, if lines were left out.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if self.broken + self.empty == 0 {
            return None;
        }
        let mut text = format!(
            "{}: {} of {} lines left out ({} empty, {} broken)",
            self.file,
            self.broken + self.empty,
            self.used + self.broken + self.empty,
            self.empty,
            self.broken
        );
        if !self.first_broken.is_empty() {
            text.push_str(": ");
            text.push_str(&self.first_broken.join("; "));
        }
        Some(text)
    }
}

/// Requests of a file, and when they start where it says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// What they ask.
    pub asks: Vec<Ask>,
    /// When they start; empty for a file of prompts.
    pub arrivals: Vec<Duration>,
    /// What was read.
    pub read: Read,
}

/// Reads prompts: `{"prompt": …}` or `{"messages": [{"content": …}]}` (parts of content too), with `max_tokens` or `output_tokens_count`.
#[must_use]
pub fn prompts(file: &str, text: &str) -> Requests {
    lines(file, text, |line| {
        let prompt = match (&line["prompt"], &line["messages"]) {
            (Value::String(prompt), _) if prompt.is_empty() => {
                return Err("has an empty prompt".to_owned());
            }
            (Value::String(prompt), _) => Prompt::Text(prompt.clone()),
            (_, Value::Array(messages)) => {
                let text = said(messages);
                if text.is_empty() {
                    return Err("has messages without a text".to_owned());
                }
                Prompt::Chat {
                    messages: line["messages"].to_string(),
                    text,
                }
            }
            _ => return Err("has neither a text prompt nor messages".to_owned()),
        };
        let tokens = ["max_tokens", "output_tokens_count", "output_length"];
        let tokens = tokens.iter().find_map(|key| line[*key].as_u64());
        let ask = Ask {
            prompt,
            max_tokens: tokens.map(|tokens| u32::try_from(tokens.max(1)).unwrap_or(u32::MAX)),
        };
        Ok((ask, None))
    })
}

/// The texts of messages, of which each is one or has parts.
fn said(messages: &[Value]) -> String {
    let mut texts = Vec::new();
    for message in messages {
        match &message["content"] {
            Value::String(text) => texts.push(text.as_str()),
            Value::Array(parts) => {
                texts.extend(parts.iter().filter_map(|part| part["text"].as_str()))
            }
            _ => {}
        }
    }
    texts.join("\n")
}

/// Reads a trace: `timestamp` in milliseconds, `input_length` and `output_length` in tokens, `hash_ids` of blocks of
/// 512 tokens. `speed` 2 plays it twice as fast.
#[must_use]
pub fn trace(file: &str, text: &str, speed: f64) -> Requests {
    let mut requests = lines(file, text, |line| {
        let number = |key: &str| {
            let found = line[key].as_f64().filter(|n| n.is_finite() && *n >= 0.0);
            found.ok_or_else(|| format!("{key} is {}; expected a number of at least 0", line[key]))
        };
        let (at, input, output) = (
            number("timestamp")?,
            number("input_length")?,
            number("output_length")?,
        );
        let ids = line["hash_ids"].as_array().ok_or("hash_ids is no list")?;
        let ids: Option<Vec<u64>> = ids.iter().map(Value::as_u64).collect();
        let ids = ids.ok_or("hash_ids holds something that is no number")?;
        let bytes = input * BYTES_PER_TOKEN as f64;
        let room = (ids.len() * BLOCK_TOKENS * BYTES_PER_TOKEN) as f64;
        if bytes < 1.0 || bytes > LONGEST as f64 {
            return Err(format!(
                "input_length is {input}; expected 1 to {} tokens",
                LONGEST / BYTES_PER_TOKEN
            ));
        }
        if bytes > room {
            return Err(format!(
                "{} hash_ids are too few for input_length {input}",
                ids.len()
            ));
        }
        let seconds = at / 1e3 / speed;
        let after = Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("timestamp {at} is too large"))?;
        let ask = Ask {
            prompt: Prompt::Blocks {
                ids,
                bytes: bytes as usize,
                block: BLOCK_TOKENS * BYTES_PER_TOKEN,
            },
            max_tokens: Some((output as u32).max(1)),
        };
        Ok((ask, Some(after)))
    });
    // Lines may be out of order; requests go out in the order of their times.
    let mut both: Vec<_> = requests
        .arrivals
        .drain(..)
        .zip(requests.asks.drain(..))
        .collect();
    both.sort_by_key(|(at, _)| *at);
    (requests.arrivals, requests.asks) = both.into_iter().unzip();
    requests
}

fn lines(
    file: &str,
    text: &str,
    read: impl Fn(&Value) -> Result<(Ask, Option<Duration>), String>,
) -> Requests {
    let mut requests = Requests::default();
    requests.read.file = file.to_owned();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            requests.read.empty += 1;
            continue;
        }
        let parsed =
            serde_json::from_str::<Value>(line).map_err(|error| format!("is no JSON ({error})"));
        match parsed.and_then(|value| read(&value)) {
            Ok((ask, at)) => {
                requests.asks.push(ask);
                requests.arrivals.extend(at);
                requests.read.used += 1;
            }
            Err(why) => {
                requests.read.broken += 1;
                if requests.read.first_broken.len() < NAMED {
                    requests
                        .read
                        .first_broken
                        .push(format!("line {number} {why}"));
                }
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_lines_of_a_trace_are_counted_and_named() {
        let text = "{\"timestamp\": 2000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 2]}\n\n\
            {\"timestamp\": 1000, \"input_length\": 10, \"output_length\": 0, \"hash_ids\": [1]}\n\
            {\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1]}\n\
            {\"timestamp\": 0\n{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [1]}\n";
        let requests = trace("t.jsonl", text, 2.0);
        assert_eq!(
            requests.arrivals,
            [Duration::from_millis(500), Duration::from_secs(1)]
        );
        assert_eq!(requests.asks[0].max_tokens, Some(1));
        assert_eq!(
            (
                requests.read.used,
                requests.read.empty,
                requests.read.broken
            ),
            (2, 1, 3)
        );
        let warning = requests.read.warning().unwrap();
        for part in [
            "t.jsonl: 4 of 6 lines left out (1 empty, 3 broken)",
            "line 4 1 hash_ids are too few for input_length 600",
            "line 5 is no JSON",
            "line 6 timestamp is -1",
        ] {
            assert!(warning.contains(part), "{part} in {warning}");
        }
    }

    #[test]
    fn prompts_are_read_in_both_forms() {
        let text = "{\"prompt\":\"a\",\"max_tokens\":3}\n{\"messages\":[{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"c\"}]}]}\n{\"prompt\":7}\n";
        let requests = prompts("p.jsonl", text);
        let texts: Vec<&Prompt> = requests.asks.iter().map(|ask| &ask.prompt).collect();
        assert_eq!(
            texts,
            [
                &Prompt::Text("a".to_owned()),
                &Prompt::Chat {
                    messages: r#"[{"content":"b","role":"user"},{"content":[{"text":"c","type":"text"}],"role":"user"}]"#.to_owned(),
                    text: "b\nc".to_owned()
                }
            ]
        );
        assert_eq!(requests.asks[0].max_tokens, Some(3));
        assert_eq!(
            requests.read.first_broken,
            ["line 3 has neither a text prompt nor messages"]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "((\\{\"timestamp\": ?[0-9e-]{0,9}, \"input_length\": [0-9e]{0,9}, \"output_length\": [0-9]{0,12}, \"hash_ids\": \\[[0-9,]{0,6}\\]\\}|.{0,20})\n){0,5}") {
            let _ = trace("f", &text, 1.0);
            let _ = prompts("f", &text);
        }
    }
}
