//! What a run of load adds up, and the figures it leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::answer::Answer;
use crate::load::record::{Record, Records};

/// Quantiles of a time, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50: f64,
    /// 90 of 100 were faster.
    pub p90: f64,
    /// 95 of 100 were faster.
    pub p95: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The mean.
    pub mean: f64,
    /// The slowest.
    pub max: f64,
}

/// The figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Whole answers with status 200 that ended inside the window.
    pub answers: u64,
    /// `answers` per second.
    pub rate: f64,
    /// Tokens of good answers that arrived inside the window; those of an answer that came whole, when it ended.
    pub tokens: u64,
    /// Answers with status 200 whose stream did not end in `[DONE]`, in the whole run.
    pub incomplete: u64,
    /// Requests without an answer when the run was over.
    pub unfinished: usize,
    /// Failures in the whole run, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Reads that brought part of a body, per token of a stream: 1 when tokens are passed on one by one.
    pub reads_per_token: f64,
    /// From the start to the first byte of the body.
    pub ttft: Quantiles,
    /// From the start to the end of the answer.
    pub total: Quantiles,
    /// Between two tokens of a stream.
    pub itl: Quantiles,
    /// From the first byte to the end of an answer, per token behind the first.
    pub tpot: Quantiles,
    /// Answers in the window by who said to have given them: a header of the answer, else the pair in its id.
    pub per_endpoint: BTreeMap<String, u64>,
    /// What the first failure of each kind said, where it said anything.
    pub said: BTreeMap<String, String>,
    /// Answers one by one, thinned out when there are very many.
    #[serde(skip)]
    pub records: Vec<Record>,
    /// Cumulated shares of the times to the first byte, in microseconds.
    #[serde(skip)]
    pub ttft_curve: Vec<(f64, f64)>,
    /// The same of whole answers.
    #[serde(skip)]
    pub total_curve: Vec<(f64, f64)>,
}

impl Outcome {
    /// Answers that failed in any way, in the whole run.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.incomplete + self.unfinished as u64
    }
}

/// Sums while the run goes on.
pub(crate) struct Tally {
    open: bool,
    window: Duration,
    answers: u64,
    tokens: u64,
    reads: u64,
    incomplete: u64,
    errors: BTreeMap<String, u64>,
    endpoints: Vec<(Vec<u8>, u64)>,
    ttft: Histogram<u64>,
    total: Histogram<u64>,
    itl: Histogram<u64>,
    tpot: Histogram<u64>,
    said: BTreeMap<String, String>,
    records: Records,
    begin: Instant,
}

impl Tally {
    /// Sums of a run whose window begins at `begin`.
    pub(crate) fn new(begin: Instant) -> Self {
        Self {
            open: false,
            window: Duration::ZERO,
            answers: 0,
            tokens: 0,
            reads: 0,
            incomplete: 0,
            errors: BTreeMap::new(),
            endpoints: Vec::new(),
            ttft: histogram(),
            total: histogram(),
            itl: histogram(),
            tpot: histogram(),
            said: BTreeMap::new(),
            records: Records::default(),
            begin,
        }
    }

    /// The window begins.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// The window is over and was `window` long.
    pub(crate) fn close(&mut self, window: Duration) {
        self.open = false;
        self.window = window;
    }

    /// Whether the window goes on.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// An answer has ended; its times count when `counted`.
    pub(crate) fn answered(&mut self, start: Instant, counted: bool, answer: &Answer) {
        if answer.status != 200 {
            let kind = format!("http {}", answer.status);
            let words = String::from_utf8_lossy(&answer.beginning).trim().to_owned();
            self.said.entry(kind.clone()).or_insert(words);
            self.failed(&kind);
            return;
        }
        if answer.told_error {
            self.failed("error in the stream");
            return;
        }
        if !answer.complete {
            self.incomplete += 1;
            return;
        }
        self.tokens += answer.tokens.counted(self.open);
        self.reads += answer.tokens.reads;
        for (gap, tokens) in &answer.tokens.gaps {
            self.itl.saturating_record_n(nanos(*gap) / tokens, *tokens);
        }
        if counted {
            let times = [
                (&mut self.ttft, answer.first),
                (&mut self.total, answer.last),
            ];
            for (histogram, at) in times {
                histogram.saturating_record(nanos(at.saturating_duration_since(start)));
            }
            let lasted = answer.last.saturating_duration_since(answer.first);
            let tokens = answer.tokens.count();
            if answer.streamed && tokens > 1 {
                self.tpot.saturating_record(nanos(lasted) / (tokens - 1));
            }
            let since =
                |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
            self.records.push(Record {
                at_s: since(self.begin, start),
                ttft_ms: since(start, answer.first) * 1e3,
                total_ms: since(start, answer.last) * 1e3,
            });
        }
        if self.open {
            self.answers += 1;
            let name = answer.origin();
            match self.endpoints.iter_mut().find(|(known, _)| known == name) {
                Some((_, count)) => *count += 1,
                None => self.endpoints.push((name.to_vec(), 1)),
            }
        }
    }

    /// A request failed.
    pub(crate) fn failed(&mut self, kind: &str) {
        *self.errors.entry(kind.to_owned()).or_default() += 1;
    }

    /// The figures.
    pub(crate) fn outcome(&self, unfinished: usize) -> Outcome {
        let seconds = self.window.as_secs_f64();
        Outcome {
            seconds,
            answers: self.answers,
            rate: self.answers as f64 / seconds.max(f64::MIN_POSITIVE),
            tokens: self.tokens,
            incomplete: self.incomplete,
            unfinished,
            errors: self.errors.clone(),
            reads_per_token: self.reads as f64 / self.tokens.max(1) as f64,
            ttft: quantiles(&self.ttft),
            total: quantiles(&self.total),
            itl: quantiles(&self.itl),
            tpot: quantiles(&self.tpot),
            said: self.said.clone(),
            records: self.records.list(),
            ttft_curve: curve(&self.ttft),
            total_curve: curve(&self.total),
            per_endpoint: self
                .endpoints
                .iter()
                .map(|(name, count)| (String::from_utf8_lossy(name).into_owned(), *count))
                .collect(),
        }
    }
}

/// Nanoseconds up to a minute, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are constant and valid")
}

/// Microseconds and the share of values up to them, finer towards the slow end.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let steps = (0..=20).map(|n| f64::from(n) * 0.05);
    let tail = [0.96, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0];
    let mut shares: Vec<f64> = steps.take(20).chain(tail).collect();
    shares.dedup();
    let at = |share: f64| (histogram.value_at_quantile(share) as f64 / 1e3, share);
    shares.into_iter().map(at).collect()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    if histogram.is_empty() {
        return Quantiles::default();
    }
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Quantiles {
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        mean: histogram.mean() / 1e3,
        max: histogram.max() as f64 / 1e3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::answer::Tokens;

    #[test]
    fn quantiles_are_microseconds() {
        let mut times = histogram();
        for micros in 1..=1000u64 {
            times.saturating_record(micros * 1000);
        }
        let found = quantiles(&times);
        for (found, expected) in [
            (found.p50, 500.0),
            (found.p90, 900.0),
            (found.p99, 990.0),
            (found.mean, 500.5),
            (found.max, 1000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} {expected}");
        }
        assert_eq!(found.count, 1000);
        assert_eq!(quantiles(&histogram()), Quantiles::default());
    }

    #[test]
    fn only_the_window_counts() {
        let now = Instant::now();
        // A good answer brings two tokens in the window, a bad one many.
        let tokens = |good: bool| {
            let mut tokens = Tokens::default();
            let many = if good { 1 } else { 50 };
            tokens.arrived(many, now, true);
            tokens.arrived(many, now + Duration::from_micros(4), true);
            tokens
        };
        let answer = |status, complete| Answer {
            status,
            complete,
            close: false,
            endpoint: b"m0".to_vec(),
            beginning: b"{\"id\":\"x\"}".to_vec(),
            told_error: false,
            streamed: true,
            tokens: tokens(status == 200 && complete),
            first: now + Duration::from_micros(10),
            last: now + Duration::from_micros(20),
        };
        let mut tally = Tally::new(now);
        tally.answered(now, false, &answer(200, true));
        tally.open();
        tally.answered(now, true, &answer(200, true));
        tally.answered(now, true, &answer(503, true));
        tally.answered(now, true, &answer(200, false));
        tally.close(Duration::from_secs(2));
        tally.answered(now, true, &answer(200, true));
        let outcome = tally.outcome(1);
        assert_eq!((outcome.answers, outcome.tokens), (1, 6));
        assert_eq!((outcome.ttft.count, outcome.itl.count), (2, 3));
        assert_eq!(outcome.incomplete, 1);
        assert_eq!(outcome.errors["http 503"], 1);
        assert_eq!(outcome.failures(), 3);
        assert!((outcome.rate - 0.5).abs() < 1e-9);
        assert_eq!(outcome.per_endpoint["m0"], 1);
    }
}
