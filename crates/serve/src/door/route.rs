//! Which backend a request belongs to: Gateway API HTTPRoute objects from a file.
//!
//! Understood: path matches `Exact` and `PathPrefix`, header matches `Exact` and `RegularExpression`, the method,
//! weighted `backendRefs` of kind `InferencePool` (the picker) and `Service` (the endpoints of that name), and
//! `timeouts.request`. `parentRefs` are ignored. Of several matching rules the more specific wins, in the
//! order of the Gateway API: exact path, longest prefix, method, most headers, first in the file.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};
use pointsman_core::config::duration::parse_duration;
use pointsman_core::config::fault::Fault;
use pointsman_core::model::pool::Snapshot;
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

/// The lab's routes: a header that names a pair bypasses the picker, everything else goes to the pool.
pub const LAB_ROUTES: &str = include_str!("lab-routes.yaml");

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The pool, by the picker.
    Pool,
    /// The endpoints of a Service, without the picker.
    Service(String),
}

/// What a matching rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'a> {
    /// Where the request goes.
    pub target: &'a Target,
    /// Time for the whole request; `None`: no limit of the route's own.
    pub timeout: Option<Duration>,
}

/// A rule as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// `Exact` or `PathPrefix`, and the path.
    pub path: (&'static str, &'a str),
    /// The method; `None`: any.
    pub method: Option<&'a str>,
    /// Name, `Exact` or `RegularExpression`, and the value as written.
    pub headers: Vec<(&'a str, &'static str, &'a str)>,
    /// Where requests go, with weights.
    pub backends: &'a [(Target, u32)],
    /// Time for the whole request; `None`: no limit of the route's own.
    pub timeout: Option<Duration>,
}

/// The routes in order of precedence.
#[derive(Debug)]
pub struct Routes {
    matches: Vec<Match>,
}

#[derive(Debug)]
struct Match {
    path: Path,
    method: Option<Method>,
    headers: Vec<(HeaderName, HeaderTest)>,
    backends: Vec<(Target, u32)>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Path {
    Exact(String),
    Prefix(String),
}

#[derive(Debug)]
enum HeaderTest {
    Exact(String),
    Regex(Regex),
}

impl Routes {
    /// Everything goes to the pool.
    pub fn all_to_pool() -> Self {
        let everything = Match {
            path: Path::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            backends: vec![(Target::Pool, 1)],
            timeout: None,
        };
        Self {
            matches: vec![everything],
        }
    }

    /// Reads a file of HTTPRoute objects; objects of other kinds are skipped.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|e| vec![Fault::error("", e.to_string())])?;
        let (mut matches, mut faults) = (Vec::new(), Vec::new());
        let mut routes = 0;
        for (at, document) in documents.into_iter().enumerate() {
            if document.get("kind").and_then(Value::as_str) != Some("HTTPRoute") {
                continue;
            }
            routes += 1;
            match Written::deserialize(document) {
                Ok(written) => {
                    written.read(&format!("document {at}: spec"), &mut matches, &mut faults)
                }
                Err(e) => faults.push(Fault::error(format!("document {at}"), e.to_string())),
            }
        }
        if routes == 0 && faults.is_empty() {
            faults.push(Fault::error(
                "",
                "the file holds no object of kind HTTPRoute",
            ));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        matches.sort_by_key(|m| std::cmp::Reverse(m.precedence()));
        Ok(Self { matches })
    }

    /// The rule for a request. `lot` in [0, 1) chooses among weighted backends.
    pub fn find(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        lot: f64,
    ) -> Option<Matched<'_>> {
        let found = self
            .matches
            .iter()
            .find(|m| m.matches(method, path, headers))?;
        let total: u32 = found.backends.iter().map(|(_, weight)| weight).sum();
        let mut left = lot * f64::from(total);
        let target = found.backends.iter().find(|(_, weight)| {
            left -= f64::from(*weight);
            left < 0.0
        });
        target.map(|(target, _)| Matched {
            target,
            timeout: found.timeout,
        })
    }

    /// The rules in order of precedence.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        self.matches.iter().map(Match::shown)
    }

    /// Whether some rule sends requests to the picker.
    pub fn uses_picker(&self) -> bool {
        self.matches
            .iter()
            .any(|m| m.backends.iter().any(|(t, w)| *t == Target::Pool && *w > 0))
    }
}

/// The rows of the endpoints that belong to a Service: their name, without `-rank-N` and then without a final
/// `-<number>`, is the Service's.
pub fn rows_of_service<'a>(
    snapshot: &'a Snapshot,
    service: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    let belongs = move |name: &str| {
        let short = name.rsplit('/').next().unwrap_or(name);
        let base = without_number(short, "-rank-").unwrap_or(short);
        base == service || without_number(base, "-") == Some(service)
    };
    snapshot
        .endpoints
        .iter()
        .enumerate()
        .filter(move |(_, e)| belongs(&e.name))
        .map(|(row, _)| row)
}

fn without_number<'a>(name: &'a str, separator: &str) -> Option<&'a str> {
    let (base, number) = name.rsplit_once(separator)?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(base)
}

impl Match {
    fn shown(&self) -> Rule<'_> {
        Rule {
            path: match &self.path {
                Path::Exact(path) => ("Exact", path),
                Path::Prefix(path) => ("PathPrefix", path),
            },
            method: self.method.as_ref().map(Method::as_str),
            headers: self
                .headers
                .iter()
                .map(|(name, test)| match test {
                    HeaderTest::Exact(value) => (name.as_str(), "Exact", value.as_str()),
                    HeaderTest::Regex(regex) => {
                        // As written: without what makes the whole value match.
                        let regex = regex.as_str();
                        let inner = regex
                            .strip_prefix("^(?:")
                            .and_then(|r| r.strip_suffix(")$"));
                        (name.as_str(), "RegularExpression", inner.unwrap_or(regex))
                    }
                })
                .collect(),
            backends: &self.backends,
            timeout: self.timeout,
        }
    }

    fn precedence(&self) -> (bool, usize, bool, usize) {
        let (exact, length) = match &self.path {
            Path::Exact(path) => (true, path.len()),
            Path::Prefix(path) => (false, path.len()),
        };
        (exact, length, self.method.is_some(), self.headers.len())
    }

    fn matches(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let path_fits = match &self.path {
            Path::Exact(exact) => path == exact,
            Path::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        path_fits
            && self.method.as_ref().is_none_or(|m| m == method)
            && self.headers.iter().all(|(name, test)| {
                headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .is_some_and(|value| match test {
                        HeaderTest::Exact(exact) => value == exact,
                        HeaderTest::Regex(regex) => regex.is_match(value),
                    })
            })
    }
}

#[derive(Deserialize)]
struct Written {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    #[serde(default)]
    matches: Vec<RuleMatch>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
    #[serde(default)]
    timeouts: Timeouts,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RuleMatch {
    path: Option<Typed>,
    #[serde(default)]
    headers: Vec<Typed>,
    method: Option<String>,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct BackendRef {
    kind: Option<String>,
    name: String,
    weight: Option<u32>,
}

#[derive(Deserialize, Default)]
struct Timeouts {
    request: Option<String>,
}

impl Written {
    fn read(self, path: &str, matches: &mut Vec<Match>, faults: &mut Vec<Fault>) {
        if self.spec.rules.is_empty() {
            faults.push(Fault::error(
                format!("{path}.rules"),
                "the route has no rules",
            ));
        }
        for (at, rule) in self.spec.rules.into_iter().enumerate() {
            rule.read(&format!("{path}.rules[{at}]"), matches, faults);
        }
    }
}

impl WrittenRule {
    fn read(self, path: &str, matches: &mut Vec<Match>, faults: &mut Vec<Fault>) {
        let timeout = match self.timeouts.request.as_deref().map(parse_duration) {
            None => None,
            // The Gateway API writes "no limit" as zero.
            Some(Ok(span)) => (span.0 > 0).then(|| Duration::from_nanos(span.0)),
            Some(Err(message)) => {
                faults.push(Fault::error(format!("{path}.timeouts.request"), message));
                None
            }
        };
        if self.backend_refs.is_empty() {
            faults.push(Fault::error(
                format!("{path}.backendRefs"),
                "the rule has no backend",
            ));
        }
        let mut backends = Vec::new();
        for (at, backend) in self.backend_refs.iter().enumerate() {
            match backend.kind.as_deref().unwrap_or("Service") {
                "InferencePool" => backends.push((Target::Pool, backend.weight.unwrap_or(1))),
                "Service" => backends.push((
                    Target::Service(backend.name.clone()),
                    backend.weight.unwrap_or(1),
                )),
                other => faults.push(Fault::error(
                    format!("{path}.backendRefs[{at}].kind"),
                    format!("'{other}' is not served; use InferencePool or Service"),
                )),
            }
        }
        let written = if self.matches.is_empty() {
            vec![RuleMatch::default()]
        } else {
            self.matches
        };
        for (at, one) in written.into_iter().enumerate() {
            let at = format!("{path}.matches[{at}]");
            match one.read() {
                Ok((path, method, headers)) => {
                    matches.push(Match {
                        path,
                        method,
                        headers,
                        backends: backends.clone(),
                        timeout,
                    });
                }
                Err((field, message)) => {
                    faults.push(Fault::error(format!("{at}.{field}"), message))
                }
            }
        }
    }
}

type ReadMatch = (Path, Option<Method>, Vec<(HeaderName, HeaderTest)>);

impl RuleMatch {
    fn read(self) -> Result<ReadMatch, (&'static str, String)> {
        let path = match self.path {
            None => Path::Prefix("/".to_owned()),
            Some(path) => match path.kind.as_deref().unwrap_or("PathPrefix") {
                "Exact" => Path::Exact(path.value),
                "PathPrefix" => Path::Prefix(path.value),
                other => {
                    return Err((
                        "path.type",
                        format!("'{other}' is not served; use Exact or PathPrefix"),
                    ));
                }
            },
        };
        let method = self
            .method
            .map(|m| {
                Method::from_bytes(m.as_bytes())
                    .map_err(|_| ("method", format!("'{m}' is no method")))
            })
            .transpose()?;
        let mut headers = Vec::new();
        for header in self.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| ("headers", format!("'{}' is no header name", header.name)))?;
            let test = match header.kind.as_deref().unwrap_or("Exact") {
                "Exact" => HeaderTest::Exact(header.value),
                "RegularExpression" => HeaderTest::Regex(
                    // The whole value must match, as the Gateway API's implementations do.
                    Regex::new(&format!("^(?:{})$", header.value)).map_err(|e| {
                        (
                            "headers",
                            format!("'{}' is no regular expression: {e}", header.value),
                        )
                    })?,
                ),
                other => {
                    return Err((
                        "headers",
                        format!("'{other}' is not served; use Exact or RegularExpression"),
                    ));
                }
            };
            headers.push((name, test));
        }
        Ok((path, method, headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::model::endpoint::{Endpoint, Labels};
    use pointsman_core::model::slots::Slot;

    #[track_caller]
    fn check(
        routes: &Routes,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        expected: Option<&str>,
    ) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = routes
            .find(&method, path, &headers, 0.0)
            .map(|m| match m.target {
                Target::Pool => "pool",
                Target::Service(name) => name.as_str(),
            });
        assert_eq!(found, expected, "{method} {path} {header:?}");
    }

    #[test]
    fn the_labs_routes_send_named_pairs_past_the_picker() {
        let routes = Routes::parse(LAB_ROUTES).unwrap();
        check(&routes, "POST", "/v1/completions", None, Some("pool"));
        check(
            &routes,
            "POST",
            "/v1/completions",
            Some(("x-kv-backend", "nvlink")),
            Some("vllm-p2p-proxy"),
        );
        check(
            &routes,
            "POST",
            "/v1/completions",
            Some(("x-kv-backend", "fs")),
            Some("vllm-fs-proxy"),
        );
        check(
            &routes,
            "POST",
            "/v1/completions",
            Some(("x-kv-backend", "other")),
            Some("pool"),
        );
        assert!(routes.uses_picker());
    }

    #[test]
    fn the_more_specific_rule_wins_whatever_the_order() {
        let rule = |matches: &str, service: &str| {
            format!("  - matches: [{matches}]\n    backendRefs: [{{name: {service}}}]\n")
        };
        let text = format!(
            "kind: HTTPRoute\nspec:\n  rules:\n{}{}{}{}{}",
            rule("{path: {value: /}}", "root"),
            rule("{path: {value: /v1}, method: GET}", "get"),
            rule("{path: {type: Exact, value: /v1/models}}", "exact"),
            rule("{path: {value: /v1}}", "v1"),
            rule(
                "{path: {value: /v1}, headers: [{type: RegularExpression, name: x-a, value: 'b+'}]}",
                "regex"
            ),
        );
        let routes = Routes::parse(&text).unwrap();
        check(&routes, "POST", "/v1/models", None, Some("exact"));
        check(&routes, "GET", "/v1/x", None, Some("get"));
        check(&routes, "POST", "/v1", None, Some("v1"));
        check(&routes, "POST", "/v1x", None, Some("root"));
        check(
            &routes,
            "POST",
            "/v1/x",
            Some(("x-a", "bbb")),
            Some("regex"),
        );
        check(&routes, "POST", "/v1/x", Some(("x-a", "bbc")), Some("v1"));
        assert!(!routes.uses_picker());
    }

    #[test]
    fn rules_are_shown_in_order_of_precedence() {
        let routes = Routes::parse(LAB_ROUTES).unwrap();
        let rules: Vec<Rule<'_>> = routes.rules().collect();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].path, ("PathPrefix", "/"));
        assert_eq!(rules[0].headers, [("x-kv-backend", "Exact", "nvlink")]);
        assert_eq!(
            rules[0].backends,
            [(Target::Service("vllm-p2p-proxy".to_owned()), 1)]
        );
        assert_eq!(rules[2].backends, [(Target::Pool, 1)]);
        let text = "kind: HTTPRoute\nspec:\n  rules:\n  - matches: [{method: POST, headers: [{type: RegularExpression, name: a, value: 'b+'}]}]\n    backendRefs: [{name: s}]\n";
        let routes = Routes::parse(text).unwrap();
        let rule = routes.rules().next().unwrap();
        assert_eq!(rule.method, Some("POST"));
        assert_eq!(rule.headers, [("a", "RegularExpression", "b+")]);
    }

    #[test]
    fn weights_share_the_requests_out() {
        let text = "kind: HTTPRoute\nspec:\n  rules:\n  - backendRefs: [{name: a, weight: 1}, {name: b, weight: 3}, {name: c, weight: 0}]\n";
        let routes = Routes::parse(text).unwrap();
        let at = |lot| {
            routes
                .find(&Method::GET, "/", &HeaderMap::new(), lot)
                .unwrap()
                .target
                .clone()
        };
        assert_eq!(at(0.2), Target::Service("a".to_owned()));
        assert_eq!(at(0.3), Target::Service("b".to_owned()));
        assert_eq!(at(0.999), Target::Service("b".to_owned()));
    }

    #[test]
    fn faults_come_all_at_once_with_their_place() {
        let text = "kind: HTTPRoute\nspec:\n  rules:\n  - matches: [{path: {type: Regex, value: x}}]\n    timeouts: {request: soon}\n    backendRefs: [{kind: Bucket, name: b}]\n";
        let faults: Vec<String> = Routes::parse(text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(
            faults
                .iter()
                .all(|f| f.starts_with("document 0: spec.rules[0]")),
            "{faults:?}"
        );
        assert!(Routes::parse("kind: Service\n").is_err());
    }

    #[test]
    fn endpoints_belong_to_the_service_they_are_named_after() {
        let endpoint = |name: &str| {
            Endpoint::new(name, ([127, 0, 0, 1], 1).into(), Labels::default(), Slot(0))
        };
        let names = [
            "n/vllm-fs-proxy-0-rank-0",
            "n/vllm-fs-proxy-1-rank-0",
            "n/vllm-p2p-proxy-0-rank-0",
            "n/vllm-fs-proxy",
        ];
        let snapshot = Snapshot::new(1, names.map(endpoint).to_vec());
        assert_eq!(
            rows_of_service(&snapshot, "vllm-fs-proxy").collect::<Vec<_>>(),
            [0, 1, 3]
        );
        assert_eq!(rows_of_service(&snapshot, "vllm-fs").count(), 0);
    }
}
