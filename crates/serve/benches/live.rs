//! What the live page costs its server: one answer of `/debug/live` over a thousand endpoints and full rings.
//!
//! `cargo bench -p pointsman-serve --bench live`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::model::endpoint::Labels;
use pointsman_core::model::request::InferenceRequest;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_http::ClientOptions;
use pointsman_serve::admin::live::live;
use pointsman_serve::door::route::Routes;
use pointsman_serve::exchange::Exchange;
use pointsman_serve::record::log::Log;
use pointsman_serve::router::Router;

/// Decisions recorded; more than the rings of two workers hold.
const DECISIONS: u64 = 20_000;

fn router() -> Arc<Router> {
    let name = "proxy-performance";
    let written = preset(name).expect("the preset exists");
    let registry = Registry::new(pointsman_plugins::ALL);
    let resolved = resolve(&written, &Basis::new(&registry, Generation::G1, name));
    let plan = resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan;
    let membership = Arc::new(Membership::new(1024));
    let members: Vec<Member> = (0..1000_u32)
        .map(|n| Member {
            name: format!("namespace/endpoint-{n}"),
            address: ([10, 0, (n / 250) as u8, (n % 250) as u8], 8000).into(),
            labels: Labels::default(),
        })
        .collect();
    membership.replace(&members);
    let (routes, log) = (Routes::all_to_pool(), Log::new(None, None, 0));
    Arc::new(Router::new(
        Clock::start(),
        membership,
        plan,
        routes,
        log,
        7,
    ))
}

fn answers(criterion: &mut Criterion) {
    let router = router();
    let lanes = [(); 2].map(|()| router.add_lane(2, ClientOptions::default()));
    for n in 0..DECISIONS {
        let id = format!("5e1f6d0c-0000-4000-8000-{n:012}");
        let mut exchange = Exchange::begin(&lanes[(n % 2) as usize], &id, "/v1/completions");
        exchange.ready(&InferenceRequest {
            model: "Qwen/Qwen3-Coder-30B-A3B-Instruct",
            prompt_bytes: 4096,
            ..Default::default()
        });
        exchange.head(200);
        exchange.end(None, None);
    }
    let answer: serde_json::Value =
        serde_json::from_str(&live(&router, "")).expect("the answer is JSON");
    let (run, pool) = (&answer["run"], &answer["pool"]["generation"]);
    let run = run.as_str().unwrap_or_default();
    let rows = answer["decisions"].as_array().expect("a list");
    let keys: Vec<&str> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
    let each = DECISIONS / 2;
    let quiet = format!("since={run}.{each}.{each}&pool={pool}");
    criterion.bench_function("live/nothing new", |bencher| {
        bencher.iter(|| live(&router, black_box(&quiet)));
    });
    let before = each - 2500;
    let busy = format!(
        "since={run}.{before}.{before}&pool={pool}&pending={}",
        keys.join(",")
    );
    criterion.bench_function("live/100 of 5,000 new, 100 ended", |bencher| {
        bencher.iter(|| live(&router, black_box(&busy)));
    });
}

criterion_group!(benches, answers);
criterion_main!(benches);
