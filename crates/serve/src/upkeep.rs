//! What is done between requests, once a second: expiry, forgetting who left, and a look whether the picker is idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::idle::{IdleWatch, sentence};
use crate::router::Router;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the plugins of whatever plan is in force, until dropped.
pub async fn keep_up(router: Arc<Router>) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle = IdleWatch::default();
    loop {
        rounds.tick().await;
        round(&router);
        let counts = &router.counts;
        let seen = (
            counts.decisions.load(Ordering::Relaxed),
            counts.bypassed.load(Ordering::Relaxed),
        );
        if let Some(past) = idle.look(seen.0, seen.1) {
            let at = router.clock.unix_ns(router.clock.now());
            router.log.remark(at, &sentence(past));
        }
    }
}

fn round(router: &Router) {
    let (plan, snapshot) = (router.plan.load_full(), router.membership.snapshot());
    let (slots, now) = (router.membership.slots(), router.clock.now());
    for producer in &plan.producers {
        producer.plugin.maintain(now, &snapshot, slots);
    }
    if !plan.producers.is_empty() {
        router.look_at_hits();
    }
    for (_, _, learner) in plan.learners() {
        learner.maintain(now, &snapshot, slots);
    }
}
