//! What one warm decision costs: the scheduler over a pool, with the receipt ring on.
//!
//! `cargo bench -p pointsman-serve --bench decision`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::fixture::{NOW, pool};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::scheduler::{Question, decide};
use pointsman_serve::record::ring::{Facts, Ring};

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for name in ["proxy-performance", "proxy-performance-by-backend"] {
        let written = preset(name).expect("the preset exists");
        let registry = Registry::new(pointsman_plugins::ALL);
        let resolved = resolve(&written, &Basis::new(&registry, Generation::G1, name));
        let plan = Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan);
        for rows in [4, 10, 100, 1_000, 10_000] {
            let line = |n: usize| {
                let backend = if n.is_multiple_of(2) { "nvlink" } else { "fs" };
                format!(
                    "llm-d-vllm/endpoint-{n} inFlight={} waiting=1 llm-d.ai/kv-backend={backend}",
                    n % 7
                )
            };
            let pool = pool(&(0..rows).map(line).collect::<Vec<_>>().join("\n"));
            let (mut table, mut ring) = (Table::default(), Ring::new(16 << 20));
            let request = InferenceRequest {
                id: "id",
                model: "model",
                prompt_bytes: 200,
                ..Default::default()
            };
            let tried = RowSet::default();
            let mut seed = 0;
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher.iter(|| {
                    seed += 1;
                    let question = Question {
                        plan: &plan,
                        snapshot: &pool.snapshot,
                        slots: &pool.slots,
                        request: &request,
                        tried: &tried,
                        now: NOW,
                        seed,
                    };
                    let row = decide(&question, &mut table);
                    let facts = Facts {
                        request_id: "5f0c5b2e-7d0d-4d0e-9a77-3a3f1d1c9b10",
                        model: request.model,
                        at_unix_ns: seed,
                        prompt_bytes: request.prompt_bytes,
                        pick_ns: 0,
                        door: "bench",
                        pd: None,
                    };
                    black_box(ring.record(&facts, &plan, &pool.snapshot, &table));
                    black_box(row)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
