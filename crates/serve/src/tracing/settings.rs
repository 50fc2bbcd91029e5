//! What the environment says of tracing, in OpenTelemetry's words.
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the collector's URL for traces, taken as it is |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector's URL; `/v1/traces` is put behind it |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL`, `…_TRACES_PROTOCOL` | `http/protobuf`, which is also the default |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TRACES_HEADERS` | `name=value,…`, sent along |
//! | `OTEL_EXPORTER_OTLP_TIMEOUT`, `…_TRACES_TIMEOUT` | milliseconds; 10000 |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | what the process is called |
//! | `OTEL_TRACES_SAMPLER` | `parentbased_traceidratio` |
//! | `OTEL_TRACES_SAMPLER_ARG` | the share of traces that begin here and are recorded; 0.1 |
//!
//! Without an endpoint nothing is traced.

use std::time::Duration;

/// How traces are recorded and where they go.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The collector's host and port.
    pub authority: String,
    /// The path for traces.
    pub path: String,
    /// Header fields that are sent along.
    pub headers: Vec<(String, String)>,
    /// Longest wait for the collector.
    pub timeout: Duration,
    /// What the process is called: names and values.
    pub resource: Vec<(String, String)>,
    /// The share of traces that begin here and are recorded.
    pub ratio: f64,
}

impl Settings {
    /// What `variable` says; `None` where nothing is to be traced.
    ///
    /// # Errors
    /// Which variable is wrong, what was found and what would be right.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let some = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        let either = |rest: &str| {
            let special = format!("OTEL_EXPORTER_OTLP_TRACES_{rest}");
            let usual = format!("OTEL_EXPORTER_OTLP_{rest}");
            some(&special)
                .map(|text| (special, text))
                .or_else(|| some(&usual).map(|text| (usual, text)))
        };
        let Some((name, url)) = either("ENDPOINT") else {
            return Ok(None);
        };
        let (authority, path) = place(url.trim()).map_err(|why| format!("{name}: {why}"))?;
        let path = match name.contains("TRACES") {
            true if path.is_empty() => "/".to_owned(),
            true => path.to_owned(),
            false => format!("{}/v1/traces", path.trim_end_matches('/')),
        };
        if let Some((name, protocol)) = either("PROTOCOL").filter(|(_, p)| p != "http/protobuf") {
            return Err(format!(
                "{name}: '{protocol}' is not supported; use http/protobuf, on port 4318 as a rule"
            ));
        }
        let timeout = match either("TIMEOUT") {
            None => 10_000,
            Some((name, text)) => text
                .parse()
                .map_err(|_| format!("{name}: '{text}' is no number of milliseconds"))?,
        };
        if let Some(sampler) =
            some("OTEL_TRACES_SAMPLER").filter(|s| s != "parentbased_traceidratio")
        {
            return Err(format!(
                "OTEL_TRACES_SAMPLER: '{sampler}' is not supported; use parentbased_traceidratio"
            ));
        }
        let ratio = match some("OTEL_TRACES_SAMPLER_ARG") {
            None => 0.1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|share| (0.0..=1.0).contains(share))
                .ok_or_else(|| {
                    format!(
                        "OTEL_TRACES_SAMPLER_ARG: '{text}' is no share; use a number from 0 to 1"
                    )
                })?,
        };
        let service = some("OTEL_SERVICE_NAME");
        let mut resource = pairs(&some("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(name) = service {
            resource.retain(|(key, _)| key != SERVICE);
            resource.push((SERVICE.to_owned(), name));
        } else if resource.iter().all(|(key, _)| key != SERVICE) {
            resource.push((SERVICE.to_owned(), "llm-d-epp".to_owned()));
        }
        Ok(Some(Self {
            authority: authority.to_owned(),
            path,
            headers: pairs(&either("HEADERS").map_or_else(String::new, |(_, text)| text)),
            timeout: Duration::from_millis(timeout),
            resource,
            ratio,
        }))
    }
}

/// The attribute that names a service.
const SERVICE: &str = "service.name";

/// `name=value,…`; what is no pair is passed over.
fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split(',').filter_map(|part| part.split_once('='));
    parts
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Host with port, and path, of a URL.
fn place(url: &str) -> Result<(&str, &str), String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(match url.starts_with("https://") {
            true => format!(
                "'{url}': https is not supported; use http://, or a collector beside the process"
            ),
            false => format!("'{url}' is no URL; write http://host:4318"),
        });
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority
        .rsplit_once(':')
        .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
    match port {
        Some(_) => Ok((authority, path)),
        None => Err(format!("'{url}' names no port; write http://host:4318")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::of(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_SERVICE_NAME", "x")]), Ok(None));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
    }

    #[test]
    fn the_environment_is_read_as_everybody_reads_it() {
        let found = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318/")]);
        let found = found.unwrap().unwrap();
        assert_eq!(
            (&*found.authority, &*found.path),
            ("otel:4318", "/v1/traces")
        );
        assert_eq!((found.ratio, found.timeout.as_secs()), (0.1, 10));
        assert_eq!(
            found.resource,
            [("service.name".into(), "llm-d-epp".into())]
        );
        let found = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://[::1]:4318/custom",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b = two=2,nonsense"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,zone=b"),
            ("OTEL_SERVICE_NAME", "picker"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ])
        .unwrap()
        .unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = Settings {
            authority: "[::1]:4318".to_owned(),
            path: "/custom".to_owned(),
            headers: vec![pair("a", "1"), pair("b", "two=2")],
            timeout: Duration::from_millis(250),
            resource: vec![pair("zone", "b"), pair("service.name", "picker")],
            ratio: 1.0,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otel:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://otel"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otel:4318"),
        ] {
            let told = of(&[endpoint, (variable, value)]).unwrap_err();
            assert!(told.starts_with(variable), "{told}");
        }
    }
}
