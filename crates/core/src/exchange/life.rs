//! The life of one request, from arrival to its one outcome.
//!
//! ```text
//!  Waiting ──Ready/Bypass──► Forwarding ──Head──► Answering ──End/Broken──► Ended
//!     │                      │  ▲    │                                        ▲
//!     │                      └──┘ AttemptFailed (next best endpoint)          │
//!     └── Refused, ClientGone ──────────────────────────────────────────────────
//! ```
//! The endpoint's in-flight count is taken in the step that picks it and is released by the guard's drop,
//! on every way out. Parts of the answer never come here: the door forwards them first.

use crate::exchange::event::{
    Attempt, Attempts, Cause, Deciding, Effect, End, Event, Outcome, Usage,
};
use crate::exchange::lessons::Lessons;
use crate::index::row_set::RowSet;
use crate::model::reject::Reject;
use crate::model::slots::InFlight;
use crate::schedule::scheduler::{Choice, Question, decide, told};
use crate::time::{Span, Tick};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Waiting,
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
    guard: Option<InFlight>,
    /// The prefill endpoint's count; released with the first byte, when its work is done.
    prefill_guard: Option<InFlight>,
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
            prefill_guard: None,
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

    /// Whether the outcome has been given.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Takes in what happened and says what to do. After the outcome every event is ignored.
    pub fn on(&mut self, event: Event<'_>, now: Tick) -> Effect {
        match (self.phase, event) {
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
                let guard = slots.enter(snapshot.endpoints[row].slot);
                self.forward(row, guard, now);
                Effect::Nothing
            }
            (Phase::Forwarding, Event::AttemptFailed { cause, retry }) => {
                self.fail_over(cause, retry, now)
            }
            (Phase::Waiting | Phase::Forwarding, Event::Refused(reject)) => self.refuse(reject),
            // A head without an endpoint is an answer of the door's own.
            (Phase::Waiting | Phase::Forwarding, Event::Head { status }) => {
                self.phase = Phase::Answering;
                self.first_byte = Some(now);
                self.status = Some(status);
                self.prefill_guard = None;
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
            (Phase::Waiting | Phase::Forwarding | Phase::Answering, Event::ClientGone) => {
                self.reason = Some("client-gone");
                self.end(End::ClientGone, None, now)
            }
            _ => Effect::Nothing,
        }
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
        let question = Question {
            plan,
            snapshot,
            slots,
            request,
            tried: tried.as_ref().unwrap_or(&nothing_tried),
            now,
            seed,
        };
        let effect = match decide(&question, table) {
            Ok(Choice { targets, .. })
                if request.only_cached && !table.holds_part_of_prompt(targets.primary) =>
            {
                self.refuse(Reject::NotCached)
            }
            Ok(Choice { targets, run, pd }) => {
                // Counted in the same step as the pick, so the next decision already sees it.
                let row = targets.primary;
                let guard = slots.enter(snapshot.endpoints[row].slot);
                self.forward(row, guard, now);
                self.prefill_guard = targets
                    .prefill
                    .map(|row| slots.enter(snapshot.endpoints[row].slot));
                told(&question, table, targets);
                self.lessons
                    .begin(plan, &question.ctx(table), &table.runs()[run], row);
                Effect::Forward {
                    row,
                    prefill: targets.prefill,
                    pd,
                    run: Some(run),
                }
            }
            Err(reject) => self.refuse(reject),
        };
        self.tried = tried;
        effect
    }

    fn forward(&mut self, row: usize, guard: InFlight, now: Tick) {
        self.phase = Phase::Forwarding;
        self.guard = Some(guard);
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
        self.guard = None;
        self.prefill_guard = None;
    }

    fn refuse(&mut self, reject: Reject) -> Effect {
        self.release();
        self.phase = Phase::Waiting;
        self.reason = Some(reject.word());
        Effect::Reply(reject)
    }

    fn end(&mut self, end: End, usage: Option<Usage>, now: Tick) -> Effect {
        let answered = self.phase == Phase::Answering;
        self.phase = Phase::Ended;
        self.release();
        self.lessons.end(usage, end == End::Served, now);
        Effect::Note(Outcome {
            end,
            status: self.status,
            reason: self.reason,
            served: self.attempts.last().filter(|_| answered).map(|a| a.row),
            attempts: std::mem::take(&mut self.attempts),
            usage,
            first_byte: self.first_byte.map(|at| at.since(self.arrived)),
            total: now.since(self.arrived),
            at: now,
        })
    }
}
