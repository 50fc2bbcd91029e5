//! How a plugin describes itself: one static value that the registry, the docs and the checks read.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::own::OwnSettings;
use crate::contract::roles::{Built, State};
use crate::model::slots::Reading;

/// Which generation of the reference a plan follows (G1 = v0.4.0, G2 = v0.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// The reference's first generation.
    G1,
    /// The reference's second generation.
    G2,
}

impl Generation {
    /// `g1` or `g2`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::G1 => "g1",
            Self::G2 => "g2",
        }
    }
}

/// What a plugin is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Crosses out candidates.
    Filter,
    /// Rates candidates.
    Scorer,
    /// Chooses from the totals.
    Picker,
    /// Decides which profiles run.
    ProfileHandler,
    /// Works something out once per decision.
    Producer,
    /// Says whether prefill or encoding runs elsewhere.
    Decider,
    /// Says how full the pool is; as a filter, crosses out who is full.
    Detector,
    /// Orders the waiting requests of a flow.
    Ordering,
    /// Takes turns among flows of waiting requests.
    Fairness,
    /// Bounds how full each band of priority may run the pool.
    UsageLimit,
    /// Adds headers about the picks to the request or the answer.
    HeaderWriter,
    /// Refuses requests that would be scheduled otherwise.
    Admitter,
    /// Looks at a request's headers before anything else does.
    HeaderReader,
    /// Tells the gateway something of an answer.
    Reporter,
    /// Reads request bodies.
    Parser,
    /// Says where metrics are scraped.
    Source,
    /// Says which metrics are taken.
    Extractor,
    /// Says where endpoints come from; not part of a scheduling profile.
    Discovery,
}

impl Role {
    /// The role in words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Scorer => "scorer",
            Self::Picker => "picker",
            Self::ProfileHandler => "profile handler",
            Self::Producer => "producer",
            Self::Decider => "decider",
            Self::Detector => "saturation detector",
            Self::Ordering => "ordering policy",
            Self::Fairness => "fairness policy",
            Self::UsageLimit => "usage limit policy",
            Self::HeaderWriter => "header writer",
            Self::Admitter => "admitter",
            Self::HeaderReader => "header reader",
            Self::Reporter => "reporter",
            Self::Parser => "parser",
            Self::Source => "metrics source",
            Self::Extractor => "metrics extractor",
            Self::Discovery => "discovery",
        }
    }

    /// Whether a scheduling profile runs plugins of this role.
    pub const fn in_profiles(self) -> bool {
        matches!(
            self,
            Self::Filter | Self::Scorer | Self::Picker | Self::Detector
        )
    }
}

/// How settled a plugin's behaviour is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stability {
    /// May change in any release.
    Alpha,
    /// Changes are announced.
    Beta,
    /// Behaviour is kept.
    Stable,
}

/// The face of a plugin.
pub struct PluginSpec {
    /// Type string in configurations; the reference's name where it has the plugin.
    pub kind: &'static str,
    /// Further type strings that mean the same.
    pub aliases: &'static [&'static str],
    /// What it is for.
    pub role: Role,
    /// How settled it is.
    pub stability: Stability,
    /// The readings it needs filled.
    pub reads: &'static [Reading],
    /// What it needs from a producer, given its parameters.
    pub requires: fn(&Params<'_>) -> Vec<Requirement>,
    /// The plugin's own source file; its `//!` page is the manual page.
    pub source: &'static str,
    /// The schema of its parameters.
    pub schema: fn() -> Schema,
    /// Builds it from its parameters.
    pub build: fn(&Params<'_>) -> Result<Built, Vec<ParamFault>>,
}

/// The parts that few plugins need: none of them.
pub const fn needs_nothing(_: &Params<'_>) -> Vec<Requirement> {
    Vec::new()
}

/// What one plugin produces and others read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataKey {
    /// Which part of the prompt each candidate holds.
    PrefixMatch,
    /// How many tokens the prompt has.
    Tokens,
    /// Tokens in flight on each candidate.
    Load,
    /// The session that the request belongs to.
    Session,
    /// Values that the configuration takes from metrics pages under names of its own.
    Attribute,
}

impl DataKey {
    /// The key's name in the reference.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PrefixMatch => "PrefixCacheMatchInfo",
            Self::Tokens => "TokenizedPrompt",
            Self::Load => "InFlightLoad",
            Self::Session => "SessionID",
            Self::Attribute => "endpoint attributes",
        }
    }

    /// The type of the producer that is added when nobody produces the key.
    pub const fn default_producer(self) -> &'static str {
        match self {
            Self::PrefixMatch => "approx-prefix-cache-producer",
            Self::Tokens => "token-producer",
            Self::Load => "inflight-load-producer",
            Self::Session => "session-id-producer",
            Self::Attribute => "core-metrics-extractor",
        }
    }
}

impl DataKey {
    /// The producer's name that a parameter gives; empty means the default one's.
    pub fn producer_named(self, name: &str) -> &str {
        if name.is_empty() {
            self.default_producer()
        } else {
            name
        }
    }
}

/// Something a plugin needs a producer for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// What it needs.
    pub key: DataKey,
    /// The instance that must produce it, if the plugin names one.
    pub producer: Option<String>,
    /// Whether it can do without.
    pub optional: bool,
}

/// Parameters as written, with the generation whose rules apply.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    /// The `parameters` object; `None` when left out.
    pub value: Option<&'a Value>,
    /// Whose rules apply.
    pub generation: Generation,
    /// The plugin's name in the configuration.
    pub name: &'a str,
    /// What the plugin of equal type and name knew in the plan that is replaced.
    pub previous: Option<&'a State>,
    /// Our own settings of the configuration.
    pub own: &'a OwnSettings,
    /// Headers in which the declared readers of headers find who sent a request, in order.
    pub flow_headers: &'a [Box<str>],
}

/// One thing wrong with a plugin's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamFault {
    /// Path below `parameters`, such as `matchLabels` (empty: the object itself).
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
}

impl Params<'_> {
    /// Reads the parameters as `T`; left out means all defaults. Unknown names are the resolver's
    /// business (it warns or refuses by generation), so `T` must not refuse them itself.
    ///
    /// # Errors
    /// The value has a wrong type somewhere.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Vec<ParamFault>> {
        match self.value {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => T::deserialize(value).map_err(|e| {
                vec![ParamFault {
                    path: String::new(),
                    message: e.to_string(),
                }]
            }),
        }
    }
}

/// The schema function of a parameter type, for [`PluginSpec::schema`].
pub fn schema_of<T: JsonSchema>() -> Schema {
    schemars::schema_for!(T)
}

/// The parameter names that a schema knows.
pub fn parameter_names(schema: &Schema) -> Vec<String> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}
