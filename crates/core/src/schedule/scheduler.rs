//! The loop over profiles: the handler says which runs next, until it says done.

use crate::contract::context::{Asked, Ctx};
use crate::contract::observer::Picked;
use crate::contract::roles::{Chance, Holds, Next, PdDecision, Targets};
use crate::contract::table::{Picks, ProfileRun, Table};
use crate::index::row_set::RowSet;
use crate::model::pool::Snapshot;
use crate::model::reject::Reject;
use crate::model::request::InferenceRequest;
use crate::model::slots::Slots;
use crate::rng::Rng;
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

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Who gets the request.
    pub targets: Targets,
    /// All rows that encode, best first.
    pub encode: Picks,
    /// Index of the run that made the primary pick.
    pub run: usize,
    /// What was decided about prefill and decode, if the plan decides that.
    pub pd: Option<PdDecision>,
}

impl<'a> Question<'a> {
    /// What a producer sees of it.
    pub fn asked(&self) -> Asked<'a> {
        Asked {
            now: self.now,
            request: self.request,
            snapshot: self.snapshot,
            slots: self.slots,
        }
    }

    /// What a plugin of a profile sees of it.
    pub fn ctx<'t>(&self, table: &'t Table) -> Ctx<'t>
    where
        'a: 't,
    {
        Ctx {
            now: self.now,
            request: self.request,
            snapshot: self.snapshot,
            readings: &table.readings,
            slots: self.slots,
            produced: &table.produced,
            seed: self.seed,
        }
    }
}

/// Decides: fills `table` and returns who gets the request.
///
/// # Errors
/// [`Reject::NoEndpoints`] when the pool is empty, [`Reject::FilteredOut`] when the filters left none,
/// [`Reject::NotAdmitted`] when a plugin refuses the request, [`Reject::Internal`] when the handler does not come to an
/// end.
pub fn decide(question: &Question<'_>, table: &mut Table) -> Result<Choice, Reject> {
    let Question {
        plan,
        snapshot,
        slots,
        now,
        ..
    } = *question;
    table.begin(snapshot, slots, &plan.reads, &plan.staleness, now);
    if snapshot.is_empty() {
        return Err(Reject::NoEndpoints);
    }
    produce(question, table);
    admit(question, table)?;
    loop {
        let next = plan.handler.plugin.next(&question.ctx(table), table.runs());
        match next {
            Next::Done {
                primary,
                prefill,
                encode,
                pd,
            } => {
                let picks = |run: Option<usize>| table.runs().get(run?).map(|run| &run.picks);
                let first = |run| Some(*picks(run)?.first()? as usize);
                let targets = Targets {
                    primary: primary_pick(question, table, primary)?,
                    prefill: first(prefill),
                    encode: first(encode),
                };
                return Ok(Choice {
                    targets,
                    encode: picks(encode).cloned().unwrap_or_default(),
                    run: primary,
                    pd,
                });
            }
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
                let (readings, produced, run) = table.add_run();
                let ctx = Ctx {
                    now,
                    request: question.request,
                    snapshot,
                    readings,
                    slots,
                    produced,
                    seed: question.seed,
                };
                profile::run(chosen, at, &ctx, question.tried, question.seed, run);
            }
        }
    }
}

/// Lets the producers of the plan fill their places.
fn produce(question: &Question<'_>, table: &mut Table) {
    let rows = question.snapshot.len();
    for (at, producer) in question.plan.producers.iter().enumerate() {
        let (place, hasher) = table.produced.next(&producer.name, rows);
        producer.plugin.produce(&question.asked(), hasher, place);
        if at == 0 {
            table.readings.fill_prefix(place, question.now);
        }
    }
    for preparer in &question.plan.preparers {
        preparer
            .plugin
            .prepare(&question.asked(), &mut table.produced);
    }
}

/// Asks the plugins that may refuse a request; one that has been sent to an endpoint has been admitted.
fn admit(question: &Question<'_>, table: &Table) -> Result<(), Reject> {
    if question.plan.admitters.is_empty() || question.tried.count() > 0 {
        return Ok(());
    }
    let mut rng = Rng::from_seed(question.seed);
    let mut chance = Chance::new(&mut rng);
    for admitter in &question.plan.admitters {
        if let Some(why) = admitter.plugin.refuses(&question.ctx(table), &mut chance) {
            return Err(Reject::NotAdmitted(why));
        }
    }
    Ok(())
}

/// Tells the producers what was picked.
pub fn told(question: &Question<'_>, table: &Table, targets: Targets) {
    let found = table.produced.prefixes();
    for (producer, found) in question.plan.producers.iter().zip(found) {
        producer
            .plugin
            .picked(&question.asked(), &table.produced.hasher, found, targets);
    }
}

/// What the request holds on the endpoints picked.
pub fn held(question: &Question<'_>, table: &Table, targets: Targets) -> Holds {
    let mut holds = Holds::new();
    for preparer in &question.plan.preparers {
        preparer
            .plugin
            .hold(&question.asked(), &table.produced, targets, &mut holds);
    }
    holds
}

/// Tells the plugins that remember picks.
pub fn observed(question: &Question<'_>, table: &Table, choice: &Choice) {
    if question.plan.observers.is_empty() {
        return;
    }
    let profiles = &question.plan.profiles;
    let named = |run: &ProfileRun, name: &str| profiles[run.profile].name == name;
    let picked = Picked {
        ctx: &question.ctx(table),
        primary: choice.targets.primary,
        run: choice.run,
        runs: table.runs(),
        run_of: &|name| table.runs().iter().position(|run| named(run, name)),
    };
    for observer in &question.plan.observers {
        observer.picked(&picked);
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
        .filter(|&by| by != ProfileRun::TRIED && by != ProfileRun::STALE)
        .max();
    let profile = &question.plan.profiles[run.profile];
    match last {
        Some(by) if by > 0 => Reject::FilteredOut {
            profile: profile.name.clone(),
            filter: profile.filters[by as usize - 1].name.to_string(),
        },
        Some(_) => Reject::Internal(format!("picker '{}' chose nothing", profile.picker.name)),
        None => Reject::UpstreamUnreachable {
            tried: question.tried.count(),
        },
    }
}
