//! What became of the configuration since the start: how often it was read again, and what the last reading gave.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Readings after the first, counted, and the last of them.
#[derive(Default)]
pub struct Reloads {
    taken: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Option<Reload>>,
}

/// One reading of the configuration after the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What it was refused for, a line each; empty where it was taken.
    pub faults: Vec<String>,
}

impl Reloads {
    /// Notes a reading; one without faults was taken.
    pub fn note(&self, reload: Reload) {
        let counter = if reload.faults.is_empty() {
            &self.taken
        } else {
            &self.refused
        };
        // Relaxed: a count that nothing is decided by.
        counter.fetch_add(1, Ordering::Relaxed);
        *self.last.lock() = Some(reload);
    }

    /// How many readings were taken and how many refused.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.taken.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    /// The view for the admin port; `null` for the last reading before the first change.
    pub fn view(&self) -> Value {
        let (taken, refused) = self.counts();
        let last = self.last.lock().as_ref().map(|last| {
            json!({
                "atUnixMs": last.at_unix_ns / 1_000_000,
                "ok": last.faults.is_empty(),
                "faults": last.faults,
            })
        });
        json!({"taken": taken, "refused": refused, "last": last})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reading_and_the_counts_are_shown() {
        let reloads = Reloads::default();
        assert_eq!(reloads.view()["last"], Value::Null);
        for faults in [vec![], vec!["3:1: what is wrong".to_owned()]] {
            let at_unix_ns = 5_000_000;
            reloads.note(Reload { at_unix_ns, faults });
        }
        let view = reloads.view();
        assert_eq!((&view["taken"], &view["refused"]), (&json!(1), &json!(1)));
        assert_eq!(view["last"]["ok"], false);
        assert_eq!(view["last"]["faults"][0], "3:1: what is wrong");
    }
}
