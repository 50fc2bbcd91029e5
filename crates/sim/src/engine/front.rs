//! One face for the two kinds of engine.

use pointsman_core::time::Tick;

use crate::engine::config::{EngineConfig, Timing};
use crate::engine::independent::Independent;
use crate::engine::request::{
    Counters, EngineEvent, EngineRequest, Gauges, Refusal, RequestHandle,
};
use crate::engine::step_loop::StepLoop;

/// One simulated model server's engine, in virtual time.
///
/// The caller owns the clock: it calls [`Self::submit`] and [`Self::abort`] when things happen and
/// [`Self::advance`] at [`Self::next_event`] (or later: events carry their own time). Times must not go
/// back. Every accepted request ends in exactly one [`Finished`](crate::engine::request::EventKind),
/// unless it is aborted. A clone goes on as the original would: its past and its chance are copied.
#[derive(Clone, Debug)]
pub enum Engine {
    /// Continuous batching over a roofline.
    StepLoop(Box<StepLoop>),
    /// The reference simulator's independent sleeps.
    Independent(Box<Independent>),
}

impl Engine {
    /// An idle engine; equal configurations and seeds behave equally.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        match config.timing.clone() {
            Timing::Roofline(roofline) => {
                Self::StepLoop(Box::new(StepLoop::new(config, roofline, seed)))
            }
            Timing::Reference(timing) => {
                Self::Independent(Box::new(Independent::new(config, timing, seed)))
            }
        }
    }

    /// Takes a request in at `now`, after everything that happened until then (told in `out`).
    pub fn submit(
        &mut self,
        now: Tick,
        request: &EngineRequest<'_>,
        out: &mut Vec<EngineEvent>,
    ) -> Result<RequestHandle, Refusal> {
        match self {
            Self::StepLoop(engine) => engine.submit(now, request, out),
            Self::Independent(engine) => engine.submit(now, request, out),
        }
    }

    /// When something happens next if nothing is submitted; `None` while idle.
    pub fn next_event(&self) -> Option<Tick> {
        match self {
            Self::StepLoop(engine) => engine.next_event(),
            Self::Independent(engine) => engine.next_event(),
        }
    }

    /// Lets time pass until `now` and appends what happened to `out`, in order of time.
    pub fn advance(&mut self, now: Tick, out: &mut Vec<EngineEvent>) {
        match self {
            Self::StepLoop(engine) => engine.advance(now, out),
            Self::Independent(engine) => engine.advance(now, out),
        }
    }

    /// Drops a request; nothing more will be said of it. False if it has already ended.
    pub fn abort(&mut self, now: Tick, handle: RequestHandle, out: &mut Vec<EngineEvent>) -> bool {
        match self {
            Self::StepLoop(engine) => engine.abort(now, handle, out),
            Self::Independent(engine) => engine.abort(now, handle, out),
        }
    }

    /// Multiplies all step times from now on (1 = as modelled).
    pub fn set_slow(&mut self, now: Tick, factor: f64, out: &mut Vec<EngineEvent>) {
        match self {
            Self::StepLoop(engine) => engine.set_slow(now, factor, out),
            Self::Independent(engine) => engine.set_slow(factor),
        }
    }

    /// Changes how fast the simulation runs.
    pub fn set_speed(&mut self, now: Tick, speed: f64, out: &mut Vec<EngineEvent>) {
        match self {
            Self::StepLoop(engine) => engine.set_speed(now, speed, out),
            Self::Independent(engine) => engine.set_speed(speed),
        }
    }

    /// Changes the most requests that run at once; running ones stay.
    pub fn set_max_running(&mut self, now: Tick, max_running: u32, out: &mut Vec<EngineEvent>) {
        match self {
            Self::StepLoop(engine) => engine.set_max_running(now, max_running, out),
            Self::Independent(engine) => engine.set_max_running(now, max_running),
        }
    }

    /// Forgets cached prefixes that no running request uses; true when none is left.
    pub fn reset_prefix_cache(&mut self) -> bool {
        match self {
            Self::StepLoop(engine) => engine.reset_prefix_cache(),
            Self::Independent(engine) => engine.reset_prefix_cache(),
        }
    }

    /// How loaded the engine is at `now`.
    pub fn gauges(&self, now: Tick) -> Gauges {
        match self {
            Self::StepLoop(engine) => engine.gauges(now),
            Self::Independent(engine) => engine.gauges(),
        }
    }

    /// What the engine has done.
    pub fn counters(&self) -> Counters {
        match self {
            Self::StepLoop(engine) => engine.counters(),
            Self::Independent(engine) => engine.counters(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &EngineConfig {
        match self {
            Self::StepLoop(engine) => engine.config(),
            Self::Independent(engine) => engine.config(),
        }
    }
}
