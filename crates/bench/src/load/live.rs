//! A run while it goes on: what others may see of it, and how it is ended early.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After so many failures in a row, for at least [`SILENT`], the target counts as gone.
const IN_A_ROW: u64 = 50;
const SILENT: Duration = Duration::from_secs(1);
/// At the end of a run so many failures suffice behind the last answer, or fewer over [`SILENT`].
const LAST: u64 = 3;
const FEWEST: u64 = 2;

/// What can be seen and done while a run goes on.
#[derive(Debug, Default)]
pub struct Live {
    answers: Cell<u64>,
    failures: Cell<u64>,
    row: Cell<u64>,
    row_since: Cell<Option<Instant>>,
    /// What the last of them was.
    kind: RefCell<String>,
    /// When the last whole answer came, and how long the slowest took.
    heard: Cell<Option<Instant>>,
    slowest: Cell<Duration>,
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

    /// An answer has come to a request that should have started at `start`.
    pub(crate) fn answered(&self, good: bool, start: Instant) {
        // An answer of any kind shows that somebody is there.
        self.row.set(0);
        self.row_since.set(None);
        let now = Instant::now();
        self.heard.set(Some(now));
        self.slowest
            .set(self.slowest.get().max(now.saturating_duration_since(start)));
        let count = if good { &self.answers } else { &self.failures };
        count.set(count.get() + 1);
    }

    pub(crate) fn failed(&self, kind: &str) {
        self.failures.set(self.failures.get() + 1);
        self.row.set(self.row.get() + 1);
        kind.clone_into(&mut self.kind.borrow_mut());
        let now = Instant::now();
        let since = self.row_since.get().unwrap_or(now);
        self.row_since.set(Some(since));
        if self.row.get() >= IN_A_ROW
            && now.duration_since(since) >= SILENT
            && self.answers.get() > 0
        {
            self.gone(kind);
        }
    }

    /// The run is over, its window was at `end`, and `unfinished` requests are without an answer: whether the target was
    /// there to the end. What fails behind the window are single requests that hang, when all others have ended.
    pub(crate) fn ended(&self, unfinished: usize, end: Instant) {
        let Some(heard) = self.heard.get().filter(|_| self.answers.get() > 0) else {
            return;
        };
        let row = self.row.get();
        let since = self.row_since.get().filter(|since| *since < end);
        let enough =
            |since: Instant| row >= LAST || (row >= FEWEST && end.duration_since(since) >= SILENT);
        if since.is_some_and(enough) {
            self.gone(&self.kind.borrow());
        }
        // A target that is only slow has been so before.
        let patience = SILENT.max(self.slowest.get() * 2);
        let left = unfinished > 0 || row >= FEWEST;
        if left && end.saturating_duration_since(heard) > patience {
            self.gone("no answer by the end");
        }
    }

    fn gone(&self, kind: &str) {
        self.stop(format!("the target stopped answering ({kind})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(answers: u32) -> Live {
        let live = Live::default();
        (0..answers).for_each(|_| live.answered(true, Instant::now()));
        live
    }

    #[test]
    fn failures_behind_the_last_answer_tell_that_the_target_is_gone() {
        let told = |answers, failures: u32, after: u32| {
            let live = live(answers);
            (0..failures).for_each(|_| live.failed("connection refused"));
            (0..after).for_each(|_| live.answered(true, Instant::now()));
            live.ended(0, Instant::now());
            live.why_stopped()
        };
        let gone = Some("the target stopped answering (connection refused)".to_owned());
        assert_eq!(told(5, 3, 0), gone);
        assert_eq!(told(5, 2, 0), None, "two at once may be chance");
        assert_eq!(told(5, 10, 1), None, "it came back");
        assert_eq!(
            told(0, 10, 0),
            None,
            "it never answered, which is told otherwise"
        );
    }

    #[test]
    fn a_silence_is_measured_by_the_slowest_answer() {
        let told = |took: Duration, silent: Duration, unfinished| {
            let live = live(1);
            live.slowest.set(took);
            live.heard.set(Instant::now().checked_sub(silent));
            live.ended(unfinished, Instant::now());
            live.why_stopped().is_some()
        };
        let seconds = Duration::from_secs;
        assert!(told(seconds(1), seconds(3), 1));
        assert!(!told(seconds(2), seconds(3), 1));
        assert!(!told(seconds(1), seconds(3), 0));
    }
}
