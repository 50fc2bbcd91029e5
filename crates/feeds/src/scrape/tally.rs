//! How many pages were read, and how many attempts failed.

use std::sync::atomic::{AtomicU64, Ordering};

use pointsman_core::model::slots::ScrapeState;

/// Counts of all scrape tasks together. Relaxed: each is a number of its own.
#[derive(Debug, Default)]
pub struct Tally {
    pages: AtomicU64,
    failures: AtomicU64,
    garbage: AtomicU64,
}

impl Tally {
    /// An attempt ended so.
    pub(crate) fn count(&self, state: ScrapeState) {
        let counter = if state == ScrapeState::Fresh {
            &self.pages
        } else {
            &self.failures
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if state == ScrapeState::Garbage {
            self.garbage.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pages that gave readings.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Pages in which nothing was found that could be read.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }

    /// Attempts that gave none.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
