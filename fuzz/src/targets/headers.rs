//! Headers as they cross a door: what belongs to one hop or to the fleet is gone after one cleaning.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use pointsman_core::rng::Rng;
use pointsman_serve::door::headers::{request_id, strip_hop_by_hop, strip_steering};
use pointsman_wire::request::openai::classify;

use crate::shape::Shape;
use crate::target::Target;

/// The target. A line is `name: value`; what is no header is passed over.
pub const TARGET: Target = Target {
    name: "headers",
    what: "header hygiene, request ids, paths",
    run,
    words: &[
        "connection: ",
        "connection: close, x-a\n",
        "x-request-id: ",
        "x-gateway-destination-endpoint: 10.0.0.1:8000\n",
        "x-gateway-inference-objective: a\n",
        "x-prefiller-host-port: 10.0.0.1:1\n",
        "x-data-parallel-host-port: a\n",
        "x-encoder-hosts-ports: a\n",
        "te: trailers\n",
        "keep-alive: timeout=5\n",
        "upgrade: h2c\n",
        "proxy-connection: a\n",
        "authorization",
        "host",
        "x-forwarded-for: a\n",
        ",",
        ", ,",
        "content-type",
        "x-llm-d-request-dropped-reason: a\n",
        "/v1/completions",
        "?",
    ],
    also: &[],
};

/// Headers that no cleaning leaves.
const NEVER: [&str; 6] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that no `Connection` removes.
const ALWAYS: [&str; 3] = ["authorization", "host", "content-type"];

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let mut headers = HeaderMap::new();
    let mut paths = 0;
    for line in input.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            let path = std::str::from_utf8(line).ok().and_then(classify);
            paths += usize::from(path.is_some());
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let id = request_id(&headers, &mut Rng::from_seed(1));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    assert!(
        (1..=256).contains(&id.len()) && id.bytes().all(word),
        "no id: {id:?}"
    );
    let before = headers.clone();
    strip_hop_by_hop(&mut headers);
    for name in NEVER {
        assert!(!headers.contains_key(name), "{name} crosses a hop");
    }
    for name in ALWAYS {
        assert_eq!(
            headers.get_all(name).iter().count(),
            before.get_all(name).iter().count(),
            "{name} is removed"
        );
    }
    let once = headers.clone();
    strip_hop_by_hop(&mut headers);
    assert_eq!(once, headers, "a second cleaning removes more");
    strip_steering(&mut headers);
    for name in headers.keys() {
        let name = name.as_str();
        let own = name.starts_with("x-gateway-inference-");
        let steers = name.starts_with("x-prefiller-") || (name.starts_with("x-gateway-") && !own);
        assert!(!steers, "a client steers by {name}");
    }
    shape.size(paths);
    shape.size(before.len());
    shape.size(before.len() - once.len());
    shape.size(once.len() - headers.len());
    shape.number(u64::from(id.len() == 36));
    shape.done()
}
