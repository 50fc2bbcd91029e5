//! What was seen of a running gateway: facts alone, without judgement and without a network.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_wire::receipt::Receipt;
use serde::Deserialize;

/// Everything that was seen. What could not be seen for lack of time is `None`.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Why the gateway itself does not answer, if it does not.
    pub(crate) unreachable: Option<String>,
    /// The candidates.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The plan in force.
    pub(crate) plan: PlanSeen,
    /// The routes in order of precedence.
    pub(crate) routes: Vec<Rule>,
    /// Each candidate asked directly (the first ones of a large pool).
    pub(crate) direct: Option<Vec<Direct>>,
    /// A probe for each route by header.
    pub(crate) by_header: Option<Vec<HeaderProbe>>,
    /// Requests through the gateway, many at a time.
    pub(crate) bursts: Option<Vec<Burst>>,
    /// Bursts that were asked for.
    pub(crate) bursts_wanted: usize,
    /// Probes while one endpoint is kept busy, by rising load; it ends with the level at which the picks minded.
    pub(crate) load: Option<Vec<LoadSeen>>,
    /// The gateway's counters before the first and after the last probe through the pool.
    pub(crate) counters: Option<(Counters, Counters)>,
    /// How many requests each endpoint says it has served, before and after the bursts; absent where it does not say.
    pub(crate) served_counts: BTreeMap<String, (f64, f64)>,
}

/// A candidate as the admin port shows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, rename = "inFlight")]
    pub(crate) in_flight: u64,
}

/// The plan in force as the admin port shows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PlanSeen {
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) profiles: Vec<ProfileSeen>,
}

/// One profile of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ProfileSeen {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) filters: Vec<PluginSeen>,
    #[serde(default)]
    pub(crate) scorers: Vec<PluginSeen>,
    #[serde(default)]
    pub(crate) picker: PluginSeen,
}

/// One plugin of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PluginSeen {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) weight: f64,
}

/// A routing rule.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Rule {
    pub(crate) path: Typed,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<Typed>,
    #[serde(default)]
    pub(crate) backends: Vec<Backend>,
}

/// A match of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Typed {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Where a rule leads.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Backend {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) weight: u32,
}

impl Rule {
    /// Whether an ordinary completion request without headers of its own takes this rule.
    pub(crate) fn takes_ordinary(&self, path: &str) -> bool {
        let prefix = self.path.value.trim_end_matches('/');
        let fits = match self.path.kind.as_str() {
            "Exact" => path == self.path.value,
            _ => path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        fits && self.headers.is_empty() && self.method.as_deref().is_none_or(|m| m == "POST")
    }

    /// The Services that it leads to.
    pub(crate) fn services(&self) -> Vec<&str> {
        let live = self.backends.iter().filter(|b| b.weight > 0);
        live.filter(|b| b.kind == "Service")
            .map(|b| b.name.as_str())
            .collect()
    }

    /// Whether it leads to the pool.
    pub(crate) fn leads_to_pool(&self) -> bool {
        self.backends
            .iter()
            .any(|b| b.weight > 0 && b.kind == "InferencePool")
    }

    /// The headers in words.
    pub(crate) fn headers_in_words(&self) -> String {
        let headers = self
            .headers
            .iter()
            .map(|h| format!("{}: {}", h.name, h.value));
        headers.collect::<Vec<_>>().join(", ")
    }
}

/// What an answer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An answer came.
    Came {
        status: u16,
        /// The `id` of its JSON body, if it has one.
        id: Option<String>,
        /// The message of an error body.
        message: Option<String>,
        /// Header `x-llm-d-request-dropped-reason`.
        dropped: Option<String>,
    },
    /// None came, and why.
    Failed(String),
}

impl Answer {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::Came { status: 200, .. })
    }

    /// In a few words.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Came {
                status, message, ..
            } => match message {
                Some(message) => format!("{status} ({message})"),
                None => status.to_string(),
            },
            Self::Failed(why) => why.clone(),
        }
    }

    /// The pair that the answer's id names.
    pub(crate) fn pair(&self) -> Option<String> {
        match self {
            Self::Came { id: Some(id), .. } => pair_of(id),
            _ => None,
        }
    }
}

/// `prefill → decode` out of an id of the form `…___prefill_addr_P___decode_addr_D_<32 hex>`.
pub(crate) fn pair_of(id: &str) -> Option<String> {
    let (_, rest) = id.split_once("___prefill_addr_")?;
    let (prefill, rest) = rest.split_once("___decode_addr_")?;
    let (decode, _) = rest.rsplit_once('_')?;
    Some(format!("{prefill} → {decode}"))
}

/// One candidate, asked past the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    pub(crate) endpoint: String,
    pub(crate) answer: Answer,
    /// The status of its metrics page, or why there is none.
    pub(crate) metrics: Result<u16, String>,
}

/// A request through the gateway that the picker decided about.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) answer: Answer,
    /// What the gateway has on record about it.
    pub(crate) receipt: Option<Receipt>,
}

impl Probe {
    /// The endpoint that the picker chose first.
    pub(crate) fn chosen(&self) -> Option<&str> {
        let profile = self.receipt.as_ref()?.profiles.first()?;
        profile.picked.first().map(String::as_str)
    }

    /// The endpoint that it was sent to in the end; another than the chosen one after a failed attempt.
    pub(crate) fn sent_to(&self) -> Option<&str> {
        let attempts = &self.receipt.as_ref()?.attempts;
        attempts.last().map(|a| a.endpoint.as_str())
    }
}

/// Many probes at a time.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) at_once: usize,
    pub(crate) wanted: usize,
    pub(crate) probes: Vec<Probe>,
}

/// A request with the headers of a route.
#[derive(Clone, Debug)]
pub(crate) struct HeaderProbe {
    pub(crate) rule: Rule,
    pub(crate) answer: Answer,
}

/// Probes while one endpoint is kept busy.
#[derive(Clone, Debug)]
pub(crate) struct LoadSeen {
    /// The endpoint kept busy; `None` if that did not come about, and why.
    pub(crate) victim: Result<String, String>,
    /// Long answers that kept it busy.
    pub(crate) held: usize,
    /// How many of them were still coming after the last probe.
    pub(crate) held_to_the_end: usize,
    pub(crate) probes: Vec<Probe>,
}

/// The gateway's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) decisions: u64,
    pub(crate) bypassed: u64,
}

impl Seen {
    /// All probes that went through the pool.
    pub(crate) fn probes(&self) -> impl Iterator<Item = &Probe> {
        let bursts = self.bursts.iter().flatten().flat_map(|b| &b.probes);
        bursts.chain(self.load.iter().flatten().flat_map(|load| &load.probes))
    }

    /// The candidates that the filters left in some decision.
    pub(crate) fn left_by_filters(&self) -> BTreeSet<&str> {
        let profiles = self
            .probes()
            .filter_map(|p| p.receipt.as_ref()?.profiles.first());
        profiles
            .flat_map(|p| p.candidates.iter().map(|c| c.endpoint.as_str()))
            .collect()
    }

    /// Who was removed, and by which filter.
    pub(crate) fn removed(&self) -> BTreeMap<&str, &str> {
        let profiles = self
            .probes()
            .filter_map(|p| p.receipt.as_ref()?.profiles.first());
        profiles
            .flat_map(|p| {
                p.filtered
                    .iter()
                    .map(|f| (f.endpoint.as_str(), f.by.as_str()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_is_read_from_an_id() {
        let id = "cmpl-___prefill_addr_vllm-prefill-p2p:14579___decode_addr_vllm-decode-p2p:14579_59d4a3b8ab064f27a80690c5160b5011";
        let pair = "vllm-prefill-p2p:14579 → vllm-decode-p2p:14579";
        assert_eq!(pair_of(id).as_deref(), Some(pair));
        assert_eq!(pair_of("cmpl-59d4a3b8"), None);
    }

    #[test]
    fn an_ordinary_request_takes_the_first_rule_without_headers_that_fits_its_path() {
        let rule = |kind: &str, path: &str, method: Option<&str>, header: bool| Rule {
            path: Typed {
                kind: kind.to_owned(),
                value: path.to_owned(),
                ..Typed::default()
            },
            method: method.map(str::to_owned),
            headers: vec![Typed::default(); usize::from(header)],
            backends: Vec::new(),
        };
        let takes = |rule: Rule| rule.takes_ordinary("/v1/completions");
        assert!(takes(rule("PathPrefix", "/", None, false)));
        assert!(takes(rule("PathPrefix", "/v1", Some("POST"), false)));
        assert!(takes(rule("Exact", "/v1/completions", None, false)));
        assert!(!takes(rule("PathPrefix", "/v1/comp", None, false)));
        assert!(!takes(rule("PathPrefix", "/", Some("GET"), false)));
        assert!(!takes(rule("PathPrefix", "/", None, true)));
    }
}
