//! Simulated requests per second of 16 engines in virtual time, picked in turn.
//!
//! 512-token prompts given as 32 block hashes, 64 output tokens, Poisson arrivals at 70 % of the
//! capacity. Run with `cargo bench -p pointsman-sim --bench engine`; the figure is elements per second.
#![allow(missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pointsman_core::rng::Rng;
use pointsman_core::time::{Span, Tick};
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::front::Engine;
use pointsman_sim::engine::preset::Preset;
use pointsman_sim::engine::request::{EngineRequest, EventKind};

const ENGINES: usize = 16;
const REQUESTS: u64 = 20_000;

/// Engines, their arrivals and the clock.
struct Fleet {
    engines: Vec<Engine>,
    now: Tick,
    rng: Rng,
    key: u64,
    gap_s: f64,
}

impl Fleet {
    fn new(jitter: f64, rate_per_engine: f64) -> Self {
        let preset = Preset::by_name("roofline-8b-h100").expect("a known preset");
        let timing = Timing::Roofline(preset.roofline.clone().expect("a roofline preset"));
        let config = EngineConfig {
            jitter,
            ..EngineConfig::new(timing, preset.kv_bytes, preset.kv_blocks(16))
        };
        Self {
            engines: (0..ENGINES)
                .map(|seed| Engine::new(config.clone(), seed as u64))
                .collect(),
            now: Tick(0),
            rng: Rng::from_seed(1),
            key: 0,
            gap_s: 1.0 / (rate_per_engine * ENGINES as f64),
        }
    }

    /// Runs until `requests` more have been submitted; returns how many have ended meanwhile.
    fn run(&mut self, requests: u64) -> u64 {
        let mut events = Vec::with_capacity(1024);
        let mut blocks = [0; 32];
        let mut ended = 0;
        for _ in 0..requests {
            let gap = -libm::log(1.0 - self.rng.unit()) * self.gap_s;
            self.now = self.now + Span::from_secs_f64(gap);
            loop {
                let due = self
                    .engines
                    .iter()
                    .enumerate()
                    .filter_map(|(at, e)| Some((e.next_event()?, at)))
                    .min();
                let Some((at, engine)) = due.filter(|&(at, _)| at <= self.now) else {
                    break;
                };
                self.engines[engine].advance(at, &mut events);
                ended += events
                    .drain(..)
                    .filter(|e| matches!(e.kind, EventKind::Finished(_)))
                    .count() as u64;
            }
            self.key += 1;
            for (index, block) in blocks.iter_mut().enumerate() {
                *block = (self.key << 8) | index as u64;
            }
            let request = EngineRequest {
                key: self.key,
                prompt_tokens: 512,
                blocks: &blocks,
                output_tokens: 64,
                observed: false,
                remote: None,
            };
            let engine = (self.key % ENGINES as u64) as usize;
            let taken = self.engines[engine].submit(self.now, &request, &mut events);
            assert!(taken.is_ok());
        }
        ended
    }
}

/// Requests per second that one engine can serve, from an overloaded run.
fn capacity() -> f64 {
    let mut fleet = Fleet::new(0.0, 400.0);
    fleet.run(60_000);
    let before = fleet.now;
    let ended = fleet.run(60_000) as f64;
    ended / fleet.now.since(before).as_secs_f64() / ENGINES as f64
}

fn engines(c: &mut Criterion) {
    let capacity = capacity();
    println!("capacity of one engine: {capacity:.1} requests/s");
    let mut group = c.benchmark_group("fleet of 16 engines, round robin, 70 % load");
    group
        .throughput(Throughput::Elements(REQUESTS))
        .sample_size(20);
    for (name, jitter) in [("deterministic", 0.0), ("jitter 3 %", 0.03)] {
        let mut fleet = Fleet::new(jitter, 0.7 * capacity);
        fleet.run(200_000);
        let gauges = fleet.engines[0].gauges(fleet.now);
        println!(
            "{name}: running {}, waiting {}, cached {}",
            gauges.running, gauges.waiting, gauges.cached_blocks
        );
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| fleet.run(REQUESTS), BatchSize::PerIteration)
        });
    }
    group.finish();
}

criterion_group!(benches, engines);
criterion_main!(benches);
