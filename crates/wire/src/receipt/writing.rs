//! From a frozen decision to its receipt.

use std::collections::BTreeMap;

use pointsman_core::contract::table::ProfileRun;
use pointsman_core::exchange::event::{Outcome, Usage};
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::schedule::decision::{Decision, FrozenRun, ReadingColumn};
use pointsman_core::schedule::plan::Named;

use crate::receipt::{
    AttemptFacts, Candidate, DrawFacts, FULL, Filtered, Meta, OutcomeFacts, PdFacts, PlanFacts,
    PluginFacts, PoolFacts, Prediction, ProfileFacts, Receipt, SCHEMA_VERSION, STALE, ScorerFacts,
    TRIED, Times, UsageFacts, Value, rfc3339,
};

/// Writes the receipt of a decision; `outcome` is `None` while the request is still under way.
pub fn receipt(decision: &Decision, meta: &Meta, outcome: Option<&Outcome>) -> Receipt {
    let plan = &decision.plan;
    Receipt {
        schema_version: SCHEMA_VERSION,
        request_id: meta.request_id.clone(),
        response_hash: (meta.response_hash != 0).then(|| format!("{:016x}", meta.response_hash)),
        at: rfc3339(meta.at_unix_ns),
        door: meta.door.to_owned(),
        model: meta.model.clone(),
        prompt_bytes: meta.prompt_bytes,
        plan: PlanFacts {
            generation: plan.generation,
            compat: plan.compat.word().to_owned(),
            hash: format!("{:016x}", plan.hash),
            source: plan.source.clone(),
        },
        pool: PoolFacts {
            generation: decision.snapshot.generation,
            size: decision.snapshot.len(),
        },
        profiles: decision
            .runs
            .iter()
            .map(|run| profile_facts(decision, run))
            .collect(),
        pd: meta.pd.map(|pd| PdFacts {
            decision: pd.word.to_owned(),
            reason: pd.reason.to_owned(),
        }),
        prediction: decision
            .runs
            .iter()
            .find_map(|run| prediction(decision, run, outcome)),
        attempts: outcome.map_or_else(Vec::new, |o| {
            let facts = |a: &pointsman_core::exchange::event::Attempt| AttemptFacts {
                endpoint: decision.name(a.row).to_owned(),
                cause: a.cause.map(|c| c.word().to_owned()),
                ms: a.took.as_millis_f64(),
            };
            o.attempts.iter().map(facts).collect()
        }),
        served: outcome
            .and_then(|o| o.served)
            .map(|row| decision.name(row).to_owned()),
        outcome: outcome.map(|o| OutcomeFacts {
            kind: o.end.word().to_owned(),
            status: o.status,
            reason: o.reason.map(str::to_owned),
        }),
        usage: outcome.and_then(|o| o.usage).map(usage_facts),
        times_ms: Times {
            queue: meta.queue_ns as f64 / 1e6,
            pick: meta.pick_ns as f64 / 1e6,
            prefill: outcome.and_then(|o| o.prefill).map(|s| s.as_millis_f64()),
            first_byte: outcome
                .and_then(|o| o.first_byte)
                .map(|s| s.as_millis_f64()),
            total: outcome.map(|o| o.total.as_millis_f64()),
        },
        // All that a decision is made from stands in the receipt, unless rows were left out or nothing was picked.
        replayable: !decision.truncated
            && decision
                .runs
                .first()
                .is_some_and(|run| !run.picks.is_empty()),
        truncated: decision.truncated,
    }
}

fn usage_facts(usage: Usage) -> UsageFacts {
    UsageFacts {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.cached_tokens,
    }
}

/// The terms of a run by name, for the listed row at `at`.
fn terms_at(decision: &Decision, run: &FrozenRun, at: usize) -> BTreeMap<String, f64> {
    decision.plan.profiles[run.profile]
        .scorers
        .iter()
        .flat_map(|weighted| weighted.scorer.plugin.terms())
        .zip(&run.terms)
        .map(|(name, column)| ((*name).to_owned(), column[at]))
        .collect()
}

fn prediction(
    decision: &Decision,
    run: &FrozenRun,
    outcome: Option<&Outcome>,
) -> Option<Prediction> {
    let picked = *run.picks.first()?;
    let at = decision.rows.iter().position(|&row| row == picked)?;
    let predicted = terms_at(decision, run, at);
    if predicted.is_empty() {
        return None;
    }
    let first_byte = outcome.and_then(|o| o.first_byte);
    let cached = outcome
        .and_then(|o| o.usage)
        .and_then(|usage| usage.cached_tokens);
    let actual = [
        ("ttftMs", first_byte.map(|span| span.as_millis_f64())),
        ("cachedTokens", cached.map(f64::from)),
    ];
    Some(Prediction {
        endpoint: decision.name(picked).to_owned(),
        predicted,
        actual: actual
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
    })
}

fn endpoint_at(decision: &Decision, at: usize) -> Option<&Endpoint> {
    decision.snapshot.endpoints.get(decision.rows[at] as usize)
}

fn address_at(decision: &Decision, at: usize) -> String {
    endpoint_at(decision, at).map_or_else(String::new, |endpoint| endpoint.address.to_string())
}

fn labels_at(decision: &Decision, at: usize) -> BTreeMap<String, String> {
    let labels = endpoint_at(decision, at).map(|endpoint| endpoint.labels.iter());
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn readings_at(decision: &Decision, at: usize) -> BTreeMap<String, Value> {
    let value = |column: &ReadingColumn| Value {
        value: column.values[at],
        age_ms: column.age_ms[at],
    };
    decision
        .readings
        .iter()
        .map(|column| (column.reading.name().to_owned(), value(column)))
        .collect()
}

fn plugin_facts<T: ?Sized>(plugin: &Named<T>) -> PluginFacts {
    PluginFacts {
        name: plugin.name.to_string(),
        kind: plugin.kind.to_owned(),
    }
}

pub(super) fn profile_facts(decision: &Decision, run: &FrozenRun) -> ProfileFacts {
    let profile = &decision.plan.profiles[run.profile];
    let endpoint = |at: usize| decision.name(decision.rows[at]).to_owned();
    let listed = 0..decision.rows.len();
    let by = |struck: u16| match struck {
        ProfileRun::TRIED => TRIED.to_owned(),
        ProfileRun::STALE => STALE.to_owned(),
        ProfileRun::FULL => FULL.to_owned(),
        n => profile
            .filters
            .get(n as usize - 1)
            .map_or_else(|| "?".to_owned(), |f| f.name.to_string()),
    };
    ProfileFacts {
        name: profile.name.clone(),
        filters: profile.filters.iter().map(plugin_facts).collect(),
        scorers: profile
            .scorers
            .iter()
            .map(|weighted| ScorerFacts {
                name: weighted.scorer.name.to_string(),
                kind: weighted.scorer.kind.to_owned(),
                weight: weighted.weight,
            })
            .collect(),
        picker: plugin_facts(&profile.picker),
        filtered: listed
            .clone()
            .filter(|&at| run.struck_by[at] != 0)
            .map(|at| Filtered {
                endpoint: endpoint(at),
                by: by(run.struck_by[at]),
                row: decision.rows[at],
                address: address_at(decision, at),
                labels: labels_at(decision, at),
                readings: readings_at(decision, at),
            })
            .collect(),
        candidates: listed
            .filter(|&at| run.struck_by[at] == 0)
            .map(|at| Candidate {
                endpoint: endpoint(at),
                address: address_at(decision, at),
                row: decision.rows[at],
                labels: labels_at(decision, at),
                readings: readings_at(decision, at),
                scores: profile
                    .scorers
                    .iter()
                    .zip(&run.scores)
                    .map(|(scorer, column)| (scorer.scorer.name.to_string(), column[at]))
                    .collect(),
                terms: terms_at(decision, run, at),
                total: run.total[at],
            })
            .collect(),
        tie: run.tie().into_iter().map(endpoint).collect(),
        draw: DrawFacts {
            seed: run.draw.seed,
            value: run.draw.value,
        },
        picked: run
            .picks
            .iter()
            .map(|&row| decision.name(row).to_owned())
            .collect(),
    }
}
