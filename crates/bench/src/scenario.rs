//! The three loads of the lab as plans: steady, throughput and sweep.

use std::sync::Arc;
use std::time::Duration;

use crate::load::{Pacing, Plan, Random};

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request after another, or evenly at a rate.
    Steady,
    /// As many at once as each level says.
    Throughput,
    /// Irregular arrivals: bursts between calm stretches, or as a trace tells.
    Sweep,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Throughput => "throughput",
            Self::Sweep => "sweep",
        }
    }
}

/// One run to be made.
#[derive(Debug, Clone)]
pub struct Level {
    /// The scenario's name.
    pub scenario: String,
    /// Requests in flight, in a closed loop.
    pub concurrency: Option<usize>,
    /// Requests per second, in an open one.
    pub rate: Option<f64>,
    /// What to do.
    pub plan: Plan,
}

/// What shapes a scenario beside its plan.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Requests in flight, a run for each.
    pub concurrency: Vec<usize>,
    /// Requests per second of an open loop; on average, for a sweep.
    pub rate: Option<f64>,
    /// Connections of an open loop at most.
    pub connections: usize,
    /// When requests start, as a trace tells.
    pub arrivals: Option<Arc<[Duration]>>,
}

/// Requests per second of a sweep for which no rate is given.
const SWEEP_RATE: f64 = 20.0;

/// The runs of a scenario, from a plan whose pacing is still open.
#[must_use]
pub fn levels(name: &str, kind: Kind, shape: &Shape, plan: &Plan) -> Vec<Level> {
    let level = |concurrency, rate, pacing| Level {
        scenario: name.to_owned(),
        concurrency,
        rate,
        plan: Plan {
            pacing,
            ..plan.clone()
        },
    };
    let connections = shape.connections;
    match (kind, shape.rate) {
        (Kind::Sweep, rate) => {
            let at = match &shape.arrivals {
                Some(at) => at.clone(),
                None => bursts(
                    rate.unwrap_or(SWEEP_RATE),
                    plan.warmup + plan.window,
                    plan.seed,
                )
                .into(),
            };
            let rate = match &shape.arrivals {
                Some(_) => rate,
                None => Some(rate.unwrap_or(SWEEP_RATE)),
            };
            vec![level(None, rate, Pacing::Arrivals { at, connections })]
        }
        (_, Some(rate)) => vec![level(None, Some(rate), Pacing::Open { rate, connections })],
        (Kind::Steady, None) => vec![level(Some(1), None, Pacing::Closed { connections: 1 })],
        (Kind::Throughput, None) => shape
            .concurrency
            .iter()
            .map(|n| level(Some(*n), None, Pacing::Closed { connections: *n }))
            .collect(),
    }
}

/// Stretches of time, in each of which most requests come in one burst.
const STRETCH: Duration = Duration::from_secs(5);
/// The share of a stretch's requests that come in its burst, and the share of its time that the burst lasts.
const IN_BURST: f64 = 0.8;
const BURST: f64 = 0.2;

/// Irregular arrivals over `span`, `rate` a second on average, from a seed.
#[must_use]
pub fn bursts(rate: f64, span: Duration, seed: u64) -> Vec<Duration> {
    let mut random = Random(seed);
    let total = span.as_secs_f64();
    let mut at = Vec::new();
    let mut begin = 0.0;
    // What is left over of a request is carried on, so that slow rates keep their average.
    let mut due = 0.0;
    while begin < total {
        let long = STRETCH.as_secs_f64().min(total - begin);
        let burst = begin + random.part() * long * (1.0 - BURST);
        due += rate * long;
        while due >= 1.0 {
            due -= 1.0;
            let second = if random.part() < IN_BURST {
                burst + random.part() * long * BURST
            } else {
                begin + random.part() * long
            };
            at.push(Duration::from_secs_f64(second));
        }
        begin += STRETCH.as_secs_f64();
    }
    at.sort_unstable();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_keep_their_rate_and_their_seed() {
        let span = Duration::from_secs(20);
        let at = bursts(50.0, span, 7);
        assert_eq!(at.len(), 1000);
        assert_eq!(at, bursts(50.0, span, 7));
        assert_ne!(at, bursts(50.0, span, 8));
        assert!(at.is_sorted() && at.iter().all(|at| *at <= span));
        // Most come close together: the fullest second of a stretch holds more than twice its even share.
        let fullest = (0..20)
            .map(|s| at.iter().filter(|at| at.as_secs() == s).count())
            .max();
        assert!(fullest > Some(100), "{fullest:?}");
    }

    #[test]
    fn each_kind_has_its_runs() {
        let shape = |rate| Shape {
            concurrency: vec![1, 8],
            rate,
            connections: 64,
            arrivals: None,
        };
        let pacing = Pacing::Closed { connections: 1 };
        let plan = Plan::new(([127, 0, 0, 1], 1).into(), pacing, Duration::from_secs(2));
        let of = |kind, rate| levels("x", kind, &shape(rate), &plan);
        let told = |levels: Vec<Level>| -> Vec<_> {
            levels.iter().map(|l| (l.concurrency, l.rate)).collect()
        };
        assert_eq!(told(of(Kind::Steady, None)), [(Some(1), None)]);
        assert_eq!(
            told(of(Kind::Throughput, None)),
            [(Some(1), None), (Some(8), None)]
        );
        assert_eq!(told(of(Kind::Steady, Some(5.0))), [(None, Some(5.0))]);
        assert_eq!(told(of(Kind::Sweep, None)), [(None, Some(SWEEP_RATE))]);
    }
}
