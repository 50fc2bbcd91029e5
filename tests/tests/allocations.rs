//! A warm decision allocates nothing: the scheduler, the life of the request and the receipt ring.
//!
//! Counts allocations of this thread with a counting allocator around the system's.

#![allow(unsafe_code)] // a global allocator cannot be had without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Deciding, Effect, Event};
use pointsman_core::exchange::life::Life;
use pointsman_core::fixture::pool;
use pointsman_core::model::headers::Headers;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::time::Tick;
use pointsman_serve::record::ring::{Facts, Ring};
use serde_json::json;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a plain thread-local.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_warm_decision_allocates_nothing() {
    for name in NAMES {
        let written = preset(name).expect("the preset exists");
        for rows in [2, 100, 1_000] {
            check(name, &written, Generation::G1, rows);
        }
    }
}

/// Plugins that see headers, remember picks, count tokens and look at what engines report.
#[test]
fn a_warm_decision_with_everything_allocates_nothing() {
    let by_id = json!({"strategy": "session_id", "sessionIdConfig": {"sources": [{"attribute": "SessionID"}]}});
    let utilization = json!({"conditions": [{"metric": "waiting-queue", "maxValue": 9}]});
    let attribute = json!({"attributeKey": "gpu", "algorithm": {"type": "linear_lower_is_better"}});
    let written = json!({"plugins": [
        {"type": "session-id-producer", "parameters": {"cookieName": "sid"}},
        {"type": "utilization-filter", "parameters": utilization},
        {"type": "prefix-cache-affinity-filter", "parameters": {"explorationProbability": 0.5}},
        {"type": "session-affinity-scorer", "parameters": by_id},
        {"name": "by-token", "type": "session-affinity-scorer"},
        {"type": "lora-affinity-scorer"},
        {"type": "no-hit-lru-scorer"},
        {"type": "token-load-scorer"},
        {"type": "context-length-aware"},
        {"type": "endpoint-attribute-scorer", "parameters": attribute},
        {"type": "header-label-affinity-scorer", "parameters": {"headerName": "x-a", "labelKey": "a"}},
    ]});
    let written = serde_json::from_value(written).expect("the configuration is well formed");
    for rows in [2, 100, 1_000] {
        check("everything", &written, Generation::G2, rows);
    }
}

#[track_caller]
fn check(name: &str, written: &Written, generation: Generation, rows: usize) {
    let registry = Registry::new(pointsman_plugins::ALL);
    let resolved = resolve(written, &Basis::new(&registry, generation, name));
    let plan = Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan);
    let line = |n: usize| {
        format!(
            "e{n} inFlight={} llm-d.ai/kv-backend=nvlink a=1 loraRunning=x,model loraMost=2 attr.gpu=0.{n}",
            n % 3
        )
    };
    let pool = pool(&(0..rows).map(line).collect::<Vec<_>>().join("\n"));
    let (mut table, mut ring) = (Table::default(), Ring::new(1 << 20));
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
    let prompt = text.as_bytes();
    // base64 of "e1".
    let headers: &[(&str, &str)] = &[
        ("cookie", "theme=dark; sid=one"),
        ("x-session-token", "ZTE="),
        ("x-a", "1"),
    ];
    let request = InferenceRequest {
        id: "id",
        model: "model",
        prompt: Some(Prompt(&prompt)),
        prompt_bytes: 200,
        headers: Headers::of(&headers),
        ..Default::default()
    };
    let mut one = |seed: u64| {
        let mut life = Life::begin(Tick(seed));
        let deciding = Deciding {
            plan: &plan,
            snapshot: &pool.snapshot,
            slots: &pool.slots,
            request: &request,
            table: &mut table,
            seed,
        };
        let effect = life.on(Event::Ready(deciding), Tick(seed));
        assert!(matches!(effect, Effect::Forward { .. }));
        let facts = Facts {
            request_id: "5f0c5b2e-7d0d-4d0e-9a77-3a3f1d1c9b10",
            model: "model",
            at_unix_ns: seed,
            prompt_bytes: 200,
            queue_ns: 0,
            pick_ns: 1,
            door: "test",
            pd: None,
        };
        let record = ring
            .record(&facts, &plan, &pool.snapshot, &table)
            .expect("the record fits");
        life.on(Event::Head { status: 200 }, Tick(seed + 1));
        if let Effect::Note(outcome) = life.on(Event::End { usage: None }, Tick(seed + 2)) {
            ring.finish(record, outcome, Some("cmpl-1"));
        }
    };
    // Warm: scratch has its size and the ring has gone round.
    (0..2_000).for_each(&mut one);
    let count = allocations(|| (0..1_000).for_each(&mut one));
    assert_eq!(count, 0, "{name}, {rows} endpoints");
}
