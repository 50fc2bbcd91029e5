//! What a request's headers say about its place in the queue.

use std::collections::BTreeMap;

use pointsman_core::admission::rules::Admission;
use pointsman_core::model::headers::Headers;
use pointsman_core::time::Span;

/// Headers by their present names; the ones after them are earlier names, read where the present one is missing.
const OBJECTIVE: [&str; 2] = [
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
];
const FAIRNESS_ID: [&str; 2] = [
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
];
const FIRST_TOKEN: [&str; 2] = ["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"];

/// The flow of requests that name none.
pub const DEFAULT_FLOW: &str = "default-flow";

/// Longer fairness ids belong to the default flow: a client chooses them, and they are kept while it waits.
const LONGEST: usize = 256;

/// A request's place in the queue, as far as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims<'a> {
    /// The priority of its objective.
    pub priority: i64,
    /// Who sent it, as far as fairness is concerned.
    pub flow: &'a str,
    /// How soon it wants its first token.
    pub first_token_within: Option<Span>,
}

impl<'a> Claims<'a> {
    /// What these headers say under these rules. Objectives that the cluster declares go before configured ones.
    pub fn of(
        headers: Headers<'a>,
        admission: &Admission,
        declared: &BTreeMap<String, i64>,
    ) -> Self {
        let first = |names: [&str; 2]| names.into_iter().find_map(|name| headers.get(name));
        let objective = first(OBJECTIVE);
        let flow = first(FAIRNESS_ID).filter(|id| !id.is_empty() && id.len() <= LONGEST);
        Self {
            priority: objective
                .and_then(|name| declared.get(name).copied())
                .unwrap_or_else(|| admission.priority(objective)),
            flow: flow.unwrap_or(DEFAULT_FLOW),
            first_token_within: first(FIRST_TOKEN).and_then(milliseconds),
        }
    }
}

/// A whole number of milliseconds above zero. Anything else is as if the client had said nothing.
fn milliseconds(text: &str) -> Option<Span> {
    let number: u64 = text.trim().parse().ok()?;
    let nanoseconds = number.checked_mul(1_000_000)?;
    (number > 0 && text.trim().bytes().all(|b| b.is_ascii_digit())).then_some(Span(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_a_whole_number_of_milliseconds_or_none() {
        assert_eq!(milliseconds("200"), Some(Span::from_millis(200)));
        assert_eq!(milliseconds(" 1 "), Some(Span::from_millis(1)));
        for nonsense in [
            "",
            "0",
            "-1",
            "+5",
            "1.5",
            "1e30",
            "99999999999999999999",
            "18446744073709551615",
            "soon",
        ] {
            assert_eq!(milliseconds(nonsense), None, "{nonsense}");
        }
    }
}
