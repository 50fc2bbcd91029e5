//! Judging what was seen: pure functions from facts to checks, each failure with its cause and what mends it.

pub(crate) mod check;
pub(crate) mod load;
pub(crate) mod odds;
pub(crate) mod setup;
pub(crate) mod traffic;

use crate::verify::judge::check::Check;
use crate::verify::seen::Seen;

/// All checks, in the order of the manual.
pub(crate) fn judge(seen: &Seen) -> Vec<Check> {
    vec![
        setup::pairs(seen),
        setup::route(seen),
        setup::plan(seen),
        setup::candidates(seen),
        setup::metrics(seen),
        traffic::burst(seen),
        traffic::failures(seen),
        traffic::headers(seen),
        traffic::scores(seen),
        traffic::served(seen),
        traffic::counter(seen),
        load::load(seen),
    ]
}
