//! How many requests of one shape per second one engine can serve: what a load of 100 % means for a workload.
//!
//! Measured, not derived: an engine of this configuration, without jitter, is given eight times as many
//! requests as it can run at once; the rate is taken over the middle of the run, when it is full and its
//! requests are out of step with each other. Deterministic; costs a few thousand simulated requests. For
//! traces see [`crate::fleet::scenario::Scenario::capacity`].

use pointsman_core::time::Tick;

use crate::engine::block_hash::hash_ids;
use crate::engine::config::EngineConfig;
use crate::engine::front::Engine;
use crate::engine::request::{EngineRequest, EventKind};
use crate::fleet::workload::{Stream, Workload};

/// Waves of `max_running` requests; the first three and the last one do not count.
const WAVES: u64 = 8;

/// Requests of the shape of `workload` that one such engine serves per second; 0 if it refuses them.
pub fn capacity(engine: &EngineConfig, workload: &Workload) -> f64 {
    let mut engine = Engine::new(
        EngineConfig {
            jitter: 0.0,
            max_waiting: u32::MAX,
            ..engine.clone()
        },
        0,
    );
    let (mut stream, mut told) = (Stream::new(0), Vec::new());
    let (mut ids, mut blocks) = (Vec::new(), Vec::new());
    let wave = u64::from(engine.config().max_running);
    for key in 0..WAVES * wave {
        stream.prompt(workload, engine.config().block_size, &mut ids);
        blocks.clear();
        hash_ids(&ids, &mut blocks);
        let request = EngineRequest {
            key,
            prompt_tokens: workload.prompt_tokens,
            blocks: &blocks,
            output_tokens: workload.output_tokens,
            observed: false,
            remote: None,
        };
        if engine.submit(Tick(0), &request, &mut told).is_err() {
            return 0.0;
        }
    }
    rate_between(&mut engine, 3 * wave, (WAVES - 1) * wave)
}

/// Requests that end per second of virtual time, from the ending number `from` to the ending number `to`.
fn rate_between(engine: &mut Engine, from: u64, to: u64) -> f64 {
    let (mut finished, mut began, mut told) = (0, Tick(0), Vec::new());
    while let Some(at) = engine.next_event() {
        engine.advance(at, &mut told);
        let ended = |kind| matches!(kind, EventKind::Finished(_));
        finished += told.drain(..).filter(|event| ended(event.kind)).count() as u64;
        if finished < from {
            began = at;
        } else if finished >= to && at > began {
            return (finished - from) as f64 / at.since(began).as_secs_f64();
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Timing;
    use crate::engine::preset::Preset;

    #[test]
    fn a_faster_engine_has_more_and_an_impossible_request_has_none() {
        let preset = Preset::by_name("roofline-8b-h100").expect("a known preset");
        let timing = Timing::Roofline(preset.roofline.clone().expect("a roofline preset"));
        let config = EngineConfig::new(timing, preset.kv_bytes, preset.kv_blocks(16));
        let workload = Workload::new(1, 1.0);
        let one = capacity(&config, &workload);
        assert!((20.0..200.0).contains(&one), "{one}");
        let twice = EngineConfig {
            speed: 2.0,
            ..config.clone()
        };
        let ratio = capacity(&twice, &workload) / one;
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        let tiny = EngineConfig {
            kv_blocks: 8,
            ..config
        };
        assert!(capacity(&tiny, &workload).abs() < f64::EPSILON);
    }
}
