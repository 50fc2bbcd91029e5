//! The decision log: one JSON line per decision, in the words that users grep for.
//!
//! `level, ts, logger, caller, msg` come first, as the reference's logger writes them, then the fields.
//! `Scoring decision` names the pick and every total; `Scoring breakdown` shows each scorer's raw values;
//! `Request receipt` comes when the request has ended and holds its receipt.
//! Above [`LISTED`] candidates a line lists the best and counts the rest. Prompts are never written.

use std::fmt::Write as _;

use pointsman_core::schedule::decision::{Decision, FrozenRun};

use crate::receipt::{Meta, Receipt, rfc3339};

/// `msg` of the line that tells what was picked.
pub const DECISION_MSG: &str = "Scoring decision";

/// `msg` of the line with every scorer's values.
pub const BREAKDOWN_MSG: &str = "Scoring breakdown";

/// `msg` of the line that holds a receipt.
pub const RECEIPT_MSG: &str = "Request receipt";

/// Candidates written out in full; of larger sets the best [`SHOWN`] are listed.
pub const LISTED: usize = 64;

/// How many are listed when there are more than [`LISTED`].
pub const SHOWN: usize = 32;

/// Appends the line that tells what was picked, newline included.
pub fn write_decision(out: &mut String, decision: &Decision, meta: &Meta) {
    for run in &decision.runs {
        let profile = &decision.plan.profiles[run.profile];
        let picker = &profile.picker;
        begin(out, DECISION_MSG, meta);
        let _ = write!(out, ",\"profile\":{}", quoted(&profile.name));
        let _ = write!(
            out,
            ",\"picker\":{}",
            quoted(&format!("{}/{}", picker.kind, picker.name))
        );
        list(
            out,
            "selected",
            run.picks.iter().map(|&row| decision.name(row).to_owned()),
        );
        let (order, rest) = listed(run);
        list(
            out,
            "scores",
            order.iter().map(|&at| entry(decision, at, run.total[at])),
        );
        end(out, rest);
    }
}

/// Appends the line with every scorer's values and the candidates before and after the filters.
pub fn write_breakdown(out: &mut String, decision: &Decision, meta: &Meta) {
    for run in &decision.runs {
        let profile = &decision.plan.profiles[run.profile];
        let (order, rest) = listed(run);
        begin(out, BREAKDOWN_MSG, meta);
        let _ = write!(out, ",\"profile\":{}", quoted(&profile.name));
        let name_at = |at: usize| decision.name(decision.rows[at]).to_owned();
        list(
            out,
            "candidates",
            (0..decision.rows.len()).take(LISTED).map(name_at),
        );
        let struck = |n: usize| move |at: &usize| usize::from(run.struck_by[*at]) == n + 1;
        let removed = profile.filters.iter().enumerate().map(|(n, filter)| {
            let names: Vec<String> = (0..decision.rows.len())
                .filter(struck(n))
                .take(LISTED)
                .map(name_at)
                .collect();
            format!("{}/{}[{}]", filter.kind, filter.name, names.join(", "))
        });
        list(out, "filtered", removed);
        list(out, "remaining", order.iter().map(|&at| name_at(at)));
        let scorers = profile
            .scorers
            .iter()
            .zip(&run.scores)
            .map(|(weighted, column)| {
                let scores: Vec<String> = order
                    .iter()
                    .map(|&at| entry(decision, at, column[at]))
                    .collect();
                format!(
                    "{}/{}[{}]",
                    weighted.scorer.kind,
                    weighted.scorer.name,
                    scores.join(", ")
                )
            });
        list(out, "scorers", scorers);
        list(
            out,
            "weighted",
            order.iter().map(|&at| entry(decision, at, run.total[at])),
        );
        end(out, rest);
    }
}

/// Appends the line with the whole receipt of a request that has ended.
pub fn write_receipt(out: &mut String, receipt: &Receipt, meta: &Meta) {
    begin(out, RECEIPT_MSG, meta);
    let written = serde_json::to_string(receipt).unwrap_or_else(|_| "null".to_owned());
    let _ = write!(out, ",\"receipt\":{written}");
    end(out, 0);
}

/// Appends the line for a request that no candidate was left for.
pub fn write_failure(out: &mut String, profile: &str, filter: &str, meta: &Meta) {
    begin_level(out, "error", "failed to run scheduler profile", meta);
    let error = format!(
        "failed to run scheduler profile '{profile}': InferencePoolResourceExhausted: filter '{filter}' left no endpoint"
    );
    let _ = write!(
        out,
        ",\"profile\":{},\"filter\":{},\"error\":{}",
        quoted(profile),
        quoted(filter),
        quoted(&error)
    );
    end(out, 0);
}

/// Appends a line about how a request ended without having been served.
pub fn write_reject(out: &mut String, reason: &str, text: &str, meta: &Meta) {
    begin_level(out, "info", "Request not served", meta);
    let _ = write!(
        out,
        ",\"reason\":{},\"error\":{}",
        quoted(reason),
        quoted(text)
    );
    end(out, 0);
}

fn begin(out: &mut String, msg: &str, meta: &Meta) {
    begin_level(out, "info", msg, meta);
}

fn begin_level(out: &mut String, level: &str, msg: &str, meta: &Meta) {
    let _ = write!(
        out,
        "{{\"level\":\"{level}\",\"ts\":\"{}\",\"logger\":\"scheduler\",\"caller\":\"schedule/scheduler\",\"msg\":\"{msg}\"",
        rfc3339(meta.at_unix_ns)
    );
    let _ = write!(
        out,
        ",\"request_id\":{},\"model\":{},\"prompt_len\":{}",
        quoted(&meta.request_id),
        quoted(&meta.model),
        meta.prompt_bytes
    );
}

fn end(out: &mut String, rest: usize) {
    if rest > 0 {
        let _ = write!(out, ",\"more\":{rest}");
    }
    out.push_str("}\n");
}

fn list(out: &mut String, key: &str, entries: impl Iterator<Item = String>) {
    let _ = write!(out, ",\"{key}\":[");
    for (at, text) in entries.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&quoted(&text));
    }
    out.push(']');
}

fn entry(decision: &Decision, at: usize, value: f64) -> String {
    format!("{}={value:.3}", decision.name(decision.rows[at]))
}

/// Positions of scored candidates to write out, and how many are left out.
fn listed(run: &FrozenRun) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..run.total.len())
        .filter(|&at| run.struck_by[at] == 0)
        .collect();
    if order.len() <= LISTED {
        return (order, 0);
    }
    order.sort_by(|&a, &b| run.total[b].total_cmp(&run.total[a]));
    let rest = order.len() - SHOWN;
    order.truncate(SHOWN);
    (order, rest)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}
