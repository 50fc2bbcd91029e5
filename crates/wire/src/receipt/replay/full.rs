//! A receipt decided again with everything told that a receipt tells: who was removed, every score, total and tie.
//!
//! Of a large pool only the best rows stand in a receipt. They are decided again among themselves, with the scores
//! that they had among all, since a scorer that compares candidates would give others among a few.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_core::schedule::decision::Decision;

use super::{Again, NotReplayable, Replay};
use crate::receipt::writing::profile_facts;
use crate::receipt::{Filtered, ProfileFacts, Receipt, TRIED, Value};

/// What came of deciding again, profile by profile.
#[derive(Clone, Debug, PartialEq)]
pub struct InFull {
    /// The pick, and what it rests on.
    pub again: Again,
    /// One entry for each profile that ran.
    pub profiles: Vec<ProfileFacts>,
}

impl Replay {
    /// Decides again what `receipt` is about, also where nobody was picked or only the best rows are in it.
    ///
    /// # Errors
    /// No profile ran.
    pub fn in_full(mut self, receipt: &Receipt) -> Result<InFull, NotReplayable> {
        let first = receipt.profiles.first().ok_or(NotReplayable::NoPick)?;
        let (mut again, pool) = self.run(receipt, first);
        let (plan, snapshot) = (Arc::new(self.plan), Arc::new(pool.snapshot));
        let decision = Decision::freeze(&plan, &snapshot, &self.table);
        let runs = decision.runs.iter();
        let mut profiles: Vec<ProfileFacts> =
            runs.map(|run| profile_facts(&decision, run)).collect();
        let known = Known::of(first);
        profiles
            .iter_mut()
            .for_each(|profile| known.restore(profile));
        if receipt.truncated {
            keep_pick(receipt, &mut again, &mut profiles);
        }
        Ok(InFull { again, profiles })
    }
}

/// Of a large pool only the best rows stand in a receipt, so a draw among them is another one than that of then: whoever
/// was picked then and is still among the best stays picked.
fn keep_pick(receipt: &Receipt, again: &mut Again, profiles: &mut [ProfileFacts]) {
    let (Some(was), Some(now)) = (receipt.picked(), &again.pick) else {
        return;
    };
    let mut tied = profiles.iter_mut();
    let drawn =
        tied.find(|run| run.picked.first() == Some(now) && run.tie.iter().any(|name| name == was));
    if let Some(run) = drawn {
        if let Some(first) = run.picked.first_mut() {
            was.clone_into(first);
        }
        run.draw.value = None;
        again.pick = Some(was.to_owned());
    }
}

/// What the receipt says of an endpoint whatever the plan: its row, its readings with the ages they had.
struct Known<'r> {
    rows: BTreeMap<&'r str, (u32, &'r BTreeMap<String, Value>)>,
    filtered: &'r [Filtered],
}

impl<'r> Known<'r> {
    fn of(profile: &'r ProfileFacts) -> Self {
        let scored = profile.candidates.iter();
        let scored = scored.map(|c| (c.endpoint.as_str(), (c.row, &c.readings)));
        let gone = profile.filtered.iter();
        let gone = gone.map(|f| (f.endpoint.as_str(), (f.row, &f.readings)));
        Self {
            rows: scored.chain(gone).collect(),
            filtered: &profile.filtered,
        }
    }

    fn restore(&self, profile: &mut ProfileFacts) {
        for candidate in &mut profile.candidates {
            if let Some((row, readings)) = self.rows.get(candidate.endpoint.as_str()) {
                candidate.row = *row;
                candidate.readings = (*readings).clone();
            }
        }
        for gone in &mut profile.filtered {
            if let Some((row, readings)) = self.rows.get(gone.endpoint.as_str()) {
                gone.row = *row;
                gone.readings = (*readings).clone();
            }
            // Whatever had it out before any filter ran.
            let then = || self.filtered.iter().find(|f| f.endpoint == gone.endpoint);
            if gone.by == TRIED
                && let Some(then) = then()
            {
                gone.by.clone_from(&then.by);
            }
        }
    }
}
