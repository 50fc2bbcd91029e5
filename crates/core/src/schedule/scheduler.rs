//! The loop over profiles: the handler says which runs next, until it says done.

use crate::contract::context::Ctx;
use crate::contract::roles::Next;
use crate::contract::table::{ProfileRun, Table};
use crate::index::row_set::RowSet;
use crate::model::pool::Snapshot;
use crate::model::reject::Reject;
use crate::model::request::InferenceRequest;
use crate::model::slots::Slots;
use crate::schedule::plan::Plan;
use crate::schedule::profile;
use crate::time::Tick;

/// A handler that asks for more runs than this is broken.
const MAX_RUNS: usize = 16;

/// What a decision is made from.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The plan in force.
    pub plan: &'a Plan,
    /// The candidates.
    pub snapshot: &'a Snapshot,
    /// Their live readings.
    pub slots: &'a Slots,
    /// What is asked for.
    pub request: &'a InferenceRequest<'a>,
    /// Rows that failed for this request and must not be picked again.
    pub tried: &'a RowSet,
    /// The moment of the decision.
    pub now: Tick,
    /// Seed of every random choice in this decision.
    pub seed: u64,
}

/// Decides: fills `table` and returns the row of the primary pick.
///
/// # Errors
/// [`Reject::NoEndpoints`] when the pool is empty, [`Reject::FilteredOut`] when the filters left none,
/// [`Reject::Internal`] when the handler does not come to an end.
pub fn decide(question: &Question<'_>, table: &mut Table) -> Result<usize, Reject> {
    let Question {
        plan,
        snapshot,
        slots,
        now,
        ..
    } = *question;
    table.begin(snapshot, slots, &plan.reads, now);
    if snapshot.is_empty() {
        return Err(Reject::NoEndpoints);
    }
    loop {
        let next = {
            let ctx = Ctx {
                now,
                request: question.request,
                snapshot,
                readings: &table.readings,
            };
            plan.handler
                .plugin
                .next(&ctx, plan.profiles.len(), table.runs())
        };
        match next {
            Next::Done { primary } => return primary_pick(question, table, primary),
            Next::Run(_) if table.runs().len() >= MAX_RUNS => {
                return Err(Reject::Internal(format!(
                    "profile handler '{}' asked for more than {MAX_RUNS} runs",
                    plan.handler.name
                )));
            }
            Next::Run(at) => {
                let Some(chosen) = plan.profiles.get(at) else {
                    return Err(Reject::Internal(format!(
                        "profile handler asked for profile number {at}"
                    )));
                };
                let (readings, run) = table.add_run();
                let ctx = Ctx {
                    now,
                    request: question.request,
                    snapshot,
                    readings,
                };
                profile::run(chosen, at, &ctx, question.tried, question.seed, run);
            }
        }
    }
}

fn primary_pick(question: &Question<'_>, table: &Table, primary: usize) -> Result<usize, Reject> {
    let Some(run) = table.runs().get(primary) else {
        return Err(Reject::Internal(
            "the profile handler ran no profile".to_owned(),
        ));
    };
    match run.picks.first() {
        Some(&row) => Ok(row as usize),
        None => Err(nothing_left(question, run)),
    }
}

/// Why a profile has no pick: the filter that crossed out the last row, or all rows tried before.
fn nothing_left(question: &Question<'_>, run: &ProfileRun) -> Reject {
    let last = run
        .struck_by
        .iter()
        .copied()
        .filter(|&by| by != ProfileRun::TRIED)
        .max();
    let profile = &question.plan.profiles[run.profile];
    match last {
        Some(by) if by > 0 => Reject::FilteredOut {
            profile: profile.name.clone(),
            filter: profile.filters[by as usize - 1].name.clone(),
        },
        Some(_) => Reject::Internal(format!("picker '{}' chose nothing", profile.picker.name)),
        None => Reject::UpstreamUnreachable {
            tried: question.tried.count(),
        },
    }
}
