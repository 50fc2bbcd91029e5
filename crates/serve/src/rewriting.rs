//! Which model an engine is asked for in place of the one that the client names, for every door alike.

use pointsman_core::model::rewrites::{Rewrites, Target};
use pointsman_core::schedule::plan::Plan;
use serde_json::{Value, json};

use crate::router::Lane;

/// The model that rules put in the place of `model`, drawn by weight and counted; `None` where no rule speaks. The
/// cluster's rules go before the configuration's.
pub fn decreed(lane: &Lane, plan: &Plan, model: &str) -> Option<String> {
    let directives = lane.router.directives.load();
    let (declared, configured) = (&directives.rewrites, &plan.own.rewrites);
    if declared.is_empty() && configured.is_empty() {
        return None;
    }
    let draw = lane.scratch.lock().rng.next_u64();
    let drawn = declared
        .target(model, draw)
        .or_else(|| configured.target(model, draw))?;
    lane.cells.rewritten(drawn.by, model, drawn.model);
    Some(drawn.model.to_owned())
}

/// The rules as JSON.
pub fn view(rewrites: &Rewrites) -> Value {
    let rule = |(model, by, targets): (Option<&str>, &str, &[Target])| {
        let targets = targets
            .iter()
            .map(|target| json!({"model": target.model, "weight": target.weight}));
        json!({"rewrite": by, "model": model, "targets": targets.collect::<Vec<_>>()})
    };
    rewrites.all().map(rule).collect()
}
