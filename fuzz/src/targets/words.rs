//! Small grammars: names of metrics, durations, quantities, engines' URLs, ids that name a pair, content of headers.

use pointsman_core::config::duration::parse_duration;
use pointsman_core::config::quantity::parse_quantity;
use pointsman_core::config::tree::Scalar;
use pointsman_serve::handoff::target::Target as Engine;
use pointsman_wire::handoff::{internal_id, parse_internal_id};
use pointsman_wire::prometheus::metric_spec;

use crate::shape::Shape;
use crate::target::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "words",
    what: "metric names, durations, quantities, URLs, pair ids, scalars",
    run,
    words: &[
        "vllm:num_requests_waiting",
        "{a=b}",
        "{a=\"b\",c=d}",
        "=",
        "\"",
        "1h30m",
        "200ms",
        "1.5s",
        "ns",
        "us",
        "\u{b5}s",
        "1e3",
        "1Gi",
        "100m",
        "E",
        "1e400",
        "e-5",
        "+",
        "-",
        ".",
        "http://",
        "https://",
        "http://[::1]:8000",
        "a:8000/",
        "@",
        "___prefill_addr_",
        "___decode_addr_",
        "_0123456789abcdef0123456789abcdef",
        "cmpl-",
        "0x",
        "0o",
        ".inf",
        ".nan",
        "null",
        "true",
        "\u{3bc}s",
    ],
    also: &[],
};

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let Ok(text) = std::str::from_utf8(input) else {
        return shape.done();
    };
    metric(text, &mut shape);
    duration(text, &mut shape);
    match parse_quantity(text) {
        Ok(quantity) => shape.size(usize::try_from(quantity).unwrap_or(usize::MAX)),
        Err(message) => shape.message(&message),
    }
    pair(text, &mut shape);
    engine(text, &mut shape);
    shape.word(&format!(
        "{:?}",
        std::mem::discriminant(&Scalar::plainly(text))
    ));
    shape.done()
}

/// A name that is read, written down and read again is the same.
fn metric(text: &str, shape: &mut Shape) {
    match metric_spec::read(text) {
        Ok(None) => assert!(text.trim().is_empty(), "a text means no metric"),
        Ok(Some(spec)) => {
            assert!(!spec.name.is_empty());
            let labels: Vec<String> = spec
                .labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{value}\""))
                .collect();
            let written = format!("{}{{{}}}", spec.name, labels.join(","));
            assert_eq!(
                metric_spec::read(&written),
                Ok(Some(spec.clone())),
                "{written}"
            );
            shape.size(spec.labels.len());
        }
        Err(error) => shape.message(&error.to_string()),
    }
}

/// A duration that is read and written in nanoseconds is the same, as far as a float is exact.
fn duration(text: &str, shape: &mut Shape) {
    match parse_duration(text) {
        Ok(span) => {
            if span.0 < 1 << 53 {
                assert_eq!(parse_duration(&format!("{}ns", span.0)), Ok(span));
            }
            shape.size(usize::try_from(span.0).unwrap_or(usize::MAX));
        }
        Err(message) => shape.message(&message),
    }
}

/// The parts of an id are in it, and make an id again.
fn pair(text: &str, shape: &mut Shape) {
    let Some(pair) = parse_internal_id(text) else {
        return;
    };
    let id = internal_id(pair.prefill, pair.decode, pair.unique);
    assert!(text.contains(&id), "{id}");
    let hex = "0123456789abcdef0123456789abcdef";
    assert!(parse_internal_id(&internal_id(pair.prefill, pair.decode, hex)).is_some());
    shape.word("pair");
}

fn engine(text: &str, shape: &mut Shape) {
    match Engine::parse(text) {
        Ok(engine) => {
            assert!(!engine.host().is_empty() && engine.url().starts_with("http://"));
            let again = Engine::parse(engine.url()).expect("what it calls itself is a URL");
            assert_eq!(
                (engine.host(), engine.url(), engine.literal()),
                (again.host(), again.url(), again.literal())
            );
            shape.word(if engine.literal().is_some() {
                "address"
            } else {
                "name"
            });
        }
        Err(error) => shape.message(&error.to_string()),
    }
}
