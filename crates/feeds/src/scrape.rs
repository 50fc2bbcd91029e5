//! Scrapes the engines' metrics: one task per endpoint, spread in time, every value with its age.
//!
//! A task looks at its page on a grid of `interval` with a phase of its own (derived from its slot), so that a
//! large pool is scraped evenly and never all at once. A scrape that fails leaves the old values, which
//! age, notes why ([`ScrapeState`]) and doubles the wait up to `backoff`. Nothing here makes an endpoint
//! unroutable. Where the pages are and what is read of them is the plan's business; when the plan changes, the
//! tasks that it concerns are started anew.

pub mod engines;
pub mod extractor;
mod restart;
pub mod secured;
pub mod source;
pub mod tally;
mod visit;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pointsman_core::model::slots::{ScrapeState, Slot};
use pointsman_core::rng::splitmix;
use pointsman_core::schedule::plan::Plan;
use pointsman_http::Pool;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::membership::Membership;
use crate::scrape::engines::{Directory, Target};
use crate::scrape::tally::Tally;
use crate::scrape::visit::Visitor;

/// How soon a changed plan is noticed.
const PLAN_LOOK: Duration = Duration::from_millis(250);

/// How often the files that TLS is set up from are looked at.
const FILES_LOOK: Duration = Duration::from_secs(10);

/// The first look is not put off by the phase for more than this.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// How often and how patiently to scrape.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeOptions {
    /// Time between scrapes of one endpoint, where the plan does not say.
    pub interval: Duration,
    /// Longest time one scrape may take.
    pub timeout: Duration,
    /// Longest wait after repeated failures.
    pub backoff: Duration,
    /// Largest page that is read.
    pub max_page_bytes: usize,
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            backoff: Duration::from_secs(5),
            max_page_bytes: 4 << 20,
        }
    }
}

/// Says which plan is in force.
pub type PlanInForce = Box<dyn Fn() -> Arc<Plan> + Send>;

/// Scrapes whatever is in a pool.
pub struct Scraping {
    /// The pool.
    pub membership: Arc<Membership>,
    /// The clock that stamps readings.
    pub clock: Clock,
    /// Connections to the endpoints.
    pub connections: Pool,
    /// How often and how patiently.
    pub options: ScrapeOptions,
    /// Where the pages are and what is read of them; `None`: vLLM's words and the usual labels.
    pub plan: Option<PlanInForce>,
    /// Counts pages and failures.
    pub tally: Arc<Tally>,
}

impl Scraping {
    /// Runs until dropped.
    pub async fn run(self) {
        let mut changes = self.membership.changes();
        let mut tasks: HashMap<Slot, Task> = HashMap::new();
        let mut plan = self.plan.as_ref().map(|current| current());
        let mut directory = Directory::of(plan.as_deref());
        let mut looked = Instant::now();
        loop {
            changes.borrow_and_update();
            self.follow(&directory, &mut tasks);
            loop {
                // Without a plan to look at there is only the membership to wait for.
                match timeout(PLAN_LOOK, changes.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
                let current = self.plan.as_ref().map(|current| current());
                let same = match (&plan, &current) {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                    _ => true,
                };
                if !same {
                    plan = current;
                    directory = Directory::of(plan.as_deref());
                    break;
                }
                if looked.elapsed() >= FILES_LOOK {
                    looked = Instant::now();
                    if directory.renew().await {
                        break;
                    }
                }
            }
        }
    }

    /// Makes the tasks those of the current members.
    fn follow(&self, directory: &Directory, tasks: &mut HashMap<Slot, Task>) {
        let snapshot = self.membership.snapshot();
        let wanted: HashMap<Slot, (Arc<str>, Target)> = snapshot
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                let target = directory.target(endpoint)?;
                Some((endpoint.slot, (Arc::clone(&endpoint.name), target)))
            })
            .collect();
        tasks.retain(|slot, task| {
            wanted
                .get(slot)
                .is_some_and(|(name, target)| *name == task.name && *target == task.target)
        });
        let interval = directory.interval().unwrap_or(self.options.interval);
        for (slot, (name, target)) in wanted {
            let options = ScrapeOptions {
                interval,
                ..self.options
            };
            tasks.entry(slot).or_insert_with(|| {
                let visitor = Visitor::new(
                    slot,
                    &target,
                    options.max_page_bytes,
                    Arc::clone(self.membership.slots()),
                    self.clock,
                    self.connections.clone(),
                );
                let tally = Arc::clone(&self.tally);
                let handle = tokio::spawn(look_on(visitor, slot, options, tally));
                Task {
                    name,
                    target,
                    handle,
                }
            });
        }
    }
}

/// One endpoint's task; dropping it ends the task.
struct Task {
    name: Arc<str>,
    target: Target,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Looks at one endpoint's page again and again.
async fn look_on(mut visitor: Visitor, slot: Slot, options: ScrapeOptions, tally: Arc<Tally>) {
    // Golden-ratio phases spread any number of endpoints evenly over the interval.
    let phase = (f64::from(slot.0) * 0.618_033_988_749_895).fract();
    sleep(options.interval.min(FIRST_LOOK).mul_f64(phase)).await;
    let mut due = Instant::now();
    let mut alarm = std::pin::pin!(sleep_until(due));
    let (mut failures, mut looks) = (0_u32, 0_u32);
    loop {
        alarm.as_mut().reset(Instant::now() + options.timeout);
        let state = tokio::select! {
            biased;
            state = visitor.visit() => state,
            () = &mut alarm => ScrapeState::Unreachable,
        };
        visitor.note(state);
        tally.count(state);
        failures = if state == ScrapeState::Fresh {
            0
        } else {
            (failures + 1).min(16)
        };
        let backoff = options.backoff.max(options.interval);
        let wait = options.interval.saturating_mul(1 << failures).min(backoff);
        let wait = match failures {
            0 => wait,
            // Those that failed together must not come back together.
            _ => wait.mul_f64(1.0 - SPREAD * jitter(slot, looks)),
        };
        looks = looks.wrapping_add(1);
        due = next_due(due, wait, Instant::now());
        alarm.as_mut().reset(due);
        alarm.as_mut().await;
    }
}

/// By which share of itself a wait after a failure may be shorter.
const SPREAD: f64 = 0.25;

/// A number in [0, 1) that differs from endpoint to endpoint and from look to look.
fn jitter(slot: Slot, look: u32) -> f64 {
    let mut state = u64::from(slot.0) << 32 | u64::from(look);
    (splitmix(&mut state) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The next point of the grid; those that have gone by are left out, so that nothing is made up for in a hurry.
fn next_due(due: Instant, wait: Duration, now: Instant) -> Instant {
    let next = due + wait;
    if next > now {
        return next;
    }
    let wait = wait.as_nanos().max(1);
    let late = (now - next).as_nanos() % wait;
    now + Duration::from_nanos((wait - late) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_endpoints_come_back_at_different_times() {
        let mut seen: Vec<f64> = (0..100).map(|slot| jitter(Slot(slot), 3)).collect();
        assert!(seen.iter().all(|share| (0.0..1.0).contains(share)));
        seen.sort_by(f64::total_cmp);
        let widest = seen.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(widest.fold(0.0, f64::max) < 0.2, "{seen:?}");
        assert_ne!(jitter(Slot(1), 1), jitter(Slot(1), 2));
    }

    #[tokio::test]
    async fn late_looks_stay_on_the_grid() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let check = |now, expected| {
            assert_eq!(
                next_due(start, ms(50), start + ms(now)),
                start + ms(expected)
            );
        };
        check(10, 50);
        check(49, 50);
        check(50, 100);
        check(51, 100);
        check(149, 150);
        check(151, 200);
    }
}
