//! What a proxy has counted since it started, as numbers and as an exposition.
//!
//! Every generation request ends in exactly one [`Outcome`]. A [`Ticket`] stands for a request under way; dropping it without an outcome
//! means that the client left.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::handoff::leg::Mishap;

/// How a generation request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Prefill computed the prompt and decode's answer was passed on whole.
    HandedOff,
    /// Decode computed the prompt itself, and its answer was passed on whole.
    Local,
    /// Refused, by the proxy or by the prefill engine, as the client's fault.
    Rejected,
    /// No engine answered.
    Failed,
    /// Decode broke off after the head of its answer.
    Broken,
    /// The client left before the head of an answer.
    AbortedBefore,
    /// The client left within the answer.
    AbortedWithin,
}

impl Outcome {
    /// All of them, in the order in which they are numbered.
    pub const ALL: [Self; 7] = [
        Self::HandedOff,
        Self::Local,
        Self::Rejected,
        Self::Failed,
        Self::Broken,
        Self::AbortedBefore,
        Self::AbortedWithin,
    ];

    /// The value of the label `outcome`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HandedOff => "handed-off",
            Self::Local => "local",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::AbortedBefore | Self::AbortedWithin => "aborted",
        }
    }
}

/// Counters; each only grows. Shared by the workers of one proxy. All orderings are relaxed: nothing is inferred from one about another.
#[derive(Debug, Default)]
pub struct Tally {
    requests: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    prefill_failures: [AtomicU64; Mishap::ALL.len()],
    fallbacks: [AtomicU64; Mishap::ALL.len()],
    prefill_refused: AtomicU64,
    prefills_redone: AtomicU64,
    decode_failed: AtomicU64,
    decode_retries: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyView {
    /// Generation requests that came.
    pub requests: u64,
    /// Prefill legs that failed.
    pub prefill_failed: u64,
    /// Prefill legs whose 4xx was passed to the client.
    pub prefill_refused: u64,
    /// Prefills done again because the KV cache would have been too old.
    pub prefills_redone: u64,
    /// Requests whose prompt decode computed itself.
    pub fallbacks: u64,
    /// Prefill answers that did not say where the KV cache lies.
    pub missing_params: u64,
    /// Decode legs without an answer.
    pub decode_failed: u64,
    /// Requests that were carried to another decode engine.
    pub decode_retries: u64,
    /// Answers that broke off after their head.
    pub broken: u64,
    /// Requests whose client left.
    pub aborted: u64,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Ticket {
    tally: Arc<Tally>,
    outcome: Outcome,
}

impl Ticket {
    /// The outcome, should nothing else be said before the ticket is dropped.
    pub(crate) fn will_be(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        add(&self.tally.outcomes[self.outcome as usize]);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Tally {
    pub(crate) fn request(self: &Arc<Self>) -> Ticket {
        add(&self.requests);
        Ticket {
            tally: Arc::clone(self),
            outcome: Outcome::AbortedBefore,
        }
    }

    pub(crate) fn prefill_failed(&self, mishap: Mishap) {
        add(&self.prefill_failures[mishap as usize]);
    }

    pub(crate) fn fell_back(&self, mishap: Mishap) {
        add(&self.fallbacks[mishap as usize]);
    }

    pub(crate) fn prefill_refused(&self) {
        add(&self.prefill_refused);
    }

    pub(crate) fn prefills_redone(&self, times: u32) {
        self.prefills_redone
            .fetch_add(u64::from(times), Ordering::Relaxed);
    }

    pub(crate) fn decode_failed(&self) {
        add(&self.decode_failed);
    }

    pub(crate) fn decode_retried(&self) {
        add(&self.decode_retries);
    }

    /// The counters now.
    pub fn view(&self) -> TallyView {
        let outcome = |outcome: Outcome| get(&self.outcomes[outcome as usize]);
        TallyView {
            requests: get(&self.requests),
            prefill_failed: self.prefill_failures.iter().map(get).sum(),
            prefill_refused: get(&self.prefill_refused),
            prefills_redone: get(&self.prefills_redone),
            fallbacks: self.fallbacks.iter().map(get).sum(),
            missing_params: get(&self.fallbacks[Mishap::MissingParams as usize]),
            decode_failed: get(&self.decode_failed),
            decode_retries: get(&self.decode_retries),
            broken: outcome(Outcome::Broken),
            aborted: outcome(Outcome::AbortedBefore) + outcome(Outcome::AbortedWithin),
        }
    }

    /// The counters in the text format of Prometheus, to be put behind an engine's own page.
    pub fn exposition(&self) -> String {
        let mut page = Page(String::with_capacity(2048));
        let view = self.view();
        page.family(
            "requests_total",
            "Generation requests that have ended, by how.",
        );
        for outcome in &Outcome::ALL[..5] {
            let count = get(&self.outcomes[*outcome as usize]);
            page.series("requests_total", Some(("outcome", outcome.word())), count);
        }
        page.series(
            "requests_total",
            Some(("outcome", Outcome::AbortedBefore.word())),
            view.aborted,
        );
        page.family("aborted_total", "Requests whose client left, by when.");
        for (stage, outcome) in [
            ("before-answer", Outcome::AbortedBefore),
            ("answer", Outcome::AbortedWithin),
        ] {
            let count = get(&self.outcomes[outcome as usize]);
            page.series("aborted_total", Some(("stage", stage)), count);
        }
        page.family("prefill_failures_total", "Prefill legs that failed.");
        for mishap in &Mishap::ALL {
            let count = get(&self.prefill_failures[*mishap as usize]);
            page.series(
                "prefill_failures_total",
                Some(("cause", mishap.word())),
                count,
            );
        }
        page.family(
            "prefill_fallbacks_total",
            "Requests whose prompt decode computed itself.",
        );
        for mishap in &Mishap::ALL {
            let count = get(&self.fallbacks[*mishap as usize]);
            page.series(
                "prefill_fallbacks_total",
                Some(("cause", mishap.word())),
                count,
            );
        }
        for (name, help, count) in [
            (
                "missing_transfer_params_total",
                "Prefill answers that did not say where the KV cache lies.",
                view.missing_params,
            ),
            (
                "prefill_refused_total",
                "Requests that a prefill engine refused as the client's fault.",
                view.prefill_refused,
            ),
            (
                "prefills_redone_total",
                "Prefills done again because the KV cache would have been too old.",
                view.prefills_redone,
            ),
            (
                "decode_failures_total",
                "Decode legs without an answer.",
                view.decode_failed,
            ),
            (
                "decode_retries_total",
                "Requests carried to another decode engine, with a fresh prefill.",
                view.decode_retries,
            ),
        ] {
            page.family(name, help);
            page.series(name, None, count);
        }
        page.0
    }
}

/// A page of counters whose names begin with `pointsman_proxy_`.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP pointsman_proxy_{name} {help}\n# TYPE pointsman_proxy_{name} counter"
        );
    }

    fn series(&mut self, name: &str, label: Option<(&str, &str)>, count: u64) {
        let _ = match label {
            Some((key, value)) => {
                writeln!(
                    self.0,
                    "pointsman_proxy_{name}{{{key}=\"{value}\"}} {count}"
                )
            }
            None => writeln!(self.0, "pointsman_proxy_{name} {count}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_one_outcome() {
        let tally = Arc::new(Tally::default());
        drop(tally.request());
        for outcome in Outcome::ALL {
            let mut ticket = tally.request();
            ticket.will_be(Outcome::Failed);
            ticket.will_be(outcome);
        }
        tally.fell_back(Mishap::MissingParams);
        let view = tally.view();
        assert_eq!((view.requests, view.aborted, view.broken), (8, 3, 1));
        assert_eq!((view.missing_params, view.fallbacks), (1, 1));
        let page = tally.exposition();
        for line in [
            "pointsman_proxy_requests_total{outcome=\"handed-off\"} 1",
            "pointsman_proxy_requests_total{outcome=\"aborted\"} 3",
            "pointsman_proxy_aborted_total{stage=\"before-answer\"} 2",
            "pointsman_proxy_prefill_fallbacks_total{cause=\"missing-params\"} 1",
            "pointsman_proxy_missing_transfer_params_total 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let names: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once);
    }
}
