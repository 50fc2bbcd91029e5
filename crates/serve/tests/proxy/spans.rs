//! The spans of a handoff: one for each leg, and the engines are told which one is theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Request;
use pointsman_serve::door::proxy::config::ProxyKind;
use pointsman_serve::tracing::context::Context;
use pointsman_serve::tracing::settings::Settings;
use pointsman_serve::tracing::tracer::Tracer;
use pointsman_wire::otlp::{AnyKind, Span};
use tokio::sync::mpsc::Receiver;

use crate::rig::{Engine, Front, Manner, Seen, config, nowhere, soon, spoken};

const BODY: &str = r#"{"model":"m","max_tokens":64,"prompt":"hello"}"#;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRANSFER: &str = r#"{"id":"x","kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,"remote_engine_id":"e","remote_block_ids":[1],"remote_host":"h","remote_port":5600}}"#;

fn tracer() -> (Arc<Tracer>, Receiver<Span>) {
    let settings = Settings::of(&|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://nowhere:1".to_owned()),
        "OTEL_TRACES_SAMPLER_ARG" => Some("0".to_owned()),
        _ => None,
    });
    let tracer = Arc::new(Tracer::new(settings.unwrap().unwrap()));
    let outlet = tracer.take_outlet().unwrap();
    (tracer, outlet)
}

/// The spans up to that of the whole request, by name.
async fn spans(outlet: &mut Receiver<Span>) -> BTreeMap<String, Span> {
    let mut all = BTreeMap::new();
    soon(async {
        loop {
            let span = outlet.recv().await.unwrap();
            let whole = span.name == "proxy.request";
            assert!(all.insert(span.name.clone(), span).is_none(), "each once");
            if whole {
                return;
            }
        }
    })
    .await;
    all
}

fn told(seen: &Seen) -> Context {
    Context::read(seen.headers["traceparent"].to_str().unwrap()).unwrap()
}

fn error(span: &Span) -> Option<&str> {
    span.status.as_ref().map(|status| &*status.message)
}

fn text<'s>(span: &'s Span, key: &str) -> &'s str {
    let found = span.attributes.iter().find(|one| one.key == key);
    let found = found.unwrap_or_else(|| panic!("{} says no {key}", span.name));
    match found.value.as_ref().unwrap().value.as_ref().unwrap() {
        AnyKind::Text(text) => text,
        AnyKind::Number(number) => panic!("{key} is {number}"),
    }
}

async fn traced(front: &Front, parent: &str) -> String {
    let request = Request::post("/v1/completions")
        .header("content-type", "application/json")
        .header("x-request-id", "mine")
        .header("traceparent", parent);
    front.send(request, BODY).await.1
}

#[tokio::test]
async fn each_leg_is_a_span_of_the_request_and_its_engine_is_told() {
    for kind in [ProxyKind::Fs, ProxyKind::NixlV2] {
        let prefill = Engine::start(Manner::Answer(200, TRANSFER));
        let decode = Engine::start(Manner::Answer(200, r#"{"usage":{}}"#));
        let (tracer, mut outlet) = tracer();
        let mut config = spoken(kind, &prefill.url(), &decode.url());
        config.tracer = Some(tracer);
        let front = Front::with(config);
        traced(&front, PARENT).await;
        let all = spans(&mut outlet).await;
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        assert_eq!(names, ["decode", "prefill", "proxy.request", "transfer"]);
        let whole = &all["proxy.request"];
        assert_eq!(
            whole.parent_span_id[..],
            0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
        );
        assert_eq!(
            (whole.kind, text(whole, "pointsman.request.id")),
            (2, "mine")
        );
        for (name, engine, kind) in [
            ("prefill", Some(&prefill), 3),
            ("transfer", None, 1),
            ("decode", Some(&decode), 3),
        ] {
            let span = &all[name];
            assert_eq!((span.kind, error(span)), (kind, None), "{name}");
            assert_eq!(span.parent_span_id, whole.span_id);
            assert_eq!(span.trace_id, whole.trace_id);
            assert!(span.start_time_unix_nano >= whole.start_time_unix_nano);
            assert!(span.end_time_unix_nano <= whole.end_time_unix_nano);
            if let Some(engine) = engine {
                let told = told(&engine.generations()[0]);
                assert_eq!(told.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
                assert_eq!(span.span_id[..], told.span.to_be_bytes(), "{name}");
                assert_eq!(text(span, "url.full"), engine.url());
            }
        }
        let at = |name: &str| (all[name].start_time_unix_nano, all[name].end_time_unix_nano);
        assert!(at("prefill").1 <= at("transfer").0);
        assert!(at("transfer").1 <= at("decode").0);
    }
}

#[tokio::test]
async fn who_is_not_recorded_leaves_no_span_and_the_header_as_it_came() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(200, "done"));
    let (tracer, mut outlet) = tracer();
    let mut config = config(&prefill.url(), &decode.url());
    config.tracer = Some(tracer);
    let front = Front::with(config);
    let unsampled = PARENT.replace("-01", "-00");
    traced(&front, &unsampled).await;
    for engine in [&prefill, &decode] {
        assert_eq!(engine.generations()[0].headers["traceparent"], unsampled);
    }
    assert!(outlet.try_recv().is_err());
}

#[tokio::test]
async fn a_leg_that_fails_says_why_and_decode_says_that_it_goes_without() {
    let decode = Engine::start(Manner::Answer(200, "done"));
    let (tracer, mut outlet) = tracer();
    let mut config = spoken(ProxyKind::NixlV2, &nowhere(), &decode.url());
    config.tracer = Some(tracer);
    let front = Front::with(config);
    traced(&front, PARENT).await;
    let all = spans(&mut outlet).await;
    assert_eq!(error(&all["prefill"]), Some("unreachable"));
    assert_eq!(error(&all["decode"]), None);
    let why = text(&all["decode"], "pointsman.prefill.fallback");
    assert_eq!(why, "unreachable");
    assert!(!all.contains_key("transfer"));
}

#[tokio::test]
async fn the_decode_span_goes_on_as_long_as_the_answer() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Stream);
    let (tracer, mut outlet) = tracer();
    let mut config = config(&prefill.url(), &decode.url());
    config.tracer = Some(tracer);
    let front = Front::with(config);
    let mut raw = front.raw_traced(BODY, PARENT).await;
    let stream = decode.stream().await;
    soon(stream.send("data: one\n\n")).await.unwrap();
    raw.read_until("data: one").await;
    let names = |outlet: &mut Receiver<Span>| {
        let mut names = Vec::new();
        while let Ok(span) = outlet.try_recv() {
            names.push(span.name);
        }
        names
    };
    assert_eq!(names(&mut outlet), ["prefill", "transfer"]);
    // Its client leaves amid the answer.
    drop(raw);
    let all = spans(&mut outlet).await;
    for name in ["decode", "proxy.request"] {
        assert_eq!(error(&all[name]), Some("client-gone"), "{name}");
    }
    drop(stream);
}
