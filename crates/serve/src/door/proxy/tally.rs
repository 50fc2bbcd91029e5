//! What a proxy has counted since it started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; each only grows.
#[derive(Debug, Default)]
pub struct Tally {
    requests: AtomicU64,
    prefill_failed: AtomicU64,
    prefill_refused: AtomicU64,
    decode_failed: AtomicU64,
    broken: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyView {
    /// Generation requests whose legs were started.
    pub requests: u64,
    /// Prefill legs that failed, so that decode had to compute the prompt.
    pub prefill_failed: u64,
    /// Prefill legs whose 4xx was passed to the client.
    pub prefill_refused: u64,
    /// Decode legs without an answer.
    pub decode_failed: u64,
    /// Answers that broke off after their head.
    pub broken: u64,
}

impl Tally {
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn prefill_failed(&self) {
        self.prefill_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn prefill_refused(&self) {
        self.prefill_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decode_failed(&self) {
        self.decode_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn view(&self) -> TallyView {
        TallyView {
            requests: self.requests.load(Ordering::Relaxed),
            prefill_failed: self.prefill_failed.load(Ordering::Relaxed),
            prefill_refused: self.prefill_refused.load(Ordering::Relaxed),
            decode_failed: self.decode_failed.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
        }
    }
}
