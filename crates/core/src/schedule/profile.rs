//! One profile over one table: filters cross out rows, scorers rate the rest, the picker chooses.
//!
//! `total[row] = Σ weight × clamp(score, 0, 1)`, summed in the order of the scorers; no division by the
//! sum of weights, as in the reference. A score that is no number counts 0.

use crate::contract::context::Ctx;
use crate::contract::roles::{Chance, PickInput};
use crate::contract::table::{Draw, ProfileRun};
use crate::index::row_set::RowSet;
use crate::rng::Rng;
use crate::schedule::plan::Profile;

/// Runs `profile` on all rows but those in `tried` and leaves everything it did in `run`.
pub fn run(
    profile: &Profile,
    at: usize,
    ctx: &Ctx<'_>,
    tried: &RowSet,
    seed: u64,
    run: &mut ProfileRun,
) {
    let rows = ctx.snapshot.len();
    run.profile = at;
    run.picks.clear();
    run.draw = Draw { seed, value: None };
    cross_out(profile, ctx, tried, run);
    run.total.clear();
    run.total.resize(rows, 0.0);
    run.scores.resize_with(profile.scorers.len(), Vec::new);
    let terms = profile
        .scorers
        .iter()
        .map(|s| s.scorer.plugin.terms().len())
        .sum();
    run.terms.resize_with(terms, Vec::new);
    for column in run.scores.iter_mut().chain(&mut run.terms) {
        column.clear();
        column.resize(rows, 0.0);
    }
    if run.alive.is_empty() {
        return;
    }
    let mut terms = run.terms.as_mut_slice();
    for (weighted, column) in profile.scorers.iter().zip(&mut run.scores) {
        let scorer = &weighted.scorer.plugin;
        match scorer.terms().len() {
            0 => scorer.score(ctx, &run.alive, column),
            count => {
                let (own, rest) = terms.split_at_mut(count);
                terms = rest;
                scorer.score_with_terms(ctx, &run.alive, column, own);
            }
        }
        // Rows crossed out hold 0 and add 0, so the sum runs over all rows without a test.
        for (score, total) in column.iter_mut().zip(&mut run.total) {
            // `max` turns NaN into 0.
            *score = score.max(0.0).clamp(0.0, 1.0);
            *total += *score * weighted.weight;
        }
    }
    let mut rng = Rng::from_seed(seed);
    let mut chance = Chance::new(&mut rng);
    let input = PickInput {
        rows: &run.alive,
        totals: &run.total,
    };
    profile
        .picker
        .plugin
        .pick(&input, &mut chance, &mut run.picks);
    run.draw.value = chance.first();
}

fn cross_out(profile: &Profile, ctx: &Ctx<'_>, tried: &RowSet, run: &mut ProfileRun) {
    let rows = ctx.snapshot.len();
    run.alive.fill(rows);
    run.struck_by.clear();
    run.struck_by.resize(rows, 0);
    for row in tried.iter() {
        run.alive.remove(row);
        run.struck_by[row] = ProfileRun::TRIED;
    }
    let stale = ctx.readings.stale();
    for row in stale.iter() {
        if run.struck_by[row] == 0 {
            run.struck_by[row] = ProfileRun::STALE;
        }
    }
    if !stale.is_empty() {
        run.alive.retain(|row| !stale.contains(row));
        // With everybody else tried, an endpoint whose readings are old is better than none.
        if run.alive.is_empty() {
            for row in stale.iter().filter(|&row| !tried.contains(row)) {
                run.alive.insert(row);
                run.struck_by[row] = 0;
            }
        }
    }
    for (at, filter) in profile.filters.iter().enumerate() {
        if run.alive.is_empty() {
            return;
        }
        filter.plugin.filter(ctx, &mut run.alive);
        for row in 0..rows {
            if run.struck_by[row] == 0 && !run.alive.contains(row) {
                run.struck_by[row] = at as u16 + 1;
            }
        }
    }
}
