//! Which custom resources are to be looked at, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::operate::store::CustomKey;

/// How long events are gathered before they are acted on.
const GATHER: Duration = Duration::from_millis(20);

/// The queue.
#[derive(Default)]
pub(crate) struct Queue {
    due: Mutex<BTreeSet<CustomKey>>,
    later: Mutex<BTreeMap<CustomKey, Instant>>,
    woken: Notify,
}

impl Queue {
    /// Look at it now.
    pub(crate) fn add(&self, key: CustomKey) {
        self.due.lock().insert(key);
        self.woken.notify_one();
    }

    /// Look at it again after a while, if nothing happens before.
    pub(crate) fn add_later(&self, key: CustomKey, after: Duration) {
        self.later.lock().insert(key, Instant::now() + after);
        self.woken.notify_one();
    }

    /// All that are due; waits until there is one.
    pub(crate) async fn take(&self) -> BTreeSet<CustomKey> {
        loop {
            if !self.due.lock().is_empty() {
                tokio::time::sleep(GATHER).await;
                let due = std::mem::take(&mut *self.due.lock());
                let mut later = self.later.lock();
                later.retain(|key, _| !due.contains(key));
                return due;
            }
            let next = self.later.lock().values().min().copied();
            match next {
                None => self.woken.notified().await,
                Some(next) => {
                    tokio::select! {
                        () = self.woken.notified() => {}
                        () = tokio::time::sleep_until(next) => self.promote(),
                    }
                }
            }
        }
    }

    fn promote(&self) {
        let now = Instant::now();
        let mut later = self.later.lock();
        let ripe: Vec<CustomKey> = later
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in ripe {
            later.remove(&key);
            self.due.lock().insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::child::Owner;

    fn key(name: &str) -> CustomKey {
        CustomKey {
            owner: Owner::Install,
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn events_are_gathered_and_delays_kept() {
        tokio::time::pause();
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.take().await.len(), 2);
        queue.add_later(key("c"), Duration::from_secs(30));
        let before = Instant::now();
        assert!(queue.take().await.contains(&key("c")));
        assert!(before.elapsed() >= Duration::from_secs(30));
    }
}
