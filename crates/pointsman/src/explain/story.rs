//! One receipt as text: who it was, the decision table of each profile, what chance did, and how it ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pointsman_core::model::slots::Reading;
use pointsman_wire::receipt::{Candidate, ProfileFacts, Receipt, ScorerFacts, Value};

use crate::console::table;

/// What stands where nothing is known or nothing applies.
const NONE: &str = "-";

/// The whole story. `colour` is for a terminal that shows it.
pub(crate) fn story(receipt: &Receipt, colour: bool) -> String {
    let mut out = String::new();
    heading(receipt, &mut out);
    for profile in &receipt.profiles {
        out.push('\n');
        out.push_str(&decision(profile, colour));
    }
    if receipt.profiles.is_empty() {
        out.push_str("\ndecision  none: it ended before any endpoint was looked at\n");
    }
    if receipt.truncated {
        let shown = receipt.profiles.first().map_or(0, |p| p.candidates.len());
        let _ = writeln!(
            out,
            "  only {shown} of {} endpoints are in this record, the best by total",
            receipt.pool.size
        );
    }
    out.push('\n');
    ending(receipt, &mut out);
    out
}

fn heading(receipt: &Receipt, out: &mut String) {
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "{name:<9} {text}");
        }
    };
    line("request", receipt.request_id.clone());
    let door = match receipt.door.as_str() {
        "" => String::new(),
        door => format!("  through the {door}"),
    };
    line("time", format!("{}{door}", receipt.at));
    line(
        "model",
        format!(
            "{}  prompt of {} bytes",
            or_none(&receipt.model),
            receipt.prompt_bytes
        ),
    );
    let plan = &receipt.plan;
    if plan.generation > 0 {
        line(
            "plan",
            format!(
                "{}  number {}, rules of {}, hash {}",
                plan.source, plan.generation, plan.compat, plan.hash
            ),
        );
    }
    let pool = &receipt.pool;
    let generation = match pool.generation {
        0 => String::new(),
        n => format!("  membership {n}"),
    };
    line("pool", format!("{} endpoints{generation}", pool.size));
    if let Some(pd) = &receipt.pd {
        line("p/d", format!("{}  {}", pd.decision, pd.reason));
    }
}

/// The table of one profile and what its picker did: the same text, whatever the receipt was read from.
pub(crate) fn decision(profile: &ProfileFacts, colour: bool) -> String {
    let mut out = format!("profile   {}\n", profile.name);
    let columns = Columns::of(profile);
    let headings = columns.headings(profile);
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut candidates: Vec<&Candidate> = profile.candidates.iter().collect();
    candidates.sort_by(|a, b| b.total.total_cmp(&a.total));
    let mut rows: Vec<Vec<String>> = candidates
        .into_iter()
        .map(|candidate| columns.scored(profile, candidate))
        .collect();
    rows.extend(profile.filtered.iter().map(|gone| {
        let mut row = columns.start("", &gone.endpoint, &gone.readings);
        row.resize(headings.len() - 1, NONE.to_owned());
        row.push(format!("removed: {}", gone.by));
        row
    }));
    out.push_str(&table(&headings, &rows, colour));
    if rows.is_empty() {
        out.push_str("  no candidate at all\n");
    }
    removed(profile, &mut out);
    chance(profile, &mut out);
    out
}

/// Which columns there are: readings and terms that some row has.
struct Columns {
    readings: Vec<&'static str>,
    terms: Vec<String>,
}

impl Columns {
    fn of(profile: &ProfileFacts) -> Self {
        let all = || {
            let scored = profile.candidates.iter().map(|c| &c.readings);
            scored.chain(profile.filtered.iter().map(|f| &f.readings))
        };
        let has = |name: &&str| all().any(|readings| readings.contains_key(*name));
        let readings = Reading::ALL.iter().map(|reading| reading.name());
        let mut terms: Vec<String> = profile
            .candidates
            .iter()
            .flat_map(|c| c.terms.keys().cloned())
            .collect();
        terms.sort();
        terms.dedup();
        Self {
            readings: readings.filter(has).collect(),
            terms,
        }
    }

    fn headings(&self, profile: &ProfileFacts) -> Vec<String> {
        let mut headings = vec![String::new(), "ENDPOINT".to_owned()];
        headings.extend(self.readings.iter().map(|name| (*name).to_owned()));
        headings.extend(scorers(profile).iter().map(|scorer| {
            if scorer.weight.is_nan() {
                scorer.name.clone()
            } else {
                format!("{} ×{}", scorer.name, scorer.weight)
            }
        }));
        headings.extend(self.terms.iter().cloned());
        headings.extend(["TOTAL", ""].map(str::to_owned));
        headings
    }

    fn start(&self, mark: &str, name: &str, readings: &BTreeMap<String, Value>) -> Vec<String> {
        let mut row = vec![mark.to_owned(), name.to_owned()];
        row.extend(self.readings.iter().map(|reading| {
            readings
                .get(*reading)
                .map_or_else(|| NONE.to_owned(), |value| shown(reading, value))
        }));
        row
    }

    fn scored(&self, profile: &ProfileFacts, candidate: &Candidate) -> Vec<String> {
        let name = &candidate.endpoint;
        let picked = profile.picked.iter().position(|pick| pick == name);
        let mark = if picked.is_some() { ">" } else { "" };
        let mut row = self.start(mark, name, &candidate.readings);
        row.extend(scorers(profile).iter().map(
            |scorer| match candidate.scores.get(&scorer.name) {
                None => NONE.to_owned(),
                Some(raw) if scorer.weight.is_nan() || scorer.weight == 1.0 => format!("{raw:.3}"),
                Some(raw) => format!("{raw:.3} → {:.3}", raw * scorer.weight),
            },
        ));
        row.extend(self.terms.iter().map(|term| {
            let value = candidate.terms.get(term);
            value.map_or_else(|| NONE.to_owned(), |value| number(*value))
        }));
        row.push(format!("{:.3}", candidate.total));
        let tied = profile.tie.contains(name);
        row.push(match (picked, tied) {
            (Some(0), true) => "picked, tied".to_owned(),
            (Some(0), false) => "picked".to_owned(),
            (Some(n), _) => format!("picked as number {}", n + 1),
            (None, true) => "tied".to_owned(),
            (None, false) => String::new(),
        });
        row
    }
}

/// The scorers in the order of the plan; of an older receipt by the names that the candidates carry.
fn scorers(profile: &ProfileFacts) -> Vec<ScorerFacts> {
    if !profile.scorers.is_empty() {
        return profile.scorers.clone();
    }
    let names = profile.candidates.first().map(|c| c.scores.keys());
    let named = names.into_iter().flatten().map(|name| ScorerFacts {
        name: name.clone(),
        kind: name.clone(),
        weight: f64::NAN,
    });
    named.collect()
}

/// How many each filter removed, also those that removed none.
fn removed(profile: &ProfileFacts, out: &mut String) {
    let mut by: Vec<(&str, usize)> = profile
        .filters
        .iter()
        .map(|filter| (filter.name.as_str(), 0))
        .collect();
    for gone in &profile.filtered {
        match by.iter_mut().find(|(name, _)| *name == gone.by) {
            Some((_, count)) => *count += 1,
            None => by.push((&gone.by, 1)),
        }
    }
    for (name, count) in by {
        let _ = writeln!(out, "  filter {name}: removed {count}");
    }
}

fn chance(profile: &ProfileFacts, out: &mut String) {
    let picker = match profile.picker.name.as_str() {
        "" => "picker".to_owned(),
        name => name.to_owned(),
    };
    let tie = match profile.tie.len() {
        0 => String::new(),
        n => format!("; {n} tied at the top"),
    };
    let draw = match (profile.draw.value, profile.draw.seed) {
        (None, _) => String::new(),
        (Some(value), seed) => format!("; drew {value} with seed {seed}"),
    };
    let picked = match profile.picked.as_slice() {
        [] => "nobody".to_owned(),
        picked => picked.join(", "),
    };
    let _ = writeln!(out, "  {picker} picked {picked}{tie}{draw}");
}

fn ending(receipt: &Receipt, out: &mut String) {
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<9} {text}");
    };
    for (at, attempt) in receipt.attempts.iter().enumerate() {
        let end = match &attempt.cause {
            Some(cause) => format!("failed ({cause})"),
            None => "answered".to_owned(),
        };
        let what = format!(
            "{}  {end} after {} ms",
            attempt.endpoint,
            number(attempt.ms)
        );
        line(if at == 0 { "attempts" } else { "" }, what);
    }
    match &receipt.outcome {
        None => line(
            "outcome",
            "not known (under way, or not in this record)".to_owned(),
        ),
        Some(outcome) => {
            let status = outcome
                .status
                .map_or_else(String::new, |s| format!(", status {s}"));
            let reason = outcome
                .reason
                .as_ref()
                .map_or_else(String::new, |why| format!(", {why}"));
            let by = receipt
                .served
                .as_ref()
                .map_or_else(String::new, |name| format!(" by {name}"));
            line("outcome", format!("{}{by}{status}{reason}", outcome.kind));
        }
    }
    if let Some(usage) = &receipt.usage {
        let cached = usage
            .cached_tokens
            .map_or_else(String::new, |n| format!(", {n} of the prompt cached"));
        line(
            "usage",
            format!(
                "{} prompt + {} completion tokens{cached}",
                usage.prompt_tokens, usage.completion_tokens
            ),
        );
    }
    if let Some(prediction) = &receipt.prediction {
        let list = |terms: &BTreeMap<String, f64>| {
            let terms = terms
                .iter()
                .map(|(name, v)| format!("{name} {}", number(*v)));
            terms.collect::<Vec<_>>().join(", ")
        };
        line("predicted", list(&prediction.predicted));
        if !prediction.actual.is_empty() {
            line("actual", list(&prediction.actual));
        }
    }
    let times = &receipt.times_ms;
    if receipt.outcome.is_some() {
        let mut parts = vec![
            format!("queue {} ms", number(times.queue)),
            format!("pick {} ms", number(times.pick)),
        ];
        parts.extend(times.prefill.map(|t| format!("prefill {} ms", number(t))));
        parts.extend(
            times
                .first_byte
                .map(|t| format!("first byte {} ms", number(t))),
        );
        parts.extend(times.total.map(|t| format!("total {} ms", number(t))));
        line("times", parts.join(", "));
    }
}

/// A reading and its age; what is counted here has none.
fn shown(reading: &str, value: &Value) -> String {
    let counted = Reading::ALL
        .iter()
        .any(|r| r.name() == reading && !r.is_scraped());
    match (counted, value.age_ms) {
        (true, _) => number(value.value),
        (false, Some(age)) => format!("{} ({age} ms old)", number(value.value)),
        (false, None) => format!("{} (never read)", number(value.value)),
    }
}

/// Whole numbers as such, others with three decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn profile() -> ProfileFacts {
        serde_json::from_value(json!({
            "name": "default",
            "filters": [{"name": "by-kv-backend", "type": "by-label-selector"}],
            "scorers": [{"name": "prefix", "type": "prefix-cache-scorer", "weight": 2.0}, {"name": "load", "type": "load-aware-scorer", "weight": 1.0}],
            "picker": {"name": "max-score-picker", "type": "max-score-picker"},
            "filtered": [{"endpoint": "ns/f", "by": "by-kv-backend", "row": 1, "readings": {"inFlight": {"value": 4.0, "ageMs": 0}}}],
            "candidates": [
                {"endpoint": "ns/a", "address": "1.2.3.4:1", "readings": {"inFlight": {"value": 1.0, "ageMs": 0}, "kvUsage": {"value": 0.25, "ageMs": 12}}, "scores": {"prefix": 0.5, "load": 0.5}, "total": 1.5},
                {"endpoint": "ns/b", "address": "1.2.3.4:2", "readings": {"inFlight": {"value": 0.0, "ageMs": 0}, "kvUsage": {"value": 0.0, "ageMs": null}}, "scores": {"prefix": 0.75, "load": 0.25}, "total": 1.75},
            ],
            "tie": [], "draw": {"seed": 7, "value": null}, "picked": ["ns/b"],
        }))
        .unwrap()
    }

    #[test]
    fn the_table_shows_who_was_removed_how_the_rest_scored_and_who_was_picked() {
        let expected = "\
profile   default
     ENDPOINT  inFlight  kvUsage            prefix ×2      load ×1  TOTAL
  >  ns/b      0         0 (never read)     0.750 → 1.500  0.250    1.750  picked
     ns/a      1         0.250 (12 ms old)  0.500 → 1.000  0.500    1.500
     ns/f      4         -                  -              -        -      removed: by-kv-backend
  filter by-kv-backend: removed 1
  max-score-picker picked ns/b
";
        assert_eq!(decision(&profile(), false), expected);
    }

    #[test]
    fn a_tie_names_the_draw() {
        let mut tied = profile();
        tied.tie = vec!["ns/a".to_owned(), "ns/b".to_owned()];
        tied.draw.value = Some(1);
        let text = decision(&tied, false);
        assert!(
            text.contains("max-score-picker picked ns/b; 2 tied at the top; drew 1 with seed 7")
        );
        assert!(text.contains("picked, tied"));
    }
}
