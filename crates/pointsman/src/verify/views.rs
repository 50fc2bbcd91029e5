//! The pages of the admin port, as far as they are judged.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/debug/endpoints`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Pool {
    /// The candidates.
    pub(crate) endpoints: Vec<Candidate>,
}

/// One candidate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    /// `namespace/name`.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: String,
    /// Its labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Requests that the gateway has under way there.
    #[serde(default)]
    pub(crate) in_flight: u64,
    /// What its engine reported.
    #[serde(default)]
    pub(crate) readings: BTreeMap<String, Reading>,
}

/// One reading of an engine.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Reading {
    /// `None` if it was never read.
    pub(crate) value: Option<f64>,
}

/// `/debug/plan`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Where it comes from.
    pub(crate) source: String,
    /// Chooses among the profiles.
    pub(crate) profile_handler: Plugin,
    /// The profiles.
    pub(crate) profiles: Vec<Profile>,
}

/// A plugin of the plan.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Plugin {
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
    /// For a filter: what it wants, in words.
    #[serde(default)]
    pub(crate) wants: String,
    /// For a scorer: how much it counts.
    #[serde(default)]
    pub(crate) weight: f64,
}

/// One profile of the plan.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Profile {
    /// Its name.
    pub(crate) name: String,
    /// In order.
    pub(crate) filters: Vec<Plugin>,
    /// With weights.
    pub(crate) scorers: Vec<Plugin>,
    /// Who picks.
    pub(crate) picker: Plugin,
}

impl Plan {
    /// The profiles that decide who serves: all, or that of the decode where prefill has one of its own.
    pub(crate) fn deciding(&self) -> Vec<&Profile> {
        let decode: Vec<&Profile> = self
            .profiles
            .iter()
            .filter(|p| p.name == "decode")
            .collect();
        if self.profile_handler.kind == "pd-profile-handler" && !decode.is_empty() {
            return decode;
        }
        self.profiles.iter().collect()
    }
}

/// `/debug/routes`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Routes {
    /// In order of precedence.
    pub(crate) rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rule {
    /// Which paths.
    pub(crate) path: Test,
    /// Which method; `None`: any.
    pub(crate) method: Option<String>,
    /// Which headers.
    #[serde(default)]
    pub(crate) headers: Vec<Test>,
    /// Where requests go.
    pub(crate) backends: Vec<Backend>,
}

/// A test of the path or of a header.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Test {
    /// The header.
    #[serde(default)]
    pub(crate) name: String,
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it is compared with.
    pub(crate) value: String,
}

/// Where a rule sends requests.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Backend {
    /// `InferencePool` or `Service`.
    pub(crate) kind: String,
    /// Name of the Service.
    #[serde(default)]
    pub(crate) name: String,
    /// Share among the rule's backends.
    pub(crate) weight: u32,
    /// Candidates that belong to the Service.
    #[serde(default)]
    pub(crate) endpoints: Vec<String>,
}

impl Rule {
    /// Whether it takes a POST to `path`, its headers aside.
    pub(crate) fn takes(&self, path: &str) -> bool {
        let fits = match self.path.kind.as_str() {
            "Exact" => path == self.path.value,
            _ => path
                .strip_prefix(self.path.value.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        fits && self.method.as_deref().is_none_or(|m| m == "POST")
    }

    /// Whether all headers are compared with a whole value and some requests go to a Service.
    pub(crate) fn is_header_route(&self) -> bool {
        !self.headers.is_empty()
            && self.headers.iter().all(|h| h.kind == "Exact")
            && self.services().next().is_some()
    }

    /// The Services that get requests.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Backend> {
        self.backends
            .iter()
            .filter(|b| b.kind == "Service" && b.weight > 0)
    }
}
