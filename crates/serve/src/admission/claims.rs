//! What a request's headers say of who sent it and how urgent it is.

use std::collections::BTreeMap;

use pointsman_core::model::headers::Headers;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Span;

use crate::metrics::names::DEFAULT_FLOW;

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

/// Longer fairness ids belong to the default flow: a client chooses them, and they are kept while it waits.
const LONGEST: usize = 256;

/// Who sent a request, and how urgent it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims<'a> {
    /// The priority of its objective.
    pub priority: i64,
    /// Who sent it, as far as fairness is concerned.
    pub flow: &'a str,
}

impl<'a> Claims<'a> {
    /// What these headers say under this plan. Objectives that the cluster declares go before configured ones.
    pub fn of(headers: Headers<'a>, plan: &Plan, declared: &BTreeMap<String, i64>) -> Self {
        let some = |id: &&str| !id.is_empty() && id.len() <= LONGEST;
        let flow = first(headers, FAIRNESS_ID).filter(some).or_else(|| {
            let mut named = plan.flow_headers.iter();
            named.find_map(|name| headers.get(name).filter(some))
        });
        let objective = match plan.admission.objectives.is_empty() && declared.is_empty() {
            true => None,
            false => first(headers, OBJECTIVE),
        };
        Self {
            priority: objective
                .and_then(|name| declared.get(name).copied())
                .unwrap_or_else(|| plan.admission.priority(objective)),
            flow: flow.unwrap_or(DEFAULT_FLOW),
        }
    }
}

/// How soon the client wants its first token.
pub fn first_token_within(headers: Headers<'_>) -> Option<Span> {
    first(headers, FIRST_TOKEN).and_then(milliseconds)
}

fn first<'a>(headers: Headers<'a>, names: [&str; 2]) -> Option<&'a str> {
    names.into_iter().find_map(|name| headers.get(name))
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
