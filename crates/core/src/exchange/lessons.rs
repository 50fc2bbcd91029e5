//! What the learners of a plan are told of one request: the pick, the first byte, and exactly once the end.
//!
//! A request that is dropped without an end is over too; its learners hear so.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::contract::context::Ctx;
use crate::contract::learner::{Lesson, Taught};
use crate::contract::table::ProfileRun;
use crate::model::usage::Usage;
use crate::schedule::plan::Plan;
use crate::time::Tick;

/// The lessons under way of one request; empty where the plan has no learner.
#[derive(Default)]
pub struct Lessons {
    plan: Option<Arc<Plan>>,
    /// Profile and place of the scorer, and its number for the request.
    open: SmallVec<[(u16, u16, Lesson); 1]>,
    began: Tick,
    taught: Taught,
}

impl Lessons {
    /// `row` was picked in `run`.
    pub fn begin(&mut self, plan: &Arc<Plan>, ctx: &Ctx<'_>, run: &ProfileRun, row: usize) {
        self.began = ctx.now;
        self.taught = Taught::default();
        for (profile, place, learner) in plan.learners().filter(|(p, ..)| *p == run.profile) {
            let lesson = learner.picked(ctx, run, row);
            self.open.push((profile as u16, place as u16, lesson));
        }
        if !self.open.is_empty() {
            self.plan = Some(Arc::clone(plan));
        }
    }

    /// The head of the answer arrived.
    pub fn head(&mut self, status: u16, now: Tick) {
        self.taught.status = Some(status);
        self.taught.first_byte = Some(now.since(self.began));
        let Some(plan) = &self.plan else { return };
        for &(profile, place, lesson) in &self.open {
            if let Some(learner) = scorer(plan, profile, place) {
                learner.head(lesson, status, now);
            }
        }
    }

    /// The request is over.
    pub fn end(&mut self, usage: Option<Usage>, complete: bool, now: Tick) {
        let Some(plan) = self.plan.take() else { return };
        let taught = Taught {
            usage,
            complete,
            ..self.taught
        };
        for (profile, place, lesson) in self.open.drain(..) {
            if let Some(learner) = scorer(&plan, profile, place) {
                learner.ended(lesson, &taught, now);
            }
        }
    }
}

fn scorer(plan: &Plan, profile: u16, place: u16) -> Option<&dyn crate::contract::learner::Learner> {
    plan.profiles[profile as usize].scorers[place as usize]
        .scorer
        .plugin
        .learner()
}

impl Drop for Lessons {
    fn drop(&mut self) {
        let began = self.began;
        self.end(None, false, began);
    }
}
