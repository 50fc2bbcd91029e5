//! The receipt of a decision as one JSON object: written by the admin port, read back by the tools.
//!
//! Field names and their order follow the project's interface for `/debug/decisions`. A receipt holds no
//! prompt, only its size.

use std::collections::BTreeMap;

use pointsman_core::contract::roles::PdDecision;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

pub mod replay;
pub mod writing;

/// In [`Filtered::by`]: the endpoint had failed for this request before.
pub const TRIED: &str = "tried before";

/// In [`Filtered::by`]: its readings were too old, and the policy is to leave such endpoints out.
pub const STALE: &str = "stale readings";

/// In [`Filtered::by`]: it held as many requests as it may by the time its place was to be taken.
pub const FULL: &str = "full";

/// Version of the format.
pub const SCHEMA_VERSION: u32 = 1;

/// What a door knows of a request beside the decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// The request id.
    pub request_id: String,
    /// Wall-clock time of the arrival, nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// The door it came through.
    pub door: &'static str,
    /// The model asked for.
    pub model: String,
    /// Size of the prompt in bytes.
    pub prompt_bytes: u64,
    /// Time in the queue, nanoseconds.
    pub queue_ns: u64,
    /// Time the decision took, nanoseconds.
    pub pick_ns: u64,
    /// What was decided about prefill and decode.
    pub pd: Option<PdDecision>,
    /// [`id_hash`] of the id that the answer carried; 0 if none is known.
    pub response_hash: u64,
}

/// xxHash (64 bits) of an id, never 0: an answer's id is kept as this number, enough to find its receipt again.
pub fn id_hash(id: &[u8]) -> u64 {
    xxh64(id, 0).max(1)
}

/// One receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the fields are the interface's own names; their meaning is documented there
pub struct Receipt {
    pub schema_version: u32,
    pub request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_hash: Option<String>,
    pub at: String,
    pub door: String,
    pub model: String,
    pub prompt_bytes: u64,
    pub plan: PlanFacts,
    pub pool: PoolFacts,
    pub profiles: Vec<ProfileFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pd: Option<PdFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    pub attempts: Vec<AttemptFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageFacts>,
    pub times_ms: Times,
    pub replayable: bool,
    pub truncated: bool,
}

impl Receipt {
    /// Whether it is about the request of this id, or the one whose answer carried it.
    pub fn is_of(&self, id: &str) -> bool {
        let hash = |known: &String| *known == format!("{:016x}", id_hash(id.as_bytes()));
        self.request_id == id || self.response_hash.as_ref().is_some_and(hash)
    }

    /// Who was picked to answer: whoever was tried first. The first profile that ran may have picked for another part.
    pub fn picked(&self) -> Option<&str> {
        let tried = self.attempts.first().map(|attempt| &attempt.endpoint);
        let picked = || self.profiles.first()?.picked.first();
        tried.or_else(picked).map(String::as_str)
    }
}

/// Which plan decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct PlanFacts {
    pub generation: u64,
    pub compat: String,
    pub hash: String,
    pub source: String,
}

/// Over which membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct PoolFacts {
    pub generation: u64,
    pub size: usize,
}

/// What one profile did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ProfileFacts {
    pub name: String,
    #[serde(default)]
    pub filters: Vec<PluginFacts>,
    #[serde(default)]
    pub scorers: Vec<ScorerFacts>,
    #[serde(default)]
    pub picker: PluginFacts,
    pub filtered: Vec<Filtered>,
    pub candidates: Vec<Candidate>,
    pub tie: Vec<String>,
    pub draw: DrawFacts,
    pub picked: Vec<String>,
}

/// A plugin by its name and type in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PluginFacts {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A scorer and the factor of its scores in the total.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ScorerFacts {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub weight: f64,
}

/// Where prefill and decode run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PdFacts {
    pub decision: String,
    pub reason: String,
}

/// What was predicted for the endpoint that was picked, term by term, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Prediction {
    pub endpoint: String,
    pub predicted: BTreeMap<String, f64>,
    pub actual: BTreeMap<String, f64>,
}

/// A candidate that was crossed out: by a filter's name, or as `tried before`, as `full` or with `stale readings`.
///
/// `row` is its place in the membership; what is known of it stands here as for those that were scored, so that
/// another plan can be tried on the receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Filtered {
    pub endpoint: String,
    pub by: String,
    #[serde(default)]
    pub row: u32,
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub readings: BTreeMap<String, Value>,
}

/// A candidate that was scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Candidate {
    pub endpoint: String,
    pub address: String,
    #[serde(default)]
    pub row: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub readings: BTreeMap<String, Value>,
    pub scores: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<String, f64>,
    pub total: f64,
}

/// A reading with its age; `ageMs` is null if it was never taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Value {
    pub value: f64,
    pub age_ms: Option<u32>,
}

/// What chance decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DrawFacts {
    pub seed: u64,
    pub value: Option<u64>,
}

/// One endpoint that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AttemptFacts {
    pub endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub ms: f64,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OutcomeFacts {
    pub kind: String,
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the engine reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct UsageFacts {
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u32>,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Times {
    pub queue: f64,
    pub pick: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

/// A wall-clock time as `2026-11-21T12:00:00.123456Z`.
pub fn rfc3339(unix_ns: u64) -> String {
    let (seconds, micros) = (unix_ns / 1_000_000_000, unix_ns / 1_000 % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a number of days since 1970-01-01 (Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + u64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_times_are_written_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            rfc3339(1_709_210_096_123_456_789),
            "2024-02-29T12:34:56.123456Z"
        );
        assert_eq!(
            rfc3339(1_798_761_599_000_000_000),
            "2026-12-31T23:59:59.000000Z"
        );
    }
}
