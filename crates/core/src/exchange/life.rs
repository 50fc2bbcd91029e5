//! The life of one request, from arrival to its one outcome.
//!
//! ```text
//!  Waiting ──Ready/Bypass──► Forwarding ──Head──► Answering ──End/Broken──► Ended
//!   │ ▲ │                    │  ▲    │                                        ▲
//!   │ │ │                    └──┘ AttemptFailed (next best endpoint)          │
//!   │ │ └── Refused, ClientGone ────────────────────────────────────────────────
//!   │ └── Admitted ── Queued ── Refused, ClientGone ──────────────────────────────
//!   └── Arrived, and nobody is let in without asking ──► Queued
//! ```
//! The endpoint's in-flight count is taken in the step that picks it and is released by the guard's drop,
//! on every way out. Parts of the answer never come here: the door forwards them first.

use std::sync::Arc;

use crate::admission::permits::Permit;
use crate::contract::roles::{Holds, Targets};
use crate::contract::table::Picks;
use crate::exchange::event::{
    Attempt, Attempts, Cause, Deciding, Effect, End, Entering, Event, Outcome, Usage,
};
use crate::exchange::lessons::Lessons;
use crate::index::row_set::RowSet;
use crate::model::pool::Snapshot;
use crate::model::reject::Reject;
use crate::model::slots::{InFlight, Slots};
use crate::schedule::plan::Plan;
use crate::schedule::scheduler::{Question, decide, held, observed, told};
use crate::time::{Span, Tick};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Waiting,
    Queued,
    Forwarding,
    Answering,
    Ended,
}

/// One request under way. Dropping it releases what it holds; an outcome comes only out of [`Life::on`].
pub struct Life {
    phase: Phase,
    arrived: Tick,
    attempt_began: Tick,
    first_byte: Option<Tick>,
    /// Why it is let in, where requests are counted before they are. It stands before the guards, and so is dropped
    /// before them: see the order in `permits`.
    permit: Option<Permit>,
    guard: Option<InFlight>,
    /// How often it was let in and found every endpoint taken.
    turned_back: u32,
    /// The prefill endpoint's count; released with the first byte, when its work is done.
    prefill_guard: Option<InFlight>,
    /// The same of the first endpoint that encodes.
    encode_guard: Option<InFlight>,
    holds: Holds,
    lessons: Lessons,
    tried: Option<RowSet>,
    attempts: Attempts,
    status: Option<u16>,
    reason: Option<&'static str>,
}

impl Life {
    /// A request that arrived at `now`.
    pub fn begin(now: Tick) -> Self {
        Self {
            phase: Phase::Waiting,
            arrived: now,
            attempt_began: now,
            first_byte: None,
            guard: None,
            permit: None,
            turned_back: 0,
            prefill_guard: None,
            encode_guard: None,
            holds: Holds::new(),
            lessons: Lessons::default(),
            tried: None,
            attempts: Attempts::new(),
            status: None,
            reason: None,
        }
    }

    /// When the request arrived.
    pub fn arrived(&self) -> Tick {
        self.arrived
    }

    /// The endpoints tried so far, the current one last.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// How often it was let in and found every endpoint that it may use taken.
    pub fn turned_back(&self) -> u32 {
        self.turned_back
    }

    /// Whether it has asked the gatekeeper and has no answer.
    pub fn is_queued(&self) -> bool {
        self.phase == Phase::Queued
    }

    /// Whether the head of an answer has come, and its end has not.
    pub fn is_answering(&self) -> bool {
        self.phase == Phase::Answering
    }

    /// Whether the outcome has been given.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Takes in what happened and says what to do. After the outcome every event is ignored.
    pub fn on(&mut self, event: Event<'_>, now: Tick) -> Effect {
        match (self.phase, event) {
            (Phase::Waiting, Event::Arrived(entering)) => self.come(&entering, now),
            (Phase::Queued, Event::Admitted(permit)) => {
                self.permit = Some(permit);
                self.phase = Phase::Waiting;
                Effect::Nothing
            }
            (Phase::Waiting, Event::Ready(deciding)) => self.choose(deciding, now),
            (
                Phase::Waiting,
                Event::Bypass {
                    row,
                    snapshot,
                    slots,
                },
            ) => {
                let guard = slots.enter(snapshot.endpoints[row].slot);
                self.forward(row, guard, now);
                Effect::Forward {
                    row,
                    prefill: None,
                    encode: Picks::new(),
                    pd: None,
                    run: None,
                }
            }
            (
                Phase::Forwarding,
                Event::ServedElsewhere {
                    row,
                    snapshot,
                    slots,
                },
            ) => {
                self.lessons.end(None, false, now);
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.cause = Some(Cause::PassedOver);
                    attempt.took = now.since(self.attempt_began);
                }
                let slot = snapshot.endpoints[row].slot;
                if let Some(before) = &self.guard {
                    for hold in &mut self.holds {
                        hold.tokens.follow(before.slot(), slot);
                    }
                }
                self.forward(row, slots.enter(slot), now);
                Effect::Nothing
            }
            (Phase::Forwarding, Event::AttemptFailed { cause, retry }) => {
                self.fail_over(cause, retry, now)
            }
            (Phase::Waiting | Phase::Queued | Phase::Forwarding, Event::Refused(reject)) => {
                if reject == Reject::Evicted
                    && let Some(attempt) = self.attempts.last_mut()
                {
                    attempt.cause = Some(Cause::Evicted);
                    attempt.took = now.since(self.attempt_began);
                }
                self.refuse(reject)
            }
            // A head without an endpoint is an answer of the door's own.
            (Phase::Waiting | Phase::Forwarding, Event::Head { status }) => {
                self.phase = Phase::Answering;
                self.first_byte = Some(now);
                self.status = Some(status);
                // Whatever was refused before, this is answered.
                self.reason = None;
                self.prefill_guard = None;
                self.encode_guard = None;
                self.holds.retain(|hold| !hold.until_head);
                self.lessons.head(status, now);
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.took = now.since(self.attempt_began);
                }
                Effect::Nothing
            }
            (Phase::Answering, Event::End { usage }) => self.end(End::Served, usage, now),
            (Phase::Answering, Event::Broken(cause)) => {
                self.reason = Some(cause.word());
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.cause = Some(cause);
                }
                self.end(End::Broken, None, now)
            }
            // A refusal has been decided and the door reports that it was sent.
            (Phase::Waiting, Event::End { .. }) => self.end(End::Rejected, None, now),
            (
                Phase::Waiting | Phase::Queued | Phase::Forwarding | Phase::Answering,
                Event::ClientGone,
            ) => {
                self.reason = Some("client-gone");
                self.end(End::ClientGone, None, now)
            }
            _ => Effect::Nothing,
        }
    }

    /// Whether it is let in without asking. Where nobody waits, those of a priority below 0 give way to the others
    /// when the pool is full.
    fn come(&mut self, entering: &Entering<'_>, now: Tick) -> Effect {
        let Entering {
            admission,
            permits,
            snapshot,
            slots,
            priority,
        } = *entering;
        if admission.flow.is_none() {
            return match priority < 0 && !snapshot.is_empty() {
                true if admission.is_full(snapshot, slots, now) => self.refuse(Reject::Saturated),
                _ => Effect::Nothing,
            };
        }
        if !snapshot.is_empty() {
            self.permit = permits.pass();
        }
        match self.permit {
            Some(_) => Effect::Nothing,
            None => self.ask(),
        }
    }

    fn ask(&mut self) -> Effect {
        self.permit = None;
        self.phase = Phase::Queued;
        Effect::AskAdmission
    }

    fn choose(&mut self, deciding: Deciding<'_>, now: Tick) -> Effect {
        let Deciding {
            plan,
            snapshot,
            slots,
            request,
            table,
            seed,
        } = deciding;
        let (tried, nothing_tried) = (self.tried.take(), RowSet::default());
        // Those tried, and those that others filled between the decision and taking the place.
        let mut taken: Option<RowSet> = None;
        let effect = loop {
            let question = Question {
                plan,
                snapshot,
                slots,
                request,
                tried: taken.as_ref().or(tried.as_ref()).unwrap_or(&nothing_tried),
                now,
                seed,
            };
            let decided = decide(&question, table);
            if let Some(taken) = &taken {
                table.mark_full(taken, tried.as_ref().unwrap_or(&nothing_tried));
            }
            let choice = match decided {
                Ok(choice) => choice,
                Err(reject) => break self.nobody(reject, plan, taken.is_some()),
            };
            let targets = choice.targets;
            if request.only_cached && !table.holds_part_of_prompt(targets.primary) {
                break self.refuse(Reject::NotCached);
            }
            // Counted in the same step as the pick, so the next decision already sees it.
            match places(
                plan,
                snapshot,
                slots,
                table.runs()[choice.run].profile,
                targets,
            ) {
                Ok(places) => {
                    let row = targets.primary;
                    self.forward(row, places.primary, now);
                    self.prefill_guard = places.prefill;
                    self.encode_guard = places.encode;
                    told(&question, table, targets);
                    self.holds = held(&question, table, targets);
                    observed(&question, table, &choice);
                    let run = &table.runs()[choice.run];
                    self.lessons.begin(plan, &question.ctx(table), run, row);
                    break Effect::Forward {
                        row,
                        prefill: targets.prefill,
                        encode: choice.encode,
                        pd: choice.pd,
                        run: Some(choice.run),
                    };
                }
                Err(row) => {
                    let rows = taken.get_or_insert_with(|| {
                        tried.clone().unwrap_or_else(|| {
                            let mut rows = RowSet::default();
                            rows.clear(snapshot.len());
                            rows
                        })
                    });
                    rows.insert(row);
                    strike_full(plan, snapshot, slots, rows);
                }
            }
        };
        self.tried = tried;
        effect
    }

    /// Nobody can be picked. Where that is because every endpoint is taken, whoever was let in asks again: the room that
    /// it was given went to somebody else, or was at endpoints that it may not use. The bound on waiting ends that.
    fn nobody(&mut self, reject: Reject, plan: &Plan, taken: bool) -> Effect {
        let full = taken || is_full(&reject, plan);
        if full && self.permit.is_some() && plan.admission.flow.is_some() {
            self.turned_back = self.turned_back.saturating_add(1);
            self.release();
            return self.ask();
        }
        match reject {
            Reject::UpstreamUnreachable { .. } if taken && self.attempts.is_empty() => {
                self.refuse(all_full(plan))
            }
            reject => self.refuse(reject),
        }
    }

    fn forward(&mut self, row: usize, guard: InFlight, now: Tick) {
        self.phase = Phase::Forwarding;
        self.guard = Some(guard);
        if let Some(permit) = &mut self.permit {
            permit.enter();
        }
        self.attempt_began = now;
        self.attempts.push(Attempt {
            row: row as u32,
            cause: None,
            took: Span(0),
        });
    }

    fn fail_over(&mut self, cause: Cause, retry: Option<Deciding<'_>>, now: Tick) -> Effect {
        self.release();
        self.lessons.end(None, false, now);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.cause = Some(cause);
            attempt.took = now.since(self.attempt_began);
            if let Some(deciding) = &retry {
                let tried = self.tried.get_or_insert_with(|| {
                    let mut rows = RowSet::default();
                    rows.clear(deciding.snapshot.len());
                    rows
                });
                tried.insert(attempt.row as usize);
            }
        }
        self.phase = Phase::Waiting;
        let exhausted = |life: &mut Self| {
            let tried = life.attempts.len();
            life.refuse(if cause.is_timeout() {
                Reject::UpstreamTimeout
            } else {
                Reject::UpstreamUnreachable { tried }
            })
        };
        match retry {
            // With every row tried (or the rest filtered out) the last failure is the reason to give.
            Some(deciding) => match self.choose(deciding, now) {
                Effect::Reply(Reject::FilteredOut { .. } | Reject::UpstreamUnreachable { .. }) => {
                    exhausted(self)
                }
                effect => effect,
            },
            None => exhausted(self),
        }
    }

    fn release(&mut self) {
        // Before the endpoint's count: see the order in `permits`.
        if let Some(permit) = &mut self.permit {
            permit.leave();
        }
        self.guard = None;
        self.prefill_guard = None;
        self.encode_guard = None;
        self.holds.clear();
    }

    fn refuse(&mut self, reject: Reject) -> Effect {
        self.release();
        self.permit = None;
        self.phase = Phase::Waiting;
        self.reason = Some(reject.word());
        Effect::Reply(reject)
    }

    fn end(&mut self, end: End, usage: Option<Usage>, now: Tick) -> Effect {
        let answered = self.phase == Phase::Answering;
        self.phase = Phase::Ended;
        self.release();
        self.permit = None;
        self.lessons.end(usage, end == End::Served, now);
        Effect::Note(Outcome {
            end,
            status: self.status,
            reason: self.reason,
            served: self.attempts.last().filter(|_| answered).map(|a| a.row),
            attempts: std::mem::take(&mut self.attempts),
            usage,
            prefill: None,
            first_byte: self.first_byte.map(|at| at.since(self.arrived)),
            total: now.since(self.arrived),
            at: now,
        })
    }
}

/// The places of one request.
struct Places {
    primary: InFlight,
    prefill: Option<InFlight>,
    encode: Option<InFlight>,
}

/// Takes the places of those picked, or says which of them has none left.
fn places(
    plan: &Plan,
    snapshot: &Snapshot,
    slots: &Arc<Slots>,
    profile: usize,
    targets: Targets,
) -> Result<Places, usize> {
    let most = |profile: Option<usize>| {
        let all = &plan.admission.most_in_flight;
        profile.and_then(|at| all.get(at).copied().flatten())
    };
    let take = |row: usize, most: Option<u32>| {
        let slot = snapshot.endpoints[row].slot;
        match most {
            None => Ok(slots.enter(slot)),
            Some(most) => slots.enter_below(slot, most).ok_or(row),
        }
    };
    let handler = &plan.handler.plugin;
    let also = |row: Option<usize>, most: Option<u32>| row.map(|row| take(row, most)).transpose();
    Ok(Places {
        primary: take(targets.primary, most(Some(profile)))?,
        prefill: also(targets.prefill, most(handler.prefill_profile()))?,
        encode: also(targets.encode, most(handler.encode_profile()))?,
    })
}

/// The most requests that any profile lets an endpoint hold; `None`: one of them knows no limit.
fn most_of_all(plan: &Plan) -> Option<u32> {
    let limits = plan.admission.most_in_flight.iter().copied();
    limits.reduce(|one, other| Some(one?.max(other?))).flatten()
}

/// Adds the rows that no profile can pick any more, so that they are not found out one decision after another.
fn strike_full(plan: &Plan, snapshot: &Snapshot, slots: &Slots, rows: &mut RowSet) {
    let Some(most) = most_of_all(plan) else {
        return;
    };
    for (row, endpoint) in snapshot.endpoints.iter().enumerate() {
        if slots.in_flight(endpoint.slot) >= most {
            rows.insert(row);
        }
    }
}

/// Every endpoint was full by the time its place was to be taken.
fn all_full(plan: &Plan) -> Reject {
    let limits = plan.profiles.iter().find_map(|profile| {
        let mut filters = profile.filters.iter();
        let filter = filters.find(|named| named.plugin.most_in_flight().is_some())?;
        Some(Reject::FilteredOut {
            profile: profile.name.clone(),
            filter: filter.name.to_string(),
        })
    });
    limits.unwrap_or(Reject::Saturated)
}

/// Whether the filter that left nobody is one that crosses out who is full.
fn is_full(reject: &Reject, plan: &Plan) -> bool {
    let Reject::FilteredOut { filter, .. } = reject else {
        return false;
    };
    let filters = plan.profiles.iter().flat_map(|profile| &profile.filters);
    filters
        .filter(|named| *named.name == **filter)
        .any(|named| named.plugin.most_in_flight().is_some())
}
