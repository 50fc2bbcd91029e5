//! The addresses that a host's name stands for.
//!
//! A look-up holds a thread until the system gives up, which can be long after the last one who waited for it. So there is never more than
//! one per name, and as few as possible wait for it:
//!
//! | what is known | what a request gets |
//! |---|---|
//! | addresses, looked up a moment ago | those |
//! | addresses, not so new, or no newer ones could be had | those, while a look-up runs beside it |
//! | addresses from long ago | the next look-up's, else those |
//! | none | the look-up's that runs, however many wait for it |
//! | none, and the last look-up failed a moment ago or does not end | why |

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long nothing is looked up after a success. Short: a Service may move, and a look-up is cheap beside a generation.
const FRESH: Duration = Duration::from_secs(5);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// From which age on newer addresses are waited for: the old ones may be somebody else's by now.
const OLD: Duration = Duration::from_secs(60);
/// How long a look-up is waited for from its beginning.
const WAIT: Duration = Duration::from_secs(5);

/// What is known of one name.
#[derive(Debug, Default)]
pub struct Addresses(Arc<watch::Sender<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What the last look-up found that found any.
    addrs: Vec<SocketAddr>,
    /// When that was.
    found: Option<Instant>,
    /// Why the last look-up found none.
    failure: Option<String>,
    /// When the last look-up ended.
    ended: Option<Instant>,
    /// When the one that runs began.
    looking: Option<Instant>,
}

impl Addresses {
    /// The addresses; `look_up` is called, and its future run to its end, when it is time for that and nobody else is at it.
    ///
    /// # Errors
    /// A text, when none have ever been found.
    pub async fn get<L>(&self, look_up: impl FnOnce() -> L) -> Result<Vec<SocketAddr>, String>
    where
        L: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        if self.0.send_if_modified(Known::begins) {
            let (known, looking) = (Arc::clone(&self.0), look_up());
            tokio::spawn(async move {
                let found = looking.await;
                known.send_modify(|known| known.learns(found));
            });
        }
        let mut news = self.0.subscribe();
        let until = news.borrow().looking.unwrap_or_else(Instant::now) + WAIT;
        // Whether it is settled in time or not: what is known then is the answer.
        drop(tokio::time::timeout_at(until, news.wait_for(Known::is_settled)).await);
        news.borrow().answer()
    }
}

impl Known {
    /// Whether a look-up is due, which then has begun.
    fn begins(&mut self) -> bool {
        let rest = if self.failure.is_some() { AGAIN } else { FRESH };
        let due = self.looking.is_none() && self.ended.is_none_or(|at| at.elapsed() >= rest);
        if due {
            self.looking = Some(Instant::now());
        }
        due
    }

    fn learns(&mut self, found: io::Result<Vec<SocketAddr>>) {
        let now = Instant::now();
        self.looking = None;
        self.ended = Some(now);
        self.failure = match found {
            Ok(addrs) if addrs.is_empty() => Some("the name has no address".to_owned()),
            Ok(addrs) => {
                self.addrs = addrs;
                self.found = Some(now);
                None
            }
            Err(error) => Some(error.to_string()),
        };
    }

    /// Whether what is known is not worth waiting for better.
    fn is_settled(&self) -> bool {
        let recent = self.found.is_some_and(|at| at.elapsed() < OLD);
        let usable = !self.addrs.is_empty() && (recent || self.failure.is_some());
        self.looking.is_none() || usable
    }

    fn answer(&self) -> Result<Vec<SocketAddr>, String> {
        match &self.failure {
            _ if !self.addrs.is_empty() => Ok(self.addrs.clone()),
            Some(failure) => Err(failure.clone()),
            None => Err("no answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;

    /// A name, and how often it was looked up.
    #[derive(Default)]
    struct Rig {
        name: Addresses,
        looked: Cell<u32>,
    }

    impl Rig {
        /// A request that gets what a look-up finds after `millis`, if it makes one: this port, or a failure.
        async fn get(&self, millis: u64, finds: Result<u16, &'static str>) -> Result<u16, String> {
            let look_up = || {
                self.looked.set(self.looked.get() + 1);
                async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    let found = finds.map(|port| vec![SocketAddr::from(([127, 0, 0, 1], port))]);
                    found.map_err(io::Error::other)
                }
            };
            let addrs = self.name.get(look_up).await?;
            Ok(addrs[0].port())
        }
    }

    const HOURS: u64 = 3_600_000;

    async fn pass(seconds: u64) {
        // A look-up that was begun beside a request is at work before the time passes.
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_look_up() {
        let rig = Rig::default();
        let got = tokio::join!(rig.get(100, Ok(1)), rig.get(100, Ok(2)), rig.get(0, Ok(3)));
        assert_eq!(got, (Ok(1), Ok(1), Ok(1)));
        assert_eq!(rig.get(0, Ok(4)).await, Ok(1), "it is fresh");
        assert_eq!(rig.looked.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn known_addresses_are_used_while_a_look_up_hangs_or_fails() {
        let rig = Rig::default();
        rig.get(0, Ok(1)).await.unwrap();
        pass(6).await;
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(rig.get(HOURS, Ok(2)).await, Ok(1));
        }
        assert_eq!((began.elapsed(), rig.looked.get()), (Duration::ZERO, 2));

        let rig = Rig::default();
        rig.get(0, Ok(1)).await.unwrap();
        for round in 0..100 {
            pass(6).await;
            let began = Instant::now();
            assert_eq!(rig.get(0, Err("no such name")).await, Ok(1), "{round}");
            assert_eq!(began.elapsed(), Duration::ZERO, "{round}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_beside_requests_brings_the_new_address() {
        let rig = Rig::default();
        rig.get(0, Ok(1)).await.unwrap();
        pass(6).await;
        assert_eq!(rig.get(100, Ok(2)).await, Ok(1));
        pass(1).await;
        assert_eq!(rig.get(0, Ok(3)).await, Ok(2));
        assert_eq!(rig.looked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_from_long_ago_give_way_to_new_ones_and_are_better_than_none() {
        let rig = Rig::default();
        rig.get(0, Ok(1)).await.unwrap();
        pass(600).await;
        assert_eq!(rig.get(100, Ok(2)).await, Ok(2));
        pass(600).await;
        let began = Instant::now();
        assert_eq!(rig.get(HOURS, Ok(3)).await, Ok(2));
        assert_eq!(began.elapsed(), WAIT);
        assert_eq!(rig.get(HOURS, Ok(3)).await, Ok(2));
        assert_eq!(
            (began.elapsed(), rig.looked.get()),
            (WAIT, 3),
            "waited for once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_remembered_for_a_moment() {
        let rig = Rig::default();
        let failure = Err("no such name".to_owned());
        assert_eq!(rig.get(0, Err("no such name")).await, failure);
        assert_eq!(rig.get(0, Ok(1)).await, failure);
        assert_eq!(rig.looked.get(), 1);
        pass(1).await;
        assert_eq!(rig.get(0, Ok(1)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_does_not_end_is_one_and_is_waited_for_once() {
        let rig = Rig::default();
        let (late, began) = (Err("no answer in time".to_owned()), Instant::now());
        assert_eq!(rig.get(HOURS, Ok(1)).await, late);
        assert_eq!(began.elapsed(), WAIT);
        pass(600).await;
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(rig.get(HOURS, Ok(1)).await, late);
        }
        assert_eq!((began.elapsed(), rig.looked.get()), (Duration::ZERO, 1));
    }
}
