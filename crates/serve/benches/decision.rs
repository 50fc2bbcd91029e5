//! What one warm decision costs: prompt hashed and looked up, the table filled, the pick made and learned, the
//! receipt written into the ring.
//!
//! `cargo bench -p pointsman-serve --bench decision`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::{BALANCED, preset};
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Deciding, Event};
use pointsman_core::exchange::life::Life;
use pointsman_core::fixture::{NOW, pool};
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::request::InferenceRequest;
use pointsman_serve::record::ring::{Facts, Ring};

/// Size of the prompt, which is the same each time: a warm prefix.
const PROMPT_BYTES: usize = 4096;

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for name in [
        "default",
        BALANCED,
        "proxy-performance",
        "proxy-performance-by-backend",
    ] {
        let written = preset(name).expect("the preset exists");
        let registry = Registry::new(pointsman_plugins::ALL);
        let generation = if name == BALANCED {
            Generation::G2
        } else {
            Generation::G1
        };
        let resolved = resolve(&written, &Basis::new(&registry, generation, name));
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
            let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
            let prompt = &text.as_bytes()[..PROMPT_BYTES];
            let request = InferenceRequest {
                id: "id",
                model: "model",
                prompt: Some(Prompt(&prompt)),
                prompt_bytes: PROMPT_BYTES,
                ..Default::default()
            };
            let mut seed = 0;
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher.iter(|| {
                    seed += 1;
                    let mut life = Life::begin(NOW);
                    let deciding = Deciding {
                        plan: &plan,
                        snapshot: &pool.snapshot,
                        slots: &pool.slots,
                        request: &request,
                        table: &mut table,
                        seed,
                    };
                    let effect = life.on(Event::Ready(deciding), NOW);
                    let facts = Facts {
                        request_id: "5f0c5b2e-7d0d-4d0e-9a77-3a3f1d1c9b10",
                        model: request.model,
                        at_unix_ns: seed,
                        prompt_bytes: request.prompt_bytes,
                        queue_ns: 0,
                        pick_ns: 0,
                        door: "bench",
                        pd: None,
                    };
                    black_box(ring.record(&facts, &plan, &pool.snapshot, &table));
                    black_box(effect)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
