//! How long plugins take, by calling them once more in one of many decisions.
//!
//! The scheduler has no clock, and reading one around every call would cost as much as many a plugin. So after one of
//! [`EVERY`] decisions the filters, scorers, pickers and the profile handler of its runs are called again on what they
//! saw, and each call is timed. Calls with effects (learning, producing) are not repeated and so not timed. The first
//! call has warmed the caches, so what is shown is the lower end.

use std::sync::Arc;
use std::time::Instant;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Chance, PickInput};
use pointsman_core::contract::table::{Picks, ProfileRun};
use pointsman_core::rng::Rng;
use pointsman_core::schedule::plan::{Profile, Weighted};

use crate::metrics::buckets;
use crate::metrics::cells::{PluginCells, Tables};
use crate::metrics::decided::Decided;
use crate::metrics::histogram::Histogram;

/// One of so many decisions is looked at.
const EVERY: u32 = 256;

/// Plugins with cells of their own; plans are small, reloads may bring others.
const MOST_PLUGINS: usize = 256;

/// Times the plugins of a decision, if it is one that is looked at.
pub fn sample(tables: &mut Tables, decided: &Decided<'_>) {
    if tables.until_probe > 0 {
        tables.until_probe -= 1;
        return;
    }
    tables.until_probe = EVERY - 1;
    let (plan, table) = (decided.plan, decided.table);
    let ctx = Ctx {
        now: table.now,
        request: decided.request,
        snapshot: decided.snapshot,
        readings: &table.readings,
        slots: decided.slots,
        produced: &table.produced,
        // The generator of the picker is seeded per run; all runs of a decision have the same seed.
        seed: table.runs().first().map_or(0, |run| run.draw.seed),
    };
    let began = Instant::now();
    let _ = plan.handler.plugin.next(&ctx, table.runs());
    note(
        tables,
        "ProfilePicker",
        plan.handler.kind,
        &plan.handler.name,
        began,
    );
    for run in table.runs() {
        if let Some(profile) = plan.profiles.get(run.profile) {
            repeat(tables, profile, &ctx, run);
        }
    }
}

/// Calls the plugins of one profile on what they saw.
fn repeat(tables: &mut Tables, profile: &Profile, ctx: &Ctx<'_>, run: &ProfileRun) {
    let (mut rows, mut scores) = std::mem::take(&mut tables.scratch);
    rows.fill(ctx.snapshot.len());
    scores.clear();
    scores.resize(ctx.snapshot.len(), 0.0);
    for filter in &profile.filters {
        let began = Instant::now();
        filter.plugin.filter(ctx, &mut rows);
        note(tables, "Filter", filter.kind, &filter.name, began);
    }
    let scorers = if run.alive.is_empty() {
        &[]
    } else {
        profile.scorers.as_slice()
    };
    for Weighted { scorer, .. } in scorers {
        let began = Instant::now();
        scorer.plugin.score(ctx, &run.alive, &mut scores);
        note(tables, "Scorer", scorer.kind, &scorer.name, began);
    }
    tables.scratch = (rows, scores);
    if run.alive.is_empty() {
        return;
    }
    let (mut rng, mut picks) = (Rng::from_seed(run.draw.seed), Picks::new());
    let input = PickInput {
        rows: &run.alive,
        totals: &run.total,
    };
    let began = Instant::now();
    let mut chance = Chance::new(&mut rng);
    profile.picker.plugin.pick(&input, &mut chance, &mut picks);
    let picker = &profile.picker;
    note(tables, "Picker", picker.kind, &picker.name, began);
}

fn note(
    tables: &mut Tables,
    point: &'static str,
    kind: &'static str,
    name: &Arc<str>,
    began: Instant,
) {
    let took = began.elapsed().as_secs_f64();
    let plugins = &mut tables.plugins;
    let known =
        |cells: &PluginCells| cells.point == point && cells.kind == kind && cells.name == *name;
    let at = match plugins.iter().position(known) {
        Some(at) => at,
        None if plugins.len() >= MOST_PLUGINS => return,
        None => {
            plugins.push(PluginCells {
                point,
                kind,
                name: Arc::clone(name),
                took: Histogram::new(&buckets::DECISION),
            });
            plugins.len() - 1
        }
    };
    plugins[at].took.observe(took);
}
