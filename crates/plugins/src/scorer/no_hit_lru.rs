//! Spreads prompts that nobody has cached: prefers the candidate that got such a prompt longest ago.
//!
//! # When to use
//! Beside `prefix-cache-scorer`: new prompts fill caches, and this spreads the filling over the pool.
//!
//! # Formula
//! If some candidate is believed to hold a block of the prompt: 0.5 for all. Else the request is cold. With `c`
//! candidates, `c = 1 → 1`; candidates that never got a cold request are ranked 0, 1, … in their order, the others by
//! how long ago they got one (the longest first), after all of the former; rank `r → max(0, 1 − r / (c − 1))`. All
//! candidates of the pool that got one count in that order, also those that filters removed.
//!
//! After a cold request the endpoint picked, and the one picked by the profile `prefill`, are the latest.
//!
//! # Reads
//! First generation: the matches of the scorer named by `prefixPluginName`, over the whole pool. Second generation: those
//! of the producer named, over the candidates left. Without matches every request is cold.
//!
//! # Example
//! ```yaml
//! - type: no-hit-lru-scorer
//!   parameters:
//!     lruSize: 2048
//! ```
//!
//! # Limits
//! Looks at order alone, not at load. An engine that has restarted counts as one that never got a cold request.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

// The exception to "no locks on the path of a pick": an order has one writer, which needs a few hundred nanoseconds
// after a cold request; readers do not exclude each other.
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::observer::{Observer, Picked};
use pointsman_core::contract::roles::{Built, Scorer, State};
use pointsman_core::contract::spec::{
    DataKey, Generation, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Slot, Slots};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "no-hit-lru-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("no_hit_lru.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Most endpoints whose order is kept; 0 or below means 1024.
    lru_size: i64,
    /// The profile whose pick is the latest too.
    prefill_profile: String,
    /// First generation: name of the prefix scorer whose matches count. The second accepts and ignores it.
    prefix_plugin_name: String,
    /// Accepted and ignored.
    prefix_plugin_type: String,
    /// Second generation: name of the producer whose matches count; empty means `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            lru_size: 1024,
            prefill_profile: "prefill".to_owned(),
            prefix_plugin_name: "prefix-cache-scorer".to_owned(),
            prefix_plugin_type: String::new(),
            prefix_match_info_producer_name: String::new(),
        }
    }
}

impl Parameters {
    fn producer(&self, generation: Generation) -> &str {
        match generation {
            Generation::G1 => &self.prefix_plugin_name,
            Generation::G2 => {
                DataKey::PrefixMatch.producer_named(&self.prefix_match_info_producer_name)
            }
        }
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    vec![Requirement {
        key: DataKey::PrefixMatch,
        producer: Some(given.producer(params.generation).to_owned()),
        // The first generation takes every request as cold then.
        optional: params.generation == Generation::G1,
    }]
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let order = params
        .previous
        .and_then(|state| Arc::clone(state).downcast::<Order>().ok())
        .unwrap_or_default();
    let most = usize::try_from(given.lru_size).unwrap_or(0);
    Ok(Built::Scorer(Box::new(NoHitLru(Arc::new(Inner {
        order,
        most: if most == 0 { 1024 } else { most },
        producer: given.producer(params.generation).to_owned(),
        whole_pool: params.generation == Generation::G1,
        prefill_profile: given.prefill_profile,
    })))))
}

/// An endpoint as it was when it got its latest cold request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tracked {
    slot: Slot,
    epoch: u32,
}

/// Who got a cold request, the one longest ago first.
#[derive(Default)]
struct Latest {
    oldest_first: Vec<Tracked>,
    /// Place in that order by slot number; `NEVER` where there is none.
    places: Vec<u32>,
}

const NEVER: u32 = u32::MAX;

impl Latest {
    fn place(&self, tracked: Tracked) -> Option<usize> {
        let at = *self.places.get(tracked.slot.0 as usize)? as usize;
        self.oldest_first.get(at).filter(|one| **one == tracked)?;
        Some(at)
    }

    fn renew(&mut self, tracked: Tracked, most: usize) {
        let slot = tracked.slot.0 as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, NEVER);
        }
        let mut from = self.places[slot] as usize;
        if from < self.oldest_first.len() {
            self.oldest_first.remove(from);
        } else {
            from = self.oldest_first.len();
        }
        self.oldest_first.push(tracked);
        while self.oldest_first.len() > most {
            let gone = self.oldest_first.remove(0);
            self.places[gone.slot.0 as usize] = NEVER;
            from = 0;
        }
        for (at, one) in self.oldest_first.iter().enumerate().skip(from) {
            self.places[one.slot.0 as usize] = at as u32;
        }
    }
}

/// The order, shared by all workers and by the plans that follow each other.
#[derive(Default)]
#[allow(clippy::disallowed_types)]
struct Order(RwLock<Latest>);

struct Inner {
    order: Arc<Order>,
    most: usize,
    producer: String,
    whole_pool: bool,
    prefill_profile: String,
}

struct NoHitLru(Arc<Inner>);

impl Inner {
    /// Whether nobody is believed to hold a part of the prompt.
    fn is_cold(&self, ctx: &Ctx<'_>, rows: &RowSet) -> bool {
        ctx.produced.prefix(&self.producer).is_none_or(|found| {
            if self.whole_pool {
                found.matched.iter().all(|&blocks| blocks == 0)
            } else {
                rows.iter().all(|row| found.matched[row] == 0)
            }
        })
    }

    fn tracked(ctx: &Ctx<'_>, row: usize) -> Tracked {
        let slot = ctx.snapshot.slots()[row];
        Tracked {
            slot,
            epoch: ctx.slots.epoch(slot),
        }
    }
}

impl Scorer for NoHitLru {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        if !self.0.is_cold(ctx, rows) {
            rows.for_each(|row| out[row] = 0.5);
            return;
        }
        let count = rows.count();
        if count <= 1 {
            rows.for_each(|row| out[row] = 1.0);
            return;
        }
        let latest = self
            .0
            .order
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let last = (count - 1) as f64;
        let score = |rank: usize| (1.0 - rank as f64 / last).max(0.0);
        let mut never = 0;
        // Places are put off until it is known how many come before them.
        rows.for_each(|row| match latest.place(Inner::tracked(ctx, row)) {
            Some(place) => out[row] = place as f64,
            None => {
                out[row] = -1.0 - never as f64;
                never += 1;
            }
        });
        rows.for_each(|row| {
            let held = out[row];
            out[row] = if held < 0.0 {
                score((-1.0 - held) as usize)
            } else {
                score(never + held as usize)
            };
        });
    }

    fn shown(&self, snapshot: &Snapshot, slots: &Slots, most: usize) -> Option<Value> {
        let names: BTreeMap<Tracked, &str> = snapshot
            .endpoints
            .iter()
            .map(|endpoint| {
                let (slot, name) = (endpoint.slot, &*endpoint.name);
                let epoch = slots.epoch(slot);
                (Tracked { slot, epoch }, name)
            })
            .collect();
        let latest = self
            .0
            .order
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        // Those that left the pool or restarted are nobody any more.
        let known = latest.oldest_first.iter().filter_map(|one| names.get(one));
        let order: Vec<&&str> = known.take(most).collect();
        Some(json!({"tracked": latest.oldest_first.len(), "oldestFirst": order}))
    }

    fn observer(self: Arc<Self>) -> Option<Arc<dyn Observer>> {
        Some(Arc::clone(&self.0) as Arc<dyn Observer>)
    }

    fn state(&self) -> Option<State> {
        Some(Arc::clone(&self.0.order) as State)
    }
}

impl Observer for Inner {
    fn picked(&self, picked: &Picked<'_>) {
        let Some(run) = picked.runs.get(picked.run) else {
            return;
        };
        if !self.is_cold(picked.ctx, &run.alive) {
            return;
        }
        let mut latest = self.order.0.write().unwrap_or_else(PoisonError::into_inner);
        let prefill = picked
            .row_of(&self.prefill_profile)
            .filter(|_| !self.prefill_profile.is_empty());
        for row in std::iter::once(picked.primary).chain(prefill) {
            latest.renew(Self::tracked(picked.ctx, row), self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::fixture::{Pool, Scene, pool, scorer};

    fn check(scene: &Scene<'_>, scorer: &dyn Scorer, expected: &[f64]) {
        assert_eq!(scene.scores(scorer), expected);
    }

    fn bed(text: &str) -> (Pool, Arc<dyn Scorer>) {
        (pool(text), scorer(&SPEC, "{}", Generation::G2))
    }

    #[test]
    fn the_longest_without_a_cold_request_comes_first() {
        let (pool, scorer) = bed("a\nb\nc\nd\ne\n");
        let scene = Scene::new(&pool);
        let observer = Arc::clone(&scorer).observer().unwrap();
        check(&scene, &*scorer, &[1.0, 0.75, 0.5, 0.25, 0.0]);
        scene.pick(&*observer, 0);
        scene.pick(&*observer, 2);
        check(&scene, &*scorer, &[0.25, 1.0, 0.0, 0.75, 0.5]);
        scene.pick(&*observer, 0);
        check(&scene, &*scorer, &[0.0, 1.0, 0.25, 0.75, 0.5]);
        let shown = |most| scorer.shown(&pool.snapshot, &pool.slots, most).unwrap();
        assert_eq!(shown(9)["oldestFirst"], json!(["c", "a"]));
        assert_eq!(shown(1), json!({"tracked": 2, "oldestFirst": ["c"]}));
        // A restarted engine never got one.
        pool.slots.restarted(Slot(2));
        check(&scene, &*scorer, &[0.0, 1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn a_hit_makes_all_equal_and_teaches_nothing() {
        let (pool, scorer) = bed("a\nb\nc out\n");
        let mut scene = Scene::new(&pool);
        let observer = Arc::clone(&scorer).observer().unwrap();
        let (found, _) = scene
            .produced
            .next(&"approx-prefix-cache-producer".into(), 3);
        found.total = 4;
        found.matched = vec![0, 1, 0];
        check(&scene, &*scorer, &[0.5, 0.5, 0.0]);
        scene.pick(&*observer, 0);
        scene.produced.begin();
        check(&scene, &*scorer, &[1.0, 0.0, 0.0]);
        // A hit beyond the candidates left makes nobody warm, except in the first generation.
        let (found, _) = scene
            .produced
            .next(&"approx-prefix-cache-producer".into(), 3);
        found.matched = vec![0, 0, 3];
        check(&scene, &*scorer, &[1.0, 0.0, 0.0]);
        let first = r#"{"prefixPluginName":"approx-prefix-cache-producer"}"#;
        let first = pointsman_core::fixture::scorer(&SPEC, first, Generation::G1);
        check(&scene, &*first, &[0.5, 0.5, 0.0]);
    }

    #[test]
    fn one_candidate_gets_all_and_the_order_is_bounded() {
        let (pool, _) = bed("a\nb\nc\n");
        let scorer = scorer(&SPEC, r#"{"lruSize":2}"#, Generation::G2);
        let scene = Scene::new(&pool);
        let observer = Arc::clone(&scorer).observer().unwrap();
        for row in 0..3 {
            scene.pick(&*observer, row);
        }
        check(&scene, &*scorer, &[1.0, 0.5, 0.0]);
        let alone = pointsman_core::fixture::pool("a\nb out\n");
        check(&Scene::new(&alone), &*scorer, &[1.0, 0.0]);
    }
}
