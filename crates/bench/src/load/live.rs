//! A run while it goes on: what others may see of it, and how it is ended early.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After so many failures in a row, for at least [`SILENT`], the target counts as gone.
const IN_A_ROW: u64 = 50;
const SILENT: Duration = Duration::from_secs(1);

/// What can be seen and done while a run goes on.
#[derive(Debug, Default)]
pub struct Live {
    answers: Cell<u64>,
    failures: Cell<u64>,
    row: Cell<u64>,
    row_since: Cell<Option<Instant>>,
    why: RefCell<Option<String>>,
    wake: Notify,
}

impl Live {
    /// Answers so far, warm-up included.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Failures so far, warm-up included.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Ends the run; what is in flight may still end. The first reason counts.
    pub fn stop(&self, why: impl Into<String>) {
        self.why.borrow_mut().get_or_insert_with(|| why.into());
        self.wake.notify_waiters();
    }

    /// Why the run was ended early, if it was.
    #[must_use]
    pub fn why_stopped(&self) -> Option<String> {
        self.why.borrow().clone()
    }

    pub(crate) fn stopped(&self) -> bool {
        self.why.borrow().is_some()
    }

    pub(crate) async fn until_stopped(&self) {
        loop {
            let woken = self.wake.notified();
            if self.stopped() {
                return;
            }
            woken.await;
        }
    }

    pub(crate) fn answered(&self, good: bool) {
        // An answer of any kind shows that somebody is there.
        self.row.set(0);
        self.row_since.set(None);
        let count = if good { &self.answers } else { &self.failures };
        count.set(count.get() + 1);
    }

    pub(crate) fn failed(&self, kind: &str) {
        self.failures.set(self.failures.get() + 1);
        self.row.set(self.row.get() + 1);
        let now = Instant::now();
        let since = self.row_since.get().unwrap_or(now);
        self.row_since.set(Some(since));
        if self.row.get() >= IN_A_ROW
            && now.duration_since(since) >= SILENT
            && self.answers.get() > 0
        {
            self.stop(format!("the target stopped answering ({kind})"));
        }
    }
}
