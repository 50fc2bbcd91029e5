//! The key `pointsman:` exactly as written, and its way to [`OwnSettings`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::duration::parse_duration;
use crate::config::fault::Fault;
use crate::config::own::{
    Gateway, Handoff, Limits, Memory, Metrics, OwnSettings, PrefixCache, Receipts, Retries,
    Timeouts,
};
use crate::config::own_rewrites::{WrittenRewrite, rewrites};
use crate::config::quantity::parse_quantity;
use crate::contract::staleness::{Policy, Staleness};
use crate::time::Span;

/// What only pointsman reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenOwn {
    /// What becomes of scraped values that are too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staleness: Option<WrittenStaleness>,
    /// What prefix indexes believe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_cache: Option<WrittenPrefixCache>,
    /// Second attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<WrittenRetries>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<WrittenTimeouts>,
    /// Sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<WrittenLimits>,
    /// Memory of indexes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<WrittenMemory>,
    /// Receipts of decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<WrittenReceipts>,
    /// The embedded gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<WrittenGateway>,
    /// The picker's metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<WrittenMetrics>,
    /// What requests may ask for by name; a gateway without a cluster has no other objectives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<WrittenObjective>,
    /// Models that are asked for in place of those that clients name; those of a cluster go first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model_rewrites: Vec<WrittenRewrite>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Value>,
}

/// What becomes of scraped values that are too old.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenStaleness {
    /// Older values count as stale; 2s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// `use`: as scraped; `penalise`: as the largest fresh value of the pool; `ignore`: as the mean of the fresh
    /// ones; `exclude`: the endpoint is left out unless all would be. When left out `penalise` in the embedded
    /// doors, else `use`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What prefix indexes believe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenPrefixCache {
    /// How long an entry is believed; `0` or left out: until it is evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// `any`: every leading block that an endpoint holds counts, as in the reference; `contiguous`: only an
    /// unbroken run from the first block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_mode: Option<String>,
}

/// Second attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenRetries {
    /// Share of all requests that second attempts may add, 0 to 1; no bound when left out. Not in effect yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// Most endpoints tried for one request; 0 or left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Whether an answer 408, 429 or 5xx is tried elsewhere before a first byte went to the client; false when
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_status: Option<bool>,
}

/// How long things may take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenTimeouts {
    /// Longest wait for the head of an answer, per attempt; the door's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<String>,
    /// Longest pause within an answer; the door's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_idle: Option<String>,
    /// Longest pause within a request's body; the door's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_idle: Option<String>,
}

/// Sizes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenLimits {
    /// Largest request body, such as `32Mi`; the door's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<String>,
}

/// Memory of indexes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenMemory {
    /// Bound of each prefix index; `256Mi` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_index: Option<String>,
}

/// Receipts of decisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenReceipts {
    /// Memory of all receipts kept, read at the start; `16Mi` when left out, 0 keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// The embedded gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenGateway {
    /// Who carries a KV cache from prefill to decode where the plan picks both: `header` (the sidecar of the decode
    /// endpoint; the default), or the gateway itself by `nixlv2`, `shared-storage` or `p2p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handoff: Option<String>,
}

/// An objective: a name that a request carries in the header `x-llm-d-inference-objective`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenObjective {
    /// Its name; a request that carries another one has priority 0.
    pub name: String,
    /// The priority of its requests; below 0 they are refused first when the pool is full. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
}

/// The picker's metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenMetrics {
    /// Whether the first generation's names are written too; true when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legacy_names: Option<bool>,
}

/// Collects faults while values are read.
struct Reading {
    faults: Vec<Fault>,
}

impl Reading {
    fn read<T>(
        &mut self,
        written: Option<&String>,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = written?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                let path = format!("pointsman.{path}");
                self.faults.push(Fault::error(path, why));
                None
            }
        }
    }
}

impl WrittenOwn {
    /// The settings with defaults filled in, and everything that is wrong with what is written.
    pub fn settings(&self) -> (OwnSettings, Vec<Fault>) {
        let mut reading = Reading { faults: Vec::new() };
        let unsupported = [
            ("trust", self.trust.is_some()),
            ("outlier", self.outlier.is_some()),
            ("slowStart", self.slow_start.is_some()),
        ];
        for (name, _) in unsupported.iter().filter(|(_, present)| *present) {
            let message = format!("'{name}' is not supported yet; remove it");
            let fault = Fault::error(format!("pointsman.{name}"), message);
            reading.faults.push(fault.on_name());
        }
        let staleness = self.staleness.as_ref().map(|s| {
            let default = Staleness::default();
            let max_age = reading.read(s.max_age.as_ref(), "staleness.maxAge", positive);
            let policy = reading.read(s.policy.as_ref(), "staleness.policy", |text| {
                one_of(text, &Policy::ALL)
            });
            (max_age.unwrap_or(default.max_age), policy)
        });
        let prefix = self.prefix_cache.clone().unwrap_or_default();
        let timeouts = self.timeouts.clone().unwrap_or_default();
        let limits = self.limits.clone().unwrap_or_default();
        let memory = self.memory.clone().unwrap_or_default();
        let receipts = self.receipts.clone().unwrap_or_default();
        let gateway = self.gateway.clone().unwrap_or_default();
        let settings = OwnSettings {
            max_age: staleness.as_ref().map(|(max_age, _)| *max_age),
            policy: staleness.and_then(|(_, policy)| policy),
            prefix_cache: PrefixCache {
                ttl: reading
                    .read(prefix.ttl.as_ref(), "prefixCache.ttl", parse_duration)
                    .unwrap_or_default(),
                contiguous: reading
                    .read(
                        prefix.match_mode.as_ref(),
                        "prefixCache.matchMode",
                        |text| one_of(text, &[(false, "any"), (true, "contiguous")]),
                    )
                    .unwrap_or_default(),
            },
            timeouts: Timeouts {
                first_byte: reading.read(
                    timeouts.first_byte.as_ref(),
                    "timeouts.firstByte",
                    positive,
                ),
                answer_idle: reading.read(
                    timeouts.answer_idle.as_ref(),
                    "timeouts.answerIdle",
                    positive,
                ),
                body_idle: reading.read(timeouts.body_idle.as_ref(), "timeouts.bodyIdle", positive),
            },
            limits: Limits {
                max_body: reading.read(limits.max_body.as_ref(), "limits.maxBody", bytes),
            },
            retries: self.retries(&mut reading),
            gateway: Gateway {
                handoff: reading
                    .read(gateway.handoff.as_ref(), "gateway.handoff", |text| {
                        one_of(text, &Handoff::ALL)
                    })
                    .unwrap_or_default(),
            },
            memory: reading
                .read(memory.prefix_index.as_ref(), "memory.prefixIndex", bytes)
                .map_or_else(Memory::default, |prefix_index| Memory { prefix_index }),
            receipts: reading
                .read(receipts.memory.as_ref(), "receipts.memory", parse_quantity)
                .map_or_else(Receipts::default, |memory| Receipts { memory }),
            metrics: self
                .metrics
                .as_ref()
                .and_then(|metrics| metrics.legacy_names)
                .map_or_else(Metrics::default, |legacy_names| Metrics { legacy_names }),
            objectives: self.objectives(&mut reading),
            rewrites: rewrites(&self.model_rewrites, &mut reading.faults),
        };
        (settings, reading.faults)
    }

    fn objectives(&self, reading: &mut Reading) -> BTreeMap<String, i64> {
        let mut all = BTreeMap::new();
        for (at, objective) in self.objectives.iter().enumerate() {
            let name = objective.name.as_str();
            let priority = objective.priority.unwrap_or_default();
            let message = if name.is_empty() {
                "is missing a name; give it the one that requests carry".to_owned()
            } else if all.insert(name.to_owned(), priority).is_some() {
                format!("duplicate objective '{name}'; give each its own name")
            } else {
                continue;
            };
            let path = format!("pointsman.objectives[{at}].name");
            reading.faults.push(Fault::error(path, message));
        }
        all
    }

    fn retries(&self, reading: &mut Reading) -> Retries {
        let written = self.retries.clone().unwrap_or_default();
        let budget = written.budget.filter(|share| {
            let fits = (0.0..=1.0).contains(share);
            if !fits {
                let message = format!("{share} is no share of all requests; use 0 to 1");
                let fault = Fault::error("pointsman.retries.budget", message);
                reading.faults.push(fault);
            }
            fits
        });
        if budget.is_some() {
            let message = "not in effect yet: second attempts are bounded by retries.max alone";
            let fault = Fault::warning("pointsman.retries.budget", message);
            reading.faults.push(fault);
        }
        Retries {
            budget,
            max: written.max.unwrap_or_default(),
            on_status: written.on_status.unwrap_or_default(),
        }
    }
}

fn positive(text: &str) -> Result<Span, String> {
    match parse_duration(text)? {
        Span(0) => Err(format!("'{text}' is no time to wait; use one above zero")),
        span => Ok(span),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match parse_quantity(text)? {
        0 => Err("zero bytes hold nothing; use a size such as 32Mi".to_owned()),
        size => Ok(size),
    }
}

fn one_of<T: Copy>(text: &str, known: &[(T, &str)]) -> Result<T, String> {
    let found = known.iter().find(|(_, name)| *name == text);
    found.map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(_, name)| *name).collect();
        format!("'{text}' is not known; use {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (OwnSettings, Vec<String>) {
        let written: WrittenOwn = serde_json::from_value(value).unwrap();
        let (settings, faults) = written.settings();
        (settings, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(read(json!({})), (OwnSettings::default(), Vec::new()));
        assert_eq!(
            OwnSettings::default().staleness_or(Policy::Penalise),
            Staleness {
                policy: Policy::Penalise,
                ..Staleness::default()
            }
        );
    }

    #[test]
    fn every_setting_is_read() {
        let (settings, faults) = read(json!({
            "staleness": {"maxAge": "5s", "policy": "exclude"},
            "prefixCache": {"ttl": "10m", "matchMode": "contiguous"},
            "retries": {"budget": 0.2, "max": 3, "onStatus": true},
            "timeouts": {"firstByte": "30s", "answerIdle": "10s", "bodyIdle": "5s"},
            "limits": {"maxBody": "1Mi"},
            "memory": {"prefixIndex": "64Mi"},
            "receipts": {"memory": "1Mi"},
            "gateway": {"handoff": "nixlv2"},
            "metrics": {"legacyNames": false},
            "objectives": [{"name": "urgent", "priority": 10}, {"name": "usual"}],
        }));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("pointsman.retries.budget: not in effect yet"));
        let staleness = settings.staleness_or(Policy::Use);
        assert_eq!(staleness.policy, Policy::Exclude);
        assert_eq!(staleness.max_age, Span::from_millis(5000));
        assert!(settings.prefix_cache.contiguous && settings.retries.on_status);
        assert_eq!(settings.limits.max_body, Some(1 << 20));
        assert_eq!(settings.memory.prefix_index, 64 << 20);
        assert_eq!(settings.receipts.memory, 1 << 20);
        assert_eq!(settings.gateway.handoff, Handoff::Nixlv2);
        assert!(!settings.metrics.legacy_names);
        let objectives: Vec<_> = settings.objectives.into_iter().collect();
        assert_eq!(
            objectives,
            [("urgent".to_owned(), 10), ("usual".to_owned(), 0)]
        );
    }

    #[test]
    fn faults_name_the_setting() {
        let (_, faults) = read(json!({
            "staleness": {"policy": "punish", "maxAge": "0s"},
            "retries": {"budget": 2},
            "limits": {"maxBody": "x"},
            "trust": {},
            "objectives": [{"priority": 1}, {"name": "x"}, {"name": "x"}],
        }));
        assert_eq!(faults.len(), 7, "{faults:?}");
        assert!(
            faults
                .iter()
                .any(|f| f.contains("pointsman.trust: 'trust' is not supported yet"))
        );
        assert!(
            faults
                .iter()
                .any(|f| f.contains("use use, penalise, ignore, exclude"))
        );
    }
}
