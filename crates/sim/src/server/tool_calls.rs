//! The tool calls of one answer: made up whole, said token by token.

use pointsman_core::rng::Rng;
use serde_json::{Value, json};

use crate::server::arguments::Bounds;
use crate::server::tokens::pieces;
use crate::server::tools::Wanted;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// Calls, and how far they have been said.
#[derive(Clone, Debug)]
pub struct ToolCalls {
    calls: Vec<Call>,
    /// The call that is being said, and the byte of its arguments that comes next.
    at: (usize, usize),
}

impl ToolCalls {
    /// One call, or more where that may be; `id` names each.
    pub fn make(
        wanted: &Wanted,
        bounds: &Bounds,
        seed: u64,
        mut id: impl FnMut() -> String,
    ) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut calls = Vec::new();
        loop {
            let tool = &wanted.tools[rng.below(wanted.tools.len())];
            calls.push(Call {
                id: format!("chatcmpl-tool-{}", id()),
                name: tool.name.clone(),
                arguments: bounds.arguments(&tool.parameters, &mut rng).to_string(),
            });
            let more = wanted.several && calls.len() < wanted.tools.len();
            if !more || rng.below(100) >= usize::from(bounds.extra_percent) {
                break;
            }
        }
        Self { calls, at: (0, 0) }
    }

    /// How many tokens it takes to say them.
    pub fn tokens(&self) -> u32 {
        let tokens: usize = self
            .calls
            .iter()
            .map(|c| pieces(&c.arguments).count())
            .sum();
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// The `delta` of the next token; `None` when all is said.
    pub fn next_delta(&mut self) -> Option<String> {
        let (index, byte) = self.at;
        let call = self.calls.get(index)?;
        let piece = pieces(&call.arguments[byte..]).next()?;
        let end = byte + piece.len();
        self.at = match end == call.arguments.len() {
            true => (index + 1, 0),
            false => (index, end),
        };
        let said = match byte {
            0 => json!({
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": piece},
            }),
            _ => json!({"index": index, "function": {"arguments": piece}}),
        };
        Some(json!({"tool_calls": [said]}).to_string())
    }

    /// The calls as far as `tokens` tokens say them.
    pub fn list(&self, tokens: u32) -> Value {
        let mut left = tokens as usize;
        let mut list = Vec::new();
        for call in &self.calls {
            if left == 0 {
                break;
            }
            let said: Vec<&str> = pieces(&call.arguments).take(left).collect();
            left -= said.len();
            list.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": said.concat()},
            }));
        }
        Value::Array(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tools::Tool;

    fn calls(several: bool, seed: u64) -> ToolCalls {
        let parameters = json!({"required": ["x"], "properties": {"x": {"type": "integer"}}});
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            parameters: parameters.clone(),
        };
        let wanted = Wanted {
            tools: vec![tool("a"), tool("b")],
            several,
        };
        let bounds = Bounds {
            integer: (0, 100),
            number: (0.0, 1.0),
            array: (1, 5),
            parameter_percent: 50,
            field_percent: 50,
            extra_percent: 45,
        };
        let mut count = 0;
        ToolCalls::make(&wanted, &bounds, seed, || {
            count += 1;
            count.to_string()
        })
    }

    #[test]
    fn what_is_streamed_is_what_is_answered_whole() {
        for seed in 0..50 {
            let mut stream = calls(true, seed);
            let whole = stream.list(stream.tokens());
            let mut said = vec![String::new(); whole.as_array().unwrap().len()];
            let mut count = 0;
            while let Some(delta) = stream.next_delta() {
                let delta: Value = serde_json::from_str(&delta).unwrap();
                let call = &delta["tool_calls"][0];
                let index = call["index"].as_u64().unwrap() as usize;
                assert_eq!(call.get("id").is_some(), said[index].is_empty());
                said[index] += call["function"]["arguments"].as_str().unwrap();
                count += 1;
            }
            assert_eq!(count, stream.tokens());
            for (said, whole) in said.iter().zip(whole.as_array().unwrap()) {
                assert_eq!(whole["function"]["arguments"], said.as_str());
                assert!(serde_json::from_str::<Value>(said).unwrap()["x"].is_i64());
            }
        }
    }

    #[test]
    fn one_call_is_enough_where_only_one_may_be() {
        let count = |several| {
            let lengths = (0..100).map(|seed| calls(several, seed).calls.len());
            lengths.filter(|&length| length == 2).count()
        };
        assert_eq!(count(false), 0);
        assert!((25..65).contains(&count(true)));
    }

    #[test]
    fn a_limit_cuts_the_arguments() {
        let cut = calls(false, 1).list(2);
        assert_eq!(cut[0]["function"]["arguments"], "{\"");
    }
}
