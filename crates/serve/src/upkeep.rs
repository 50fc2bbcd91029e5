//! What the plan's plugins do between requests: once a second, expiry and forgetting who left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::router::Router;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the plugins of whatever plan is in force, until dropped.
pub async fn keep_up(router: Arc<Router>) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        round(&router);
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
    for observer in &plan.observers {
        observer.maintain(now);
    }
    for (_, _, learner) in plan.learners() {
        learner.maintain(now, &snapshot, slots);
    }
}
