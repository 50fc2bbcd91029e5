//! `POST /debug/whatif`: a recorded decision made again with other weights, under another profile or configuration.
//!
//! The body is `{"id", "key"?, "profile"? | "config"?, "weights"?: {profile: {scorer: weight}}}`: which decision, what
//! decides (the plan that decided then, where neither is given), and which weights are changed in it. The core itself
//! decides, with the readings, the seed and the ties of the time; nothing in force changes. `config` of the answer is
//! the configuration that decided, ready for `--config-file`: the plan was made from that very text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pointsman_core::config::fault::hint;
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::reweighed::{Weights, reweighed};
use pointsman_core::config::written::Written;
use pointsman_core::schedule::plan::{Plan, Profile};
use pointsman_feeds::plan::yaml;
use pointsman_wire::receipt::replay::Replay;
use pointsman_wire::receipt::replay::full::InFull;
use pointsman_wire::receipt::{ProfileFacts, Receipt, SCHEMA_VERSION, ScorerFacts};
use serde::{Deserialize, Serialize};

use crate::admin::debug;
use crate::router::Router;

/// Largest body that is read, how long it may take to arrive, and how long a question waits for those before it.
pub const MOST_BYTES: usize = 256 << 10;
/// See [`MOST_BYTES`].
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug)]
pub struct Refused {
    /// Whose fault it is.
    pub status: StatusCode,
    /// What is wrong and what would be right.
    pub why: String,
}

impl Refused {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

/// Answers the question in `body`, on a thread of its own.
///
/// # Errors
/// The question is wrong, its decision is gone, or others are being answered.
pub async fn answer(router: Arc<Router>, body: Vec<u8>) -> Result<String, Refused> {
    let busy = || {
        let why = "other questions are being answered; ask again in a moment";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    let turn = Arc::clone(&router.what_ifs.turn).acquire_owned();
    let turn = tokio::time::timeout(PATIENCE, turn).await;
    let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    let work = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, also where nobody waits for it any more.
        let _turn = turn;
        decided_again(&router, &body)
    });
    work.await
        .unwrap_or_else(|_| Err(Refused::bad("this question cannot be answered")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    id: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    config: Option<String>,
    #[serde(default)]
    weights: Weights,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    schema_version: u32,
    id: &'a str,
    /// What decided: the source of the plan, the name of a profile, or that it came with the question.
    source: &'a str,
    /// Who got the request then.
    was: Option<&'a str>,
    /// Who would get it; `null` where nobody would.
    pick: Option<&'a str>,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a str>,
    /// The profiles that ran, as in a receipt.
    profiles: &'a [ProfileFacts],
    /// All profiles of the plan with their weights, also those that did not run.
    weights: Vec<Weighing>,
    /// Stood in for by what they did then.
    recorded: &'a BTreeSet<String>,
    /// Without effect: the receipt knows nothing of them.
    unknown: &'a BTreeSet<String>,
    /// How many endpoints the receipt lists, where those are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    among: Option<usize>,
    pool: usize,
    /// Profiles that can be asked for.
    known_profiles: [&'static str; NAMES.len()],
    config: &'a str,
}

#[derive(Serialize)]
struct Weighing {
    profile: String,
    scorers: Vec<ScorerFacts>,
}

fn decided_again(router: &Router, body: &[u8]) -> Result<String, Refused> {
    let question: Question = serde_json::from_slice(body).map_err(|why| {
        Refused::bad(format!(
            "no question: {why}; POST {{\"id\": \"…\", \"weights\": {{\"profile\": {{\"scorer\": 2}}}}}}"
        ))
    })?;
    if question.profile.is_some() && question.config.is_some() {
        return Err(Refused::bad("give 'profile' or 'config', not both"));
    }
    let found = debug::recorded(router, &question.id, question.key.as_deref());
    let Some(found) = found else {
        let why = format!(
            "no decision '{}' in the ring; it may be too old",
            question.id
        );
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    };
    let receipt = debug::written(&found);
    let (text, source) = configuration(router, &question, &found.decision.plan)?;
    let plan = planned(router, &text, &source)?;
    let weights = plan.profiles.iter().map(weighing).collect();
    let full = Replay::new(plan).in_full(&receipt).map_err(|_| {
        let why =
            "the request was refused before any profile ran, so there is nothing to decide again";
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    })?;
    told(&receipt, &full, weights, (&text, &source))
}

fn told(
    receipt: &Receipt,
    full: &InFull,
    weights: Vec<Weighing>,
    (text, source): (&str, &str),
) -> Result<String, Refused> {
    let (was, pick) = (receipt.picked(), full.again.pick.as_deref());
    let first = receipt.profiles.first();
    let listed = first.map_or(0, |run| run.candidates.len() + run.filtered.len());
    let answer = Answer {
        schema_version: SCHEMA_VERSION,
        id: &receipt.request_id,
        source,
        was,
        pick,
        changed: was != pick,
        refused: full.again.refused.as_deref(),
        profiles: &full.profiles,
        weights,
        recorded: &full.again.recorded,
        unknown: &full.again.unknown,
        among: receipt.truncated.then_some(listed),
        pool: receipt.pool.size,
        known_profiles: NAMES,
        config: text,
    };
    serde_json::to_string(&answer)
        .map_err(|why| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))
}

/// The text that decides, and where it is from.
fn configuration(
    router: &Router,
    question: &Question,
    then: &Arc<Plan>,
) -> Result<(String, String), Refused> {
    let (text, source) = match (&question.config, &question.profile) {
        (Some(text), _) => (text.clone(), "the given configuration".to_owned()),
        (None, Some(name)) => (text_of(&named(name)?)?, name.clone()),
        (None, None) => (text_of(&then.written)?, then.source.clone()),
    };
    if question.weights.is_empty() {
        return Ok((text, source));
    }
    let other = match (&question.config, &question.profile) {
        (None, None) => None,
        _ => Some(planned(router, &text, &source)?),
    };
    let plan = other.as_ref().unwrap_or(then);
    let written = reweighed(plan, &question.weights).map_err(Refused::bad)?;
    Ok((text_of(&written)?, source))
}

fn named(name: &str) -> Result<Written, Refused> {
    preset(name).ok_or_else(|| {
        let known = NAMES.join(", ");
        let near = hint(name, NAMES);
        Refused::bad(format!("'{name}' is no profile; known: {known}{near}"))
    })
}

fn text_of(written: &Written) -> Result<String, Refused> {
    yaml::write(written).map_err(|fault| Refused::bad(fault.to_string()))
}

fn planned(router: &Router, text: &str, source: &str) -> Result<Plan, Refused> {
    let planner = router.what_ifs.planner().ok_or_else(|| {
        let why = "this door makes no plans beside the one in force";
        Refused::new(StatusCode::NOT_IMPLEMENTED, why)
    })?;
    planner(text, source).map_err(|lines| Refused::bad(lines.join("; ")))
}

fn weighing(profile: &Profile) -> Weighing {
    let scorers = profile.scorers.iter().map(|weighted| ScorerFacts {
        name: weighted.scorer.name.to_string(),
        kind: weighted.scorer.kind.to_owned(),
        weight: weighted.weight,
    });
    Weighing {
        profile: profile.name.clone(),
        scorers: scorers.collect(),
    }
}

#[cfg(test)]
mod tests;
