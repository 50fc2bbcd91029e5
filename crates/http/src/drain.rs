//! The signal that a server shall take no new work, finish what it has, and end.

use tokio::sync::watch;

/// The end that starts the drain. Dropping it without starting leaves the servers running.
#[derive(Debug)]
pub struct DrainStarter {
    signal: watch::Sender<bool>,
}

/// The end that servers watch.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: watch::Receiver<bool>,
}

/// A connected pair.
pub fn drain() -> (DrainStarter, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainStarter { signal: sender }, Drain { signal: receiver })
}

impl DrainStarter {
    /// Starts the drain; a second call does nothing.
    pub fn start(&self) {
        self.signal.send_replace(true);
    }
}

impl Drain {
    /// Whether the drain has started.
    pub fn is_started(&self) -> bool {
        *self.signal.borrow()
    }

    /// Resolves when the drain starts; never when its starter is gone without having started it.
    pub async fn started(&self) {
        let mut signal = self.signal.clone();
        if signal.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
