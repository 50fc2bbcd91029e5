//! How it stands with what the pool is made from.

use pointsman_feeds::discovery::watches::State;
use serde_json::{Value, json};

use crate::readiness::Readiness;
use crate::rewriting;
use crate::router::Router;

/// Every watch with its state, and what is missing to readiness. Without watches the endpoints come from a file.
pub fn view(router: &Router, ready: &Readiness) -> String {
    let watches: Vec<Value> = router.watches.all().into_iter().map(watch).collect();
    let directives = router.directives.load();
    json!({
        "missing": ready.missing(),
        "endpoints": router.membership.snapshot().len(),
        "objectives": directives.objectives,
        "modelRewrites": rewriting::view(&directives.rewrites),
        "watches": watches,
    })
    .to_string()
}

fn watch((what, state): (&'static str, State)) -> Value {
    let (word, objects, problem) = match state {
        State::Starting => ("starting", None, None),
        State::Following(count) => ("following", Some(count), None),
        State::Absent => ("absent", None, None),
        State::Degraded(why) => ("degraded", None, Some(why)),
    };
    json!({"what": what, "state": word, "objects": objects, "problem": problem})
}
