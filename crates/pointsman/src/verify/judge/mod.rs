//! What the observations mean: pure, in the order of the report.

mod direct;
mod load;
mod plan;
mod roots;
mod routes;
mod traffic;

use crate::verify::check::{self, Check};
use crate::verify::seen::Seen;

/// Every check, passed, failed or not reached.
pub(crate) fn judge(seen: &Seen) -> Vec<Check> {
    let roots = roots::Roots::of(seen);
    vec![
        direct::reached(seen, &roots),
        direct::pairs(seen, &roots),
        routes::ordinary(seen, &roots),
        plan::plan(seen, &roots),
        plan::candidates(seen, &roots),
        direct::metrics(seen, &roots),
        traffic::bursts(seen, &roots),
        traffic::scheduling(seen, &roots),
        routes::headers(seen, &roots),
        traffic::receipts(seen, &roots),
        traffic::chosen(seen, &roots),
        traffic::counter(seen, &roots),
        load::load(seen, &roots),
    ]
}

/// Whether all hold.
pub(crate) fn all_good(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok) && checks.iter().any(|c| c.id == check::LOAD.id)
}

#[cfg(test)]
mod tests;
