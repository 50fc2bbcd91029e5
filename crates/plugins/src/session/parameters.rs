//! The parameters of the session plugins.

use std::sync::Arc;

use pointsman_core::contract::spec::{DataKey, Generation, ParamFault, Params, Requirement};
use pointsman_core::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::session::bindings::Bindings;
use crate::session::{Affinity, Source, Way};

const ENCODED: &str = "encoded_endpoint_header";
const BY_ID: &str = "session_id";

/// The attribute under which `session-id-producer` publishes what it finds.
const ATTRIBUTE: &str = "SessionID";

/// The attribute of what `agent-identity` finds.
const AGENT: &str = "agent-identity";

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Parameters {
    /// How a session is known: `encoded_endpoint_header` (the answer carries the endpoint's name, the client sends it
    /// back) or `session_id` (the client sends an id of its own, which is remembered here).
    strategy: String,
    /// For `encoded_endpoint_header`: the header.
    encoded_endpoint_header_config: Encoded,
    /// For `session_id`: where ids are found and how long they are remembered.
    session_id_config: ById,
    /// The profile whose pick is meant; the primary one when left out.
    profile_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            strategy: ENCODED.to_owned(),
            encoded_endpoint_header_config: Encoded::default(),
            session_id_config: ById::default(),
            profile_name: String::new(),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct Encoded {
    /// The header, on requests and answers.
    header: String,
}

impl Default for Encoded {
    fn default() -> Self {
        Self {
            header: "x-session-token".to_owned(),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct ById {
    /// Where the id is looked for; the first that is there and not empty counts.
    sources: Vec<WrittenSource>,
    /// A binding that has not been used for so long ends; 0: never.
    eviction_ttl_seconds: f64,
    /// Time between two sweeps for bindings that have ended.
    eviction_sweep_seconds: f64,
}

impl Default for ById {
    fn default() -> Self {
        Self {
            sources: vec![WrittenSource {
                header: "x-session-id".to_owned(),
                ..WrittenSource::default()
            }],
            eviction_ttl_seconds: 300.0,
            eviction_sweep_seconds: 10.0,
        }
    }
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct WrittenSource {
    /// A request header.
    header: String,
    /// Or an attribute of the request: `SessionID`, or `agent-identity` with a plugin of that type declared.
    attribute: String,
    /// The producer of `SessionID`; empty means `session-id-producer`.
    producer: String,
}

impl WrittenSource {
    /// Where the id is looked for; `agents` are the headers that `agent-identity` looks at.
    fn read(&self, agents: &[Box<str>]) -> Result<Vec<Source>, String> {
        match (self.header.as_str(), self.attribute.as_str()) {
            ("", "") => Err("names neither a header nor an attribute".to_owned()),
            (header, "") => Ok(vec![Source::Header(header.to_ascii_lowercase())]),
            ("", ATTRIBUTE) => Ok(vec![Source::Producer(
                DataKey::Session.producer_named(&self.producer).to_owned(),
            )]),
            ("", AGENT) if agents.is_empty() => Err(format!(
                "no plugin of type {AGENT} is declared, which finds that attribute; declare one"
            )),
            ("", AGENT) => Ok(agents
                .iter()
                .map(|name| Source::Header(name.to_string()))
                .collect()),
            ("", other) => Err(format!(
                "no request has an attribute '{other}'; use {ATTRIBUTE} of a session-id-producer, or {AGENT}"
            )),
            _ => Err("names a header and an attribute; give each a source of its own".to_owned()),
        }
    }
}

fn given(params: &Params<'_>) -> Result<Parameters, Vec<ParamFault>> {
    match params.generation {
        // The first generation reads none.
        Generation::G1 => Ok(Parameters::default()),
        Generation::G2 => params.read(),
    }
}

/// The producers of sessions that the parameters name.
pub(crate) fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given = given(params).unwrap_or_default();
    if given.strategy != BY_ID {
        return Vec::new();
    }
    let sources = given.session_id_config.sources;
    let needed = sources
        .iter()
        .filter_map(|source| source.read(params.flow_headers).ok());
    needed
        .flatten()
        .filter_map(|source| match source {
            Source::Producer(name) => Some(Requirement {
                key: DataKey::Session,
                producer: Some(name),
                optional: false,
            }),
            Source::Header(_) => None,
        })
        .collect()
}

/// The affinity that the parameters describe; bindings of the plan before are gone on with.
pub(crate) fn affinity(params: &Params<'_>) -> Result<Affinity, Vec<ParamFault>> {
    let given = given(params)?;
    let fault = |path: &str, message: String| {
        Err(vec![ParamFault {
            path: path.to_owned(),
            message,
        }])
    };
    let way = match given.strategy.as_str() {
        ENCODED => {
            let header = given.encoded_endpoint_header_config.header;
            if !is_header(&header) {
                let message = format!("'{header}' is no name of a header");
                return fault("encodedEndpointHeaderConfig.header", message);
            }
            Way::Encoded {
                header: header.to_ascii_lowercase(),
            }
        }
        BY_ID => by_id(&given.session_id_config, params)?,
        other => {
            let message = format!("'{other}' is not known; use {ENCODED} or {BY_ID}");
            return fault("strategy", message);
        }
    };
    Ok(Affinity {
        way,
        profile: given.profile_name,
    })
}

fn by_id(given: &ById, params: &Params<'_>) -> Result<Way, Vec<ParamFault>> {
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    let mut fault = |path: String, message: String| {
        let path = format!("sessionIdConfig.{path}");
        faults.push(ParamFault { path, message });
    };
    for (at, source) in given.sources.iter().enumerate() {
        match source.read(params.flow_headers) {
            Ok(found) => sources.extend(found),
            Err(why) => fault(format!("sources[{at}]"), why),
        }
    }
    if given.sources.is_empty() {
        let message = "is empty; leave it out for the header x-session-id".to_owned();
        fault("sources".to_owned(), message);
    }
    let mut seconds = |name: &str, given: f64| {
        if !(0.0..=1e9).contains(&given) {
            fault(name.to_owned(), format!("{given} is no number of seconds"));
        }
        Span::from_secs_f64(given.clamp(0.0, 1e9))
    };
    let ttl = seconds("evictionTtlSeconds", given.eviction_ttl_seconds);
    let sweep = seconds("evictionSweepSeconds", given.eviction_sweep_seconds);
    if !faults.is_empty() {
        return Err(faults);
    }
    let bindings = params
        .previous
        .and_then(|state| Arc::clone(state).downcast::<Bindings>().ok())
        .unwrap_or_else(|| Arc::new(Bindings::new()));
    bindings.set_times(ttl, sweep);
    Ok(Way::ById { sources, bindings })
}

/// Whether a text can be the name of a header (RFC 9110 §5.1).
fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::config::own::OwnSettings;

    #[track_caller]
    fn refused(json: &str, expected: &str) {
        let value = serde_json::from_str(json).unwrap_or_default();
        let params = Params {
            value: Some(&value),
            generation: Generation::G2,
            name: "s",
            previous: None,
            own: &OwnSettings::default(),
            flow_headers: &[],
        };
        let faults = affinity(&params).err().unwrap_or_default();
        let text: String = faults
            .iter()
            .map(|f| format!("{}: {}", f.path, f.message))
            .collect();
        assert!(text.contains(expected), "{json}: {text}");
    }

    #[test]
    fn every_fault_names_its_place() {
        refused(
            r#"{"strategy":"cookie"}"#,
            "strategy: 'cookie' is not known",
        );
        refused(
            r#"{"encodedEndpointHeaderConfig":{"header":"a b"}}"#,
            "encodedEndpointHeaderConfig.header",
        );
        for (config, expected) in [
            (r#"{"sources":[{}]}"#, "sources[0]: names neither"),
            (r#"{"sources":[]}"#, "sources: is empty"),
            (
                r#"{"sources":[{"header":"a","attribute":"b"}]}"#,
                "sources[0]: names a header and",
            ),
            (
                r#"{"sources":[{"attribute":"AgentIdentity"}]}"#,
                "use SessionID",
            ),
            (
                r#"{"sources":[{"attribute":"agent-identity"}]}"#,
                "sources[0]: no plugin of type agent-identity is declared",
            ),
            (r#"{"evictionTtlSeconds":-1}"#, "evictionTtlSeconds: -1"),
        ] {
            let json = format!(r#"{{"strategy":"session_id","sessionIdConfig":{config}}}"#);
            refused(&json, expected);
        }
    }

    #[test]
    fn what_agent_identity_finds_can_be_a_session() {
        let source = r#"{"attribute":"agent-identity"}"#;
        let json = format!(
            r#"{{"strategy":"session_id","sessionIdConfig":{{"sources":[{source},{{"header":"c"}}]}}}}"#
        );
        let value = serde_json::from_str(&json).unwrap_or_default();
        let params = Params {
            value: Some(&value),
            generation: Generation::G2,
            name: "s",
            previous: None,
            own: &OwnSettings::default(),
            flow_headers: &["x-a".into(), "x-b".into()],
        };
        let Ok(Affinity {
            way: Way::ById { sources, .. },
            ..
        }) = affinity(&params)
        else {
            panic!("refused")
        };
        let headers = sources.iter().filter_map(|source| match source {
            Source::Header(name) => Some(name.as_str()),
            Source::Producer(_) => None,
        });
        assert_eq!(headers.collect::<Vec<_>>(), ["x-a", "x-b", "c"]);
    }
}
