//! The doors' way to ask: the shared count of permits, and a bounded channel to the one who answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pointsman_core::admission::permits::{Permit, Permits};
use pointsman_core::admission::queue::Ask;
use pointsman_core::model::reject::Reject;
use pointsman_core::time::Tick;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::admission::leases::Leases;
use crate::admission::tally::Tally;

/// Asks under way to the task. A door that finds the channel full waits for its turn in it, which is as good a place
/// as the queue; the bound is what one round of the task takes in at most.
const CHANNEL: usize = 1024;

/// One who asks, and where the answer goes.
pub struct Order {
    /// The request.
    pub ask: Ask,
    /// The model it wants.
    pub model: Arc<str>,
    /// When it was sent.
    pub sent: Tick,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Permit, Reject>>,
}

/// What the doors and the task share.
pub struct Front {
    /// The counts.
    pub permits: Arc<Permits>,
    /// What is counted of those who wait.
    pub tally: Mutex<Tally>,
    /// Those in flight who may have to give way.
    pub leases: Arc<Leases>,
    asks: mpsc::Sender<Order>,
    inbox: Mutex<Option<mpsc::Receiver<Order>>>,
    left: Mutex<Vec<u64>>,
    wake: Arc<Notify>,
    numbers: AtomicU64,
}

impl Default for Front {
    fn default() -> Self {
        let (asks, inbox) = mpsc::channel(CHANNEL);
        let wake = Arc::new(Notify::new());
        let woken = Arc::clone(&wake);
        Self {
            permits: Arc::new(Permits::new(move || woken.notify_one())),
            tally: Mutex::default(),
            leases: Arc::default(),
            asks,
            inbox: Mutex::new(Some(inbox)),
            left: Mutex::default(),
            wake,
            numbers: AtomicU64::new(1),
        }
    }
}

/// One whose answer is not there yet; if it is dropped before, the task is told.
struct Waiting<'f> {
    front: &'f Front,
    number: u64,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.front.left.lock().push(self.number);
            self.front.wake.notify_one();
        }
    }
}

impl Front {
    /// The next number in the order of arrival.
    pub fn number(&self) -> u64 {
        // Relaxed: only that no two are the same matters.
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for the answer. Dropping the future gives the place up.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub async fn ask(&self, ask: Ask, model: &str, sent: Tick) -> Result<Permit, Reject> {
        let _place = self.permits.join();
        let (reply, answer) = oneshot::channel();
        let mut waiting = Waiting {
            front: self,
            number: ask.number,
            answered: false,
        };
        let order = Order {
            ask,
            model: model.into(),
            sent,
            reply,
        };
        // A task that is gone has refused all who waited, and refuses whoever comes after.
        let answer = match self.asks.send(order).await {
            Ok(()) => answer.await.unwrap_or(Err(Reject::ShuttingDown)),
            Err(_) => Err(Reject::ShuttingDown),
        };
        waiting.answered = true;
        answer
    }

    /// The task's end of the channel; given out once.
    pub(crate) fn take_inbox(&self) -> Option<mpsc::Receiver<Order>> {
        self.inbox.lock().take()
    }

    /// The numbers of those who have left since the last call.
    pub(crate) fn take_left(&self) -> Vec<u64> {
        std::mem::take(&mut self.left.lock())
    }

    /// Resolves when a permit came back while somebody waits, or somebody left.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
