//! What counting costs: the meter of one request from its decision to its end, and of one part of an answer.
//!
//! `cargo bench -p pointsman-serve --bench metrics`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Attempts, Effect, End, Outcome};
use pointsman_core::fixture::{NOW, pool};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::usage::Usage;
use pointsman_core::schedule::scheduler::{Question, decide};
use pointsman_core::time::Span;
use pointsman_serve::metrics::cells::LaneCells;
use pointsman_serve::metrics::decided::Decided;
use pointsman_serve::metrics::meter::Meter;

fn counting(criterion: &mut Criterion) {
    let name = "proxy-performance";
    let written = preset(name).expect("the preset exists");
    let registry = Registry::new(pointsman_plugins::ALL);
    let resolved = resolve(&written, &Basis::new(&registry, Generation::G1, name));
    let plan = Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan);
    let lines: Vec<String> = (0..100).map(|n| format!("ns/endpoint-{n}")).collect();
    let pool = pool(&lines.join("\n"));
    let request = InferenceRequest {
        model: "Qwen/Qwen3-Coder-30B-A3B-Instruct",
        prompt_bytes: 4096,
        stream: true,
        ..Default::default()
    };
    let mut table = Table::default();
    let question = Question {
        plan: &plan,
        snapshot: &pool.snapshot,
        slots: &pool.slots,
        request: &request,
        tried: &RowSet::default(),
        now: NOW,
        seed: 7,
    };
    let choice = decide(&question, &mut table).expect("there are endpoints");
    let effect = Effect::Forward {
        row: choice.targets.primary,
        prefill: None,
        encode: Default::default(),
        pd: None,
        run: None,
    };
    let cells = LaneCells::new(Arc::default());
    let outcome = Outcome {
        end: End::Served,
        status: Some(200),
        reason: None,
        served: Some(0),
        attempts: Attempts::new(),
        usage: Some(Usage {
            prompt_tokens: 1024,
            completion_tokens: 128,
            cached_tokens: Some(512),
        }),
        prefill: None,
        first_byte: Some(Span::from_millis(40)),
        total: Span::from_millis(900),
        at: NOW + Span::from_millis(900),
    };
    let decided = Decided {
        plan: &plan,
        snapshot: &pool.snapshot,
        request: &request,
        bytes: 4096,
        slots: &pool.slots,
        table: &table,
        effect: &effect,
        arrived: NOW,
        began: NOW,
        ended: NOW + Span(12_000),
    };
    criterion.bench_function("metrics/request of two parts", |bencher| {
        bencher.iter(|| {
            let mut meter = Meter::default();
            meter.decided(&cells, black_box(&decided));
            meter.passed(100, Some(NOW + Span::from_millis(50)));
            meter.passed(100, Some(NOW + Span::from_millis(60)));
            meter.ended(&cells, &pool.snapshot, black_box(&outcome));
            meter.written(&cells, NOW, NOW + Span(3000));
        });
    });
    let mut meter = Meter::default();
    meter.decided(&cells, &decided);
    criterion.bench_function("metrics/part of an answer", |bencher| {
        bencher.iter(|| meter.passed(black_box(100), Some(black_box(NOW))));
    });
}

criterion_group!(benches, counting);
criterion_main!(benches);
