//! The engine in virtual time: nothing is lost, jumping equals stepping, load shows where it should.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use pointsman_core::rng::Rng;
use pointsman_core::time::{Span, Tick};
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::front::Engine;
use pointsman_sim::engine::preset::Preset;
use pointsman_sim::engine::request::{EngineEvent, EngineRequest, EventKind, Refusal, Summary};
use pointsman_sim::engine::transfer::TransferModel;
use proptest::prelude::*;

fn config(preset: &str) -> EngineConfig {
    let preset = Preset::by_name(preset).unwrap();
    let timing = match (preset.roofline.clone(), preset.reference.clone()) {
        (Some(roofline), _) => Timing::Roofline(roofline),
        (None, reference) => Timing::Reference(reference.unwrap()),
    };
    EngineConfig::new(timing, preset.kv_bytes, preset.kv_blocks(16))
}

#[derive(Clone, Debug)]
struct Arrival {
    at: Tick,
    prompt: u32,
    blocks: Vec<u64>,
    output: u32,
    observed: bool,
    remote: Option<u32>,
    abort_at: Option<Tick>,
}

fn arrival(at_ms: u64, prompt: u32, output: u32) -> Arrival {
    let at = Tick(at_ms * 1_000_000);
    Arrival {
        at,
        prompt,
        blocks: Vec::new(),
        output,
        observed: false,
        remote: None,
        abort_at: None,
    }
}

fn prefix(family: u64, blocks: u64) -> Vec<u64> {
    (0..blocks).map(|i| (family << 32) | i).collect()
}

/// What a run gave: the summaries by key, all events, the engine.
struct Run {
    ended: HashMap<u64, Summary>,
    events: Vec<EngineEvent>,
    engine: Engine,
    aborted: u64,
}

impl Run {
    fn ttft_ms(&self, key: u64) -> f64 {
        let s = &self.ended[&key];
        s.first_token.since(s.arrived).as_millis_f64()
    }

    fn itl_ms(&self, key: u64) -> f64 {
        let s = &self.ended[&key];
        s.finished.since(s.first_token).as_millis_f64() / f64::from(s.output_tokens - 1)
    }
}

fn run(config: EngineConfig, arrivals: &[Arrival], seed: u64) -> Run {
    let mut engine = Engine::new(config, seed);
    let mut events = Vec::new();
    let mut handles = HashMap::new();
    let mut todo: Vec<(Tick, usize, bool)> = arrivals
        .iter()
        .enumerate()
        .flat_map(|(key, a)| {
            [
                Some((a.at, key, false)),
                a.abort_at.map(|at| (at.max(a.at), key, true)),
            ]
        })
        .flatten()
        .collect();
    todo.sort_by_key(|&(at, key, abort)| (at, abort, key));
    let mut aborted = 0;
    for (at, key, abort) in todo {
        // Some drivers come back at every event and some only when they have something to say.
        while let Some(next) = engine
            .next_event()
            .filter(|&next| next < at && key % 2 == 0)
        {
            engine.advance(next, &mut events);
        }
        if abort {
            if let Some(&handle) = handles.get(&key) {
                aborted += u64::from(engine.abort(at, handle, &mut events));
            }
            continue;
        }
        let a = &arrivals[key];
        let request = EngineRequest {
            key: key as u64,
            prompt_tokens: a.prompt,
            blocks: &a.blocks,
            output_tokens: a.output,
            observed: a.observed,
            remote: a.remote,
        };
        match engine.submit(at, &request, &mut events) {
            Ok(handle) => drop(handles.insert(key, handle)),
            Err(Refusal::NeverFits { .. }) => {}
            Err(refusal) => panic!("{refusal}"),
        }
        let gauges = engine.gauges(at);
        assert!(
            gauges.used_blocks + gauges.cached_blocks <= gauges.total_blocks,
            "{gauges:?}"
        );
    }
    while let Some(next) = engine.next_event() {
        engine.advance(next, &mut events);
    }
    assert!(
        events.is_sorted_by_key(|e| e.at),
        "events come in order of time"
    );
    let mut ended = HashMap::new();
    for event in &events {
        if let EventKind::Finished(summary) = event.kind {
            assert!(
                ended.insert(event.key, summary).is_none(),
                "request {} ended twice",
                event.key
            );
        }
    }
    assert_eq!(
        ended.len() as u64 + aborted,
        handles.len() as u64,
        "every request ends once"
    );
    let gauges = engine.gauges(Tick(u64::MAX >> 9));
    assert_eq!(
        (gauges.running, gauges.waiting, gauges.used_blocks),
        (0, 0, 0),
        "nothing is left behind"
    );
    Run {
        ended,
        events,
        engine,
        aborted,
    }
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (
        0u64..400,
        1u32..700,
        1u32..60,
        0u64..4,
        any::<bool>(),
        0u32..8,
        proptest::option::of(0u64..900),
    );
    proptest::collection::vec(one, 1..50).prop_map(|list| {
        list.into_iter()
            .map(
                |(at, prompt, output, family, observed, remote, abort)| Arrival {
                    blocks: prefix(family, u64::from(prompt / 16)),
                    observed,
                    remote: (remote < 2).then_some(remote),
                    // Few are aborted, and some after their end.
                    abort_at: abort
                        .filter(|ms| ms % 5 == 0)
                        .map(|ms| Tick((at + ms) * 1_000_000 + 77)),
                    ..arrival(at, prompt, output)
                },
            )
            .collect()
    })
}

/// Small enough that blocks run out and requests are preempted.
fn tight(blocks: u32, max_running: u32, budget: u32) -> EngineConfig {
    EngineConfig {
        kv_blocks: blocks,
        max_running,
        token_budget: budget,
        transfer: TransferModel::by_name("fs").unwrap(),
        ..config("roofline-8b-h100")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn jumping_and_stepping_agree(list in arrivals(), blocks in 48u32..200, seats in 1u32..20, budget in 64u32..600) {
        let jump = tight(blocks, seats, budget);
        let step = EngineConfig { stepwise: true, ..jump.clone() };
        let (jumped, stepped) = (run(jump, &list, 1), run(step, &list, 1));
        prop_assert_eq!(&jumped.ended, &stepped.ended);
        prop_assert_eq!(jumped.engine.counters(), stepped.engine.counters());
        prop_assert_eq!(jumped.aborted, stepped.aborted);
    }

    #[test]
    fn watching_changes_nothing(list in arrivals(), blocks in 48u32..200) {
        let blind: Vec<_> = list.iter().cloned().map(|a| Arrival { observed: false, ..a }).collect();
        let (watched, blind) = (run(tight(blocks, 8, 256), &list, 1), run(tight(blocks, 8, 256), &blind, 1));
        prop_assert_eq!(&watched.ended, &blind.ended);
        for (key, summary) in &watched.ended {
            if list[*key as usize].observed {
                let told = watched.events.iter().filter(|e| e.key == *key).filter_map(|e| match e.kind {
                    EventKind::FirstToken => Some(1),
                    EventKind::Token(n) => Some(n),
                    EventKind::Finished(_) => None,
                });
                prop_assert!(told.eq(1..=summary.output_tokens), "tokens of {key} in order and each once");
            }
        }
    }

    #[test]
    fn nothing_is_lost_with_jitter_either(list in arrivals(), blocks in 48u32..120, chunked in any::<bool>(), seed in 0u64..9) {
        let noisy = EngineConfig { jitter: 0.03, chunked_prefill: chunked, ..tight(blocks, 6, 128) };
        let (a, b) = (run(noisy.clone(), &list, seed), run(noisy, &list, seed));
        prop_assert_eq!(a.events, b.events);
    }

    #[test]
    fn the_reference_model_loses_nothing(list in arrivals(), blocks in 48u32..120) {
        let reference = EngineConfig { kv_blocks: blocks, max_running: 4, ..config("reference-8b-h100") };
        let (a, b) = (run(reference.clone(), &list, 3), run(reference, &list, 3));
        prop_assert_eq!(a.events, b.events);
    }
}

#[test]
fn the_lab_answers_eight_tokens_in_well_under_a_tenth_of_a_second() {
    let run = run(config("lab"), &[arrival(0, 12, 8)], 1);
    let total = millis(run.ended[&0].finished);
    assert!((30.0..100.0).contains(&total), "{total} ms");
}

fn millis(tick: Tick) -> f64 {
    tick.since(Tick(0)).as_millis_f64()
}

#[test]
fn a_prefix_hit_cuts_the_time_to_first_token() {
    let warm = Arrival {
        blocks: prefix(1, 512),
        ..arrival(0, 8192, 2)
    };
    let mut hit = Arrival {
        blocks: prefix(1, 512),
        ..arrival(2000, 8192, 2)
    };
    for block in &mut hit.blocks[461..] {
        *block += 1 << 60;
    }
    let run = run(config("roofline-8b-h100"), &[warm, hit], 1);
    assert_eq!(run.ended[&1].cached_tokens, 461 * 16);
    let (cold, warm) = (run.ttft_ms(0), run.ttft_ms(1));
    assert!(warm < 0.2 * cold, "cold {cold} ms, warm {warm} ms");
}

#[test]
fn without_prefix_caching_nothing_is_reused() {
    let twice: Vec<_> = [0, 500]
        .map(|at| Arrival {
            blocks: prefix(1, 32),
            ..arrival(at, 512, 2)
        })
        .into();
    let run = run(
        EngineConfig {
            prefix_caching: false,
            ..config("roofline-8b-h100")
        },
        &twice,
        1,
    );
    assert_eq!(run.ended[&1].cached_tokens, 0);
    assert!((run.ttft_ms(0) - run.ttft_ms(1)).abs() < 1e-3);
}

#[test]
fn beyond_saturation_the_queue_grows_and_the_token_rate_stays_bounded() {
    let at_rate = |gap_ms: u64| {
        let list: Vec<_> = (0..400).map(|i| arrival(i * gap_ms, 512, 64)).collect();
        let run = run(
            EngineConfig {
                max_running: 64,
                ..config("roofline-8b-h100")
            },
            &list,
            1,
        );
        let late: Vec<u64> = (300..400).collect();
        let mean = |f: &dyn Fn(u64) -> f64| {
            late.iter().map(|&key| f(key)).sum::<f64>() / late.len() as f64
        };
        (mean(&|key| run.ttft_ms(key)), mean(&|key| run.itl_ms(key)))
    };
    let (calm, full, double) = (at_rate(60), at_rate(18), at_rate(9));
    assert!(calm.0 < 100.0, "{calm:?}");
    assert!(
        double.0 > full.0 + 1000.0,
        "doubling the load makes the queue grow: {full:?} {double:?}"
    );
    // At most 64 decodes and one budget of prompt tokens share a step.
    let bound = 300.0;
    assert!(full.1 < bound && double.1 < bound, "{full:?} {double:?}");
}

#[test]
fn a_long_prefill_delays_others_by_one_chunk_per_step() {
    let list = [
        Arrival {
            observed: true,
            ..arrival(0, 64, 200)
        },
        arrival(300, 12_000, 1),
    ];
    let run = run(
        EngineConfig {
            token_budget: 1024,
            ..config("roofline-8b-h100")
        },
        &list,
        1,
    );
    let times: Vec<f64> = run
        .events
        .iter()
        .filter(|e| e.key == 0)
        .map(|e| millis(e.at))
        .collect();
    let worst = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    // 1024 tokens of 32 us, attention over at most 12,000 tokens, and the weights.
    assert!((30.0..60.0).contains(&worst), "{worst} ms");
}

#[test]
fn blocks_that_run_out_preempt_the_youngest_and_it_still_finishes() {
    let list: Vec<_> = (0..4).map(|i| arrival(i, 160, 200)).collect();
    let run = run(tight(60, 8, 512), &list, 1);
    assert!(run.engine.counters().preemptions > 0);
    assert_eq!(
        run.ended[&0].preemptions, 0,
        "the oldest is never the victim"
    );
    assert!(run.ended[&3].preemptions > 0);
    assert!(run.ended.values().all(|s| s.output_tokens == 200));
}

#[test]
fn what_can_never_fit_is_refused_at_the_door() {
    let mut engine = Engine::new(tight(10, 4, 512), 1);
    let mut out = Vec::new();
    let ask = |output| EngineRequest {
        key: 1,
        prompt_tokens: 100,
        blocks: &[],
        output_tokens: output,
        observed: false,
        remote: None,
    };
    assert!(engine.submit(Tick(0), &ask(61), &mut out).is_ok());
    let refusal = engine.submit(Tick(0), &ask(62), &mut out).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::NeverFits {
            needed: 11,
            total: 10
        }
    );
    assert!(refusal.to_string().contains("--kv-cache-size"));
}

#[test]
fn a_full_queue_refuses() {
    let mut engine = Engine::new(
        EngineConfig {
            max_running: 1,
            max_waiting: 2,
            ..config("lab")
        },
        1,
    );
    let ask = EngineRequest {
        key: 1,
        prompt_tokens: 9,
        blocks: &[],
        output_tokens: 9,
        observed: false,
        remote: None,
    };
    let taken = (0..5)
        .filter(|_| engine.submit(Tick(0), &ask, &mut Vec::new()).is_ok())
        .count();
    assert_eq!(taken, 3);
    let gauges = engine.gauges(Tick(0));
    assert_eq!((gauges.running, gauges.waiting), (1, 2));
}

#[test]
fn kv_from_elsewhere_costs_the_transfer_and_one_step_instead_of_the_prefill() {
    let lab = EngineConfig {
        transfer: TransferModel::by_name("fs").unwrap(),
        ..config("lab")
    };
    let local = run(lab.clone(), &[arrival(0, 2000, 4)], 1);
    let moved = run(
        lab.clone(),
        &[Arrival {
            remote: Some(0),
            ..arrival(0, 2000, 4)
        }],
        1,
    );
    let link_ms = lab.transfer.span(1999, lab.kv_bytes).as_millis_f64();
    let step_ms = local.itl_ms(0);
    assert!(
        (moved.ttft_ms(0) - link_ms - step_ms).abs() < 0.5,
        "{} vs {link_ms} + {step_ms}",
        moved.ttft_ms(0)
    );
    assert_eq!(moved.engine.counters().transferred_tokens, 1999);
    let nvlink = EngineConfig {
        transfer: TransferModel::by_name("p2p-nvlink").unwrap(),
        ..config("lab")
    };
    let fast = run(
        nvlink,
        &[Arrival {
            remote: Some(0),
            ..arrival(0, 2000, 4)
        }],
        1,
    );
    assert!(
        fast.ttft_ms(0) < 0.2 * local.ttft_ms(0),
        "{} vs {}",
        fast.ttft_ms(0),
        local.ttft_ms(0)
    );
}

#[test]
fn a_link_carries_one_transfer_at_a_time() {
    let lab = EngineConfig {
        transfer: TransferModel::by_name("fs").unwrap(),
        ..config("lab")
    };
    let pair = |peer: u32| {
        [0, 1].map(|i| Arrival {
            remote: Some(i * peer),
            ..arrival(0, 1000, 1)
        })
    };
    let (one_link, two_links) = (run(lab.clone(), &pair(0), 1), run(lab, &pair(1), 1));
    assert!(one_link.ttft_ms(1) > 1.8 * one_link.ttft_ms(0));
    assert!(two_links.ttft_ms(1) < 1.2 * two_links.ttft_ms(0));
}

#[test]
fn an_engine_made_slow_takes_its_time_and_recovers() {
    let mut engine = Engine::new(config("lab"), 1);
    let mut events = Vec::new();
    let ask = |key| EngineRequest {
        key,
        prompt_tokens: 9,
        blocks: &[],
        output_tokens: 50,
        observed: false,
        remote: None,
    };
    let mut elapsed = |engine: &mut Engine, start: Tick, key| {
        engine.submit(start, &ask(key), &mut events).unwrap();
        let mut last = start;
        while let Some(next) = engine.next_event() {
            engine.advance(next, &mut events);
            last = next;
        }
        last.since(start)
    };
    let normal = elapsed(&mut engine, Tick(0), 1);
    let later = Tick(0) + normal + Span(1);
    engine.set_slow(later, 10.0, &mut Vec::new());
    let slow = elapsed(&mut engine, later, 2);
    let ratio = slow.as_secs_f64() / normal.as_secs_f64();
    assert!((ratio - 10.0).abs() < 0.01, "{ratio}");
    let later = later + slow;
    engine.set_slow(later, 1.0, &mut Vec::new());
    engine.set_speed(later, 2.0, &mut Vec::new());
    let fast = elapsed(&mut engine, later, 3);
    assert!((normal.as_secs_f64() / fast.as_secs_f64() - 2.0).abs() < 0.01);
}

#[test]
fn the_reference_formula_is_the_reference_simulators() {
    let mut reference = config("reference-8b-h100");
    if let Timing::Reference(timing) = &mut reference.timing {
        timing.inter_token_deviation = Span(0);
    }
    reference.max_running = 5;
    let run = run(
        reference,
        &[
            arrival(0, 100, 11),
            arrival(10_000, 100, 11),
            arrival(10_000, 100, 11),
        ],
        1,
    );
    // 30 ms + 100 * 0.25 ms, then 10 tokens of 12 ms; with two of five running 1 + (2 - 1) * 1/4 times that.
    assert!((run.ttft_ms(0) - 55.0).abs() < 1e-6 && (run.itl_ms(0) - 12.0).abs() < 1e-6);
    assert!((run.ttft_ms(2) - 55.0 * 1.25).abs() < 1e-6 && (run.itl_ms(1) - 15.0).abs() < 0.5);
}

#[test]
fn two_seeds_differ_and_one_seed_repeats() {
    let noisy = EngineConfig {
        jitter: 0.03,
        ..config("roofline-8b-h100")
    };
    let mut rng = Rng::from_seed(4);
    let list: Vec<_> = (0..60)
        .map(|i| arrival(i * 20, 100 + rng.below(400) as u32, 32))
        .collect();
    let end = |seed| run(noisy.clone(), &list, seed).ended[&59].finished;
    assert_eq!(end(1), end(1));
    assert_ne!(end(1), end(2));
}
