//! What the plan's plugins know beyond one decision, by their names, as the reference shows it.

use pointsman_core::contract::roles::Preparer;
use pointsman_core::schedule::plan::{Named, Plan};
use pointsman_wire::receipt::rfc3339;
use serde_json::{Map, Value, json};

use crate::admin::prefixes;
use crate::router::Router;

/// Endpoints listed per plugin.
const LISTED: usize = 100;

/// Every plugin with its state, or with the word that it shows none.
pub fn states(router: &Router) -> String {
    let plan = router.plan.load();
    let mut plugins = Map::new();
    for (name, kind) in named(&plan) {
        let entry = json!({"name": name, "type": kind, "message": "this plugin does not show what it knows"});
        plugins.insert(name.to_owned(), entry);
    }
    let mut tell = |name: &str, kind: &str, state: Value| {
        let entry = json!({"name": name, "type": kind, "state": state});
        plugins.insert(name.to_owned(), entry);
    };
    for producer in &plan.producers {
        let held = prefixes::holding(router, producer);
        tell(&producer.name, producer.kind, held);
    }
    for preparer in &plan.preparers {
        if let Some(load) = load(router, preparer) {
            tell(&preparer.name, preparer.kind, load);
        }
    }
    let snapshot = router.membership.snapshot();
    for (profile, scorer, learner) in plan.learners() {
        let scorer = &plan.profiles[profile].scorers[scorer].scorer;
        tell(&scorer.name, scorer.kind, learner.report(&snapshot));
    }
    for profile in &plan.profiles {
        for weighted in &profile.scorers {
            let scorer = &weighted.scorer;
            let slots = router.membership.slots();
            if let Some(state) = scorer.plugin.shown(&snapshot, slots, LISTED) {
                tell(&scorer.name, scorer.kind, state);
            }
        }
    }
    let now = router.clock.unix_ns(router.clock.now());
    json!({"timestamp": rfc3339(now), "plugins": plugins}).to_string()
}

/// Names and types of the plan's plugins.
fn named(plan: &Plan) -> Vec<(&str, &'static str)> {
    fn pair<T: ?Sized>(plugin: &Named<T>) -> (&str, &'static str) {
        (&plugin.name, plugin.kind)
    }
    let mut all = vec![pair(&plan.handler), pair(&plan.admission.detector)];
    for profile in &plan.profiles {
        all.extend(profile.filters.iter().map(pair));
        all.extend(profile.scorers.iter().map(|it| pair(&it.scorer)));
        all.push(pair(&profile.picker));
    }
    all.extend(plan.producers.iter().map(pair));
    all.extend(plan.preparers.iter().map(pair));
    all.extend(plan.admitters.iter().map(pair));
    all.extend(plan.reporters.iter().map(pair));
    all
}

/// Requests and tokens in flight by endpoint, where the plugin counts them.
fn load(router: &Router, preparer: &Named<dyn Preparer>) -> Option<Value> {
    let counts = preparer.plugin.tokens_in_flight()?;
    let (snapshot, slots) = (router.membership.snapshot(), router.membership.slots());
    let listed = snapshot.endpoints.iter().take(LISTED).map(|endpoint| {
        let load = json!({
            "requests": slots.in_flight(endpoint.slot),
            "tokens": counts.on(endpoint.slot),
        });
        (endpoint.name.to_string(), load)
    });
    let endpoints: Map<String, Value> = listed.collect();
    Some(json!({"totalEndpoints": snapshot.len(), "endpoints": endpoints}))
}
