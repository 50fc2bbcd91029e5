//! A plan as JSON: what runs in which order, where it comes from, what was added to what is written.

use pointsman_core::admission::rules::{Admission, BandRules};
use pointsman_core::contract::data_layer::Parser;
use pointsman_core::schedule::plan::{Named, Plan, Profile};
use pointsman_core::time::Span;
use pointsman_wire::receipt::SCHEMA_VERSION;
use serde_json::{Map, Value, json};

use crate::rewriting;
use crate::router::Router;

/// The plan in force and what became of the last reading of its configuration.
pub fn in_force(router: &Router) -> String {
    let plan = router.plan.load();
    let mut view = view(&plan);
    view.insert("usesPicker".to_owned(), router.routes.uses_picker().into());
    view.insert("reloads".to_owned(), router.reloads.view());
    Value::Object(view).to_string()
}

/// A plan, in force or not.
pub fn view(plan: &Plan) -> Map<String, Value> {
    let parsers: Vec<&str> = plan
        .parsers
        .iter()
        .map(|parser| match parser {
            Parser::OpenAi => "openai-parser",
            Parser::Anthropic => "anthropic-parser",
            Parser::VllmHttp => "vllmhttp-parser",
            Parser::VllmGrpc => "vllmgrpc-parser",
            Parser::Passthrough => "passthrough-parser",
        })
        .collect();
    let metrics = plan.metrics.as_ref().map(|(source, extractor)| {
        let scheme = if source.https { "https" } else { "http" };
        let engines: Vec<&str> = extractor.engines.iter().map(|e| e.name.as_str()).collect();
        json!({
            "scheme": scheme,
            "path": source.path,
            "port": source.port,
            "engines": engines,
        })
    });
    let own = &plan.own;
    let millis = |span: Option<Span>| span.map(|s| s.0 / 1_000_000);
    let before = plan.producers.iter().map(named);
    let producers: Vec<Value> = before.chain(plan.preparers.iter().map(named)).collect();
    let value = json!({
        "schemaVersion": SCHEMA_VERSION,
        "source": plan.source,
        "generation": plan.generation,
        "compat": plan.compat.word(),
        "compatReason": plan.compat_reason,
        "hash": format!("{:016x}", plan.hash),
        "profileHandler": named(&plan.handler),
        "profiles": plan.profiles.iter().map(profile).collect::<Vec<_>>(),
        "producers": producers,
        "added": plan.added,
        "prefillHeader": plan.prefill_header,
        "encodeHeader": plan.encode_header,
        "parsers": parsers,
        "metrics": metrics,
        "admission": admission(&plan.admission),
        "discovery": plan.discovery.as_ref().map(|d| json!({"path": d.path, "watch": d.watch})),
        "settings": {
            "staleness": {
                "policy": plan.staleness.policy.word(),
                "maxAgeMs": plan.staleness.max_age.0 / 1_000_000,
            },
            "prefixCache": {
                "ttlMs": own.prefix_cache.ttl.0 / 1_000_000,
                "matchMode": if own.prefix_cache.contiguous { "contiguous" } else { "any" },
            },
            "retries": {
                "budget": own.retries.budget,
                "max": own.retries.max,
                "onStatus": own.retries.on_status,
            },
            "timeouts": {
                "firstByteMs": millis(own.timeouts.first_byte),
                "answerIdleMs": millis(own.timeouts.answer_idle),
                "bodyIdleMs": millis(own.timeouts.body_idle),
            },
            "limits": {"maxBody": own.limits.max_body},
            "modelRewrites": rewriting::view(&own.rewrites),
            "memory": {"prefixIndex": own.memory.prefix_index},
            "receipts": {"memory": own.receipts.memory},
            "gateway": {"handoff": own.gateway.handoff.word()},
            "metrics": {"legacyNames": own.metrics.legacy_names},
        },
    });
    match value {
        Value::Object(view) => view,
        _ => Map::new(),
    }
}

fn admission(admission: &Admission) -> Value {
    let seconds = |span: Option<Span>| span.map(Span::as_secs_f64);
    let band = |band: &BandRules| {
        json!({
            "maxRequests": band.max_requests,
            "maxBytes": band.max_bytes,
            "fairness": named(&band.fairness),
            "ordering": named(&band.ordering),
        })
    };
    let flow = admission.flow.as_ref().map(|flow| {
        let bands = flow.bands.iter();
        json!({
            "maxRequests": flow.max_requests,
            "maxBytes": flow.max_bytes,
            "ttlS": seconds(flow.ttl),
            "noEndpointTtlS": seconds(flow.no_endpoint_ttl),
            "usageLimit": named(&flow.limit),
            "bands": bands.map(|(priority, rules)| (priority.to_string(), band(rules))).collect::<Map<_, _>>(),
            "otherBands": band(&flow.others),
            "negativeBands": band(&flow.negative),
        })
    });
    json!({
        "saturationDetector": named(&admission.detector),
        "flowControl": flow,
        "objectives": admission.objectives,
        "mostInFlight": admission.most_in_flight,
    })
}

fn profile(profile: &Profile) -> Value {
    let filter = |f: &Named<dyn pointsman_core::contract::roles::Filter>| json!({"type": f.kind, "name": f.name.as_ref(), "wants": f.plugin.wants()});
    let scorer = |s: &pointsman_core::schedule::plan::Weighted| json!({"type": s.scorer.kind, "name": s.scorer.name.as_ref(), "weight": s.weight});
    json!({
        "name": profile.name,
        "filters": profile.filters.iter().map(filter).collect::<Vec<_>>(),
        "scorers": profile.scorers.iter().map(scorer).collect::<Vec<_>>(),
        "picker": named(&profile.picker),
    })
}

fn named<T: ?Sized>(plugin: &Named<T>) -> Value {
    json!({"type": plugin.kind, "name": plugin.name.as_ref()})
}
