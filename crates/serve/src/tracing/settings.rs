//! What the environment says of tracing, in OpenTelemetry's words.
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the collector's URL for traces, taken as it is |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector's URL; over HTTP `/v1/traces` is put behind it |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL`, `…_TRACES_PROTOCOL` | `grpc` or `http/protobuf`; without a word `grpc` on port 4317, which is registered for it, and `http/protobuf` on any other |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE`, `…_TRACES_CERTIFICATE` | for `https`: a file with the authorities that are trusted; the system's by default |
//! | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `…_CLIENT_KEY`, both also `…_TRACES_…` | files with what the collector is shown |
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
    /// What the collector speaks.
    pub protocol: Protocol,
    /// Whether it is spoken to over TLS.
    pub tls: Option<TlsFiles>,
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

/// What a collector speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// OTLP over HTTP, with protobuf.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// Files for TLS towards a collector.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that are trusted; `None`: the system's.
    pub authorities: Option<String>,
    /// Its own certificate and key.
    pub own: Option<(String, String)>,
}

/// The method that takes spans over gRPC.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The port that is registered for OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

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
        let place = place(url.trim()).map_err(|why| format!("{name}: {why}"))?;
        let protocol = match either("PROTOCOL") {
            None if place.port == GRPC_PORT => Protocol::Grpc,
            None => Protocol::Http,
            Some((name, text)) => protocol(&text).map_err(|why| format!("{name}: {why}"))?,
        };
        let path = match (protocol, name.contains("TRACES")) {
            (Protocol::Grpc, _) => EXPORT.to_owned(),
            (Protocol::Http, true) if place.path.is_empty() => "/".to_owned(),
            (Protocol::Http, true) => place.path.to_owned(),
            (Protocol::Http, false) => {
                format!("{}/v1/traces", place.path.trim_end_matches('/'))
            }
        };
        let file = |rest: &str| either(rest).map(|(_, path)| path);
        let own = match (either("CLIENT_CERTIFICATE"), either("CLIENT_KEY")) {
            (Some((_, certificate)), Some((_, key))) => Some((certificate, key)),
            (None, None) => None,
            (Some((name, _)), None) => return Err(format!("{name}: there is no key to it")),
            (None, Some((name, _))) => {
                return Err(format!("{name}: there is no certificate to it"));
            }
        };
        let tls = place.secure.then(|| TlsFiles {
            authorities: file("CERTIFICATE"),
            own,
        });
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
            protocol,
            tls,
            authority: place.authority,
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

/// `name=value,…`, with `%XX` for bytes that would mean something else; what is no pair is passed over.
fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split(',').filter_map(|part| part.split_once('='));
    parts
        .map(|(name, value)| (decoded(name.trim()), decoded(value.trim())))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// A text in which bytes may stand as `%XX`.
fn decoded(text: &str) -> String {
    let hex = |at: usize| {
        let digits = text.get(at..at + 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.as_bytes().get(at) {
        match (byte, hex(at + 1)) {
            (b'%', Some(meant)) => {
                bytes.push(meant);
                at += 3;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.trim() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::Http),
        other => Err(format!(
            "'{other}' is not supported; use grpc, on port 4317 as a rule, or http/protobuf, on 4318"
        )),
    }
}

/// Where a collector is.
struct Place<'u> {
    secure: bool,
    authority: String,
    port: u16,
    path: &'u str,
}

/// The parts of a URL.
fn place(url: &str) -> Result<Place<'_>, String> {
    let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(format!("'{url}' is no URL; write http://host:4318")),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let named = authority.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok()?;
        (!host.is_empty() && !host.ends_with(':')).then_some(port)
    });
    let bare = !authority.is_empty() && (authority.ends_with(']') || !authority.contains(':'));
    let (authority, port) = match named {
        Some(port) => (authority.to_owned(), port),
        // Services on the internet have a certificate, and the usual port.
        None if secure && bare => (format!("{authority}:443"), 443),
        None => return Err(format!("'{url}' names no port; write http://host:4318")),
    };
    Ok(Place {
        secure,
        authority,
        port,
        path,
    })
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
            protocol: Protocol::Http,
            tls: None,
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
    fn the_protocol_is_named_or_follows_from_the_port() {
        let check = |url: &str, protocol: Option<&str>, expected: Protocol, path: &str| {
            let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
            variables.extend(protocol.map(|name| ("OTEL_EXPORTER_OTLP_PROTOCOL", name)));
            let found = of(&variables).unwrap().unwrap();
            assert_eq!((found.protocol, &*found.path), (expected, path), "{url}");
            (found.authority, found.tls)
        };
        use Protocol::{Grpc, Http};
        check("http://otel:4317", None, Grpc, EXPORT);
        check(
            "http://otel:4317",
            Some("http/protobuf"),
            Http,
            "/v1/traces",
        );
        check("http://otel:4318/", None, Http, "/v1/traces");
        let (authority, tls) = check("https://otel.example", Some("grpc"), Grpc, EXPORT);
        assert_eq!(authority, "otel.example:443");
        assert_eq!(tls, Some(TlsFiles::default()));
        let (authority, _) = check("https://[::1]/x", None, Http, "/x/v1/traces");
        assert_eq!(authority, "[::1]:443");
    }

    #[test]
    fn a_collector_over_tls_is_trusted_by_files() {
        let found = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otel:4317"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/tls/ca.crt"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/tls/traces.crt"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/tls/crt"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls/key"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Basic%20YQ%3D%3D,odd=50%",
            ),
        ]);
        let found = found.unwrap().unwrap();
        let files = TlsFiles {
            authorities: Some("/tls/traces.crt".into()),
            own: Some(("/tls/crt".into(), "/tls/key".into())),
        };
        assert_eq!(found.tls, Some(files));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let headers = [pair("authorization", "Basic YQ=="), pair("odd", "50%")];
        assert_eq!(found.headers, headers);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls/key"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/tls/crt"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otel:"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://otel"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otel:4318"),
        ] {
            let told = of(&[endpoint, (variable, value)]).unwrap_err();
            assert!(told.starts_with(variable), "{told}");
        }
    }
}
