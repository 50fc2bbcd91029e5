//! Plugins that remember their picks, put a word on the answer, or tell the gateway a number about it.

use crate::contract::context::Ctx;
use crate::contract::table::ProfileRun;
use crate::model::endpoint::Endpoint;
use crate::model::usage::Usage;
use crate::time::Tick;

/// The picks of one decision.
#[derive(Clone, Copy)]
pub struct Picked<'a> {
    /// What the decision was made from.
    pub ctx: &'a Ctx<'a>,
    /// Row of the primary pick.
    pub primary: usize,
    /// Index of the run that made it.
    pub run: usize,
    /// What the profiles did.
    pub runs: &'a [ProfileRun],
    /// Index of the run of the profile of this name, if it ran.
    pub run_of: &'a dyn Fn(&str) -> Option<usize>,
}

impl Picked<'_> {
    /// The first pick of the profile of this name, if it ran and picked; of the primary one where the name is empty.
    pub fn row_of(&self, profile: &str) -> Option<usize> {
        if profile.is_empty() {
            return Some(self.primary);
        }
        let run = (self.run_of)(profile)?;
        Some(*self.runs[run].picks.first()? as usize)
    }
}

/// Remembers picks. Told of each, in the step that makes it and before the next decision of any worker that follows.
pub trait Observer: Send + Sync {
    /// These were picked.
    fn picked(&self, picked: &Picked<'_>);

    /// Called about once a second, outside of decisions.
    fn maintain(&self, _now: Tick) {}
}

/// Puts a header on the answers of the endpoints picked.
pub trait Announcer: Send + Sync {
    /// The header's name, in lower case.
    fn header(&self) -> &str;

    /// The profile whose pick it speaks of; empty for the one that answers.
    fn profile(&self) -> &str;

    /// Appends the header's value to `out`.
    fn write(&self, endpoint: &Endpoint, out: &mut String);
}

/// Tells the gateway a number about an answer, in metadata that goes with the answer's end.
pub trait Reporter: Send + Sync {
    /// The metadata's namespace, and the number's name in it.
    fn place(&self) -> (&str, &str);

    /// The number, given what the engine reports; `None` where there is nothing to tell.
    fn number(&self, usage: &Usage) -> Option<i64>;
}
