//! Says where the endpoints' metrics are scraped from, and how often.
//!
//! # When to use
//! When the engines' metrics are not at `/metrics` on the endpoint's own port, or when 50 ms are too often or
//! too seldom. Without this plugin the defaults below hold.
//!
//! # Example
//! ```yaml
//! - name: sidecar-metrics
//!   type: metrics-data-source
//!   parameters: {port: 9400, path: /engine/metrics, interval: 100ms}
//! ```
//!
//! # Limitations
//! Files for `https` are read again every ten seconds, so a certificate may be renewed under the picker. One source serves all endpoints; of several that are declared the first counts.
//! `interval` is rounded to a multiple of 50 ms, as in the reference.

use pointsman_core::config::duration::parse_duration;
use pointsman_core::contract::data_layer::MetricsSource;
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scrape::secured::Secured;

/// What `interval` is a multiple of.
const BASE_MS: u64 = 50;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "metrics-data-source",
    aliases: &[],
    role: Role::Source,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("source.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// `http` or `https`.
    scheme: String,
    /// Path of the page.
    path: String,
    /// Another port than the endpoint's own.
    port: Option<u32>,
    /// With https: whether any certificate is taken, whoever vouches for it. Engines as a rule show one of their own making.
    insecure_skip_verify: bool,
    /// With https: file of the authorities' certificates, as PEM; the system's when left out. A certificate must name the
    /// endpoint's address.
    ca_cert_path: Option<String>,
    /// With https: file of the client's certificate, as PEM, for engines that ask.
    client_cert_path: Option<String>,
    /// With https: file of the client's key.
    client_key_path: Option<String>,
    /// Time between two readings of an endpoint, such as `100ms`; the process's own when left out.
    interval: Option<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            scheme: "http".to_owned(),
            path: "/metrics".to_owned(),
            port: None,
            insecure_skip_verify: true,
            ca_cert_path: None,
            client_cert_path: None,
            client_key_path: None,
            interval: None,
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let found: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message,
        });
    };
    if !matches!(found.scheme.as_str(), "http" | "https") {
        let message = format!("'{}' is no scheme; use http or https", found.scheme);
        fault("scheme", message);
    }
    let uri = found.path.parse::<http::Uri>();
    if !found.path.starts_with('/') || uri.is_err() {
        let message = format!(
            "'{}' is no path; begin it with /, such as /metrics",
            found.path
        );
        fault("path", message);
    }
    let port = found.port.and_then(|port| u16::try_from(port).ok());
    if found.port.is_some_and(|port| port == 0 || port > 65535) {
        fault("port", "use a port from 1 to 65535".to_owned());
    }
    if found.client_cert_path.is_some() != found.client_key_path.is_some() {
        let message = "clientCertPath and clientKeyPath go together; give both or none";
        fault("clientCertPath", message.to_owned());
    }
    let mut interval = None;
    if let Some(text) = &found.interval {
        match parse_duration(text) {
            Ok(span) if span.0 > 0 => interval = Some(rounded(span)),
            Ok(_) => fault(
                "interval",
                "use a duration above 0, such as 50ms".to_owned(),
            ),
            Err(why) => fault("interval", why),
        }
    }
    let source = MetricsSource {
        https: found.scheme == "https",
        path: found.path,
        port,
        insecure_skip_verify: found.insecure_skip_verify,
        ca_cert_path: found.ca_cert_path,
        client_paths: found.client_cert_path.zip(found.client_key_path),
        interval,
    };
    if let Err((path, message)) = Secured::of(&source) {
        fault(path, message);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Source(source))
}

/// The nearest multiple of the base tick, at least one.
fn rounded(span: Span) -> Span {
    let base = Span::from_millis(BASE_MS).0;
    Span(((span.0 + base / 2) / base).max(1) * base)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture;

    fn source(json: &str) -> Result<MetricsSource, String> {
        match fixture::build(&SPEC, json, Generation::G2) {
            Ok(Built::Source(source)) => Ok(source),
            Ok(other) => panic!("built a {other:?}"),
            Err(faults) => Err(faults
                .iter()
                .map(|f| format!("{}: {}", f.path, f.message))
                .collect()),
        }
    }

    #[test]
    fn parameters_say_where_and_how_often() {
        assert_eq!(source("{}").unwrap(), MetricsSource::default());
        let found = source(r#"{"path":"/m?x=1","port":9400,"interval":"120ms"}"#).unwrap();
        assert_eq!((found.path.as_str(), found.port), ("/m?x=1", Some(9400)));
        assert_eq!(found.interval, Some(Span::from_millis(100)));
        let secure = source(r#"{"scheme":"https"}"#).unwrap();
        assert!(secure.https && secure.insecure_skip_verify);
        let often = source(r#"{"interval":"1ms"}"#).unwrap();
        assert_eq!(often.interval, Some(Span::from_millis(50)));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (json, expected) in [
            (
                r#"{"scheme":"https","caCertPath":"/nowhere/ca.pem"}"#,
                "caCertPath: /nowhere/ca.pem: No such file",
            ),
            (
                r#"{"scheme":"https","clientCertPath":"/nowhere/c","clientKeyPath":"/nowhere/k"}"#,
                "clientCertPath: /nowhere/c: No such file",
            ),
            (r#"{"scheme":"ftp"}"#, "'ftp' is no scheme"),
            (r#"{"path":"metrics"}"#, "'metrics' is no path"),
            (r#"{"port":0}"#, "1 to 65535"),
            (r#"{"port":70000}"#, "1 to 65535"),
            (r#"{"interval":"fast"}"#, "'fast' is no duration"),
            (r#"{"interval":"0"}"#, "above 0"),
            (r#"{"clientCertPath":"c.pem"}"#, "go together"),
        ] {
            let found = source(json).unwrap_err();
            assert!(found.contains(expected), "{json}: {found}");
        }
    }
}
