//! The check that a split cannot pass by itself: one endpoint is loaded, and must be picked less.

use pointsman_wire::receipt::Candidate;

use crate::verify::judge::check::Check;
use crate::verify::judge::odds::{UNLIKELY, fewest_by_chance, picked_all_the_same};
use crate::verify::judge::setup::short;
use crate::verify::judge::traffic::{because_of_ailing, none_answered, past_the_picker};
use crate::verify::seen::{LoadSeen, Seen};

/// An endpoint that is kept busy is picked less than chance or turns would.
pub(crate) fn load(seen: &Seen) -> Check {
    let (id, name) = ("load", "an endpoint under load is picked less");
    let left = seen.left_by_filters();
    if left.len() == 1 {
        let removed: Vec<String> = seen
            .removed()
            .iter()
            .take(4)
            .map(|(endpoint, by)| format!("{} is filtered out by {by}", short(endpoint)))
            .collect();
        let why = if removed.is_empty() {
            "the pool has one endpoint".to_owned()
        } else {
            removed.join(", ")
        };
        return Check::good(id, name, format!("nothing to compare: {why}"));
    }
    let Some(load) = seen.load.as_ref().and_then(|levels| levels.last()) else {
        let served = seen.probes().any(|p| p.answer.is_good());
        return match because_of_ailing(seen) {
            _ if served && left.is_empty() => {
                past_the_picker(seen, id, name, "no pick on record".to_owned())
            }
            Some((cause, fix)) => Check::bad(id, name, "it was not tried", cause, fix),
            None if served => Check::not_run(id, name),
            None => none_answered(seen, id, name),
        };
    };
    let victim = match &load.victim {
        Ok(victim) => victim,
        Err(why) => {
            let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
                (
                    why.clone(),
                    "try again while nobody else sends requests".to_owned(),
                )
            });
            return Check::bad(id, name, "it could not be tried", cause, fix);
        }
    };
    let (probes, picked) = (load.probes.len(), picked_all_the_same(load));
    let detail = format!(
        "{} with {} long answers got {picked} of {probes} short requests",
        short(victim),
        load.held
    );
    if load.held_to_the_end < load.held {
        return Check::bad(
            id,
            name,
            detail,
            format!(
                "{} of {} long answers ended too early to tell",
                load.held - load.held_to_the_end,
                load.held
            ),
            "the engines end answers early or the model's context is short; try again on an idle fleet",
        );
    }
    let candidates = left.len();
    let Some(bound) = fewest_by_chance(probes, candidates) else {
        return Check::good(
            id,
            name,
            format!("{detail}; among {candidates} candidates that is too few to tell from chance"),
        );
    };
    if picked <= bound {
        return Check::good(
            id,
            name,
            format!(
                "{detail} (chance: {bound} or fewer in less than {} %)",
                UNLIKELY * 100.0
            ),
        );
    }
    if let Some((busy, idle)) = predicted(load, victim)
        && busy <= idle * MUCH_LONGER
    {
        return Check::good(
            id,
            name,
            format!(
                "{detail}, as predicted: that load does not lengthen its time to first token ({busy:.1} ms, elsewhere {idle:.1} ms)"
            ),
        );
    }
    Check::bad(
        id,
        name,
        format!("{detail} (at most {bound} would show that load counts)"),
        "picks do not follow load: the plan does not score by it, or a heavier scorer outweighs it",
        "see plan; give active-request-scorer more weight and try it with pointsman replay",
    )
}

/// A predicted time is longer if it is above this many times another.
const MUCH_LONGER: f64 = 1.25;

/// The times to first token that a predicting plan expected, on the mean over the probes: of the busy endpoint, and of
/// the best other one. `None` if the plan predicts nothing.
fn predicted(load: &LoadSeen, victim: &str) -> Option<(f64, f64)> {
    let (mut busy, mut idle, mut count) = (0.0, 0.0, 0.0);
    for probe in &load.probes {
        let candidates = &probe.receipt.as_ref()?.profiles.first()?.candidates;
        let time = |c: &Candidate| c.terms.get("ttftMs").copied();
        busy += candidates
            .iter()
            .find(|c| c.endpoint == victim)
            .and_then(time)?;
        let others = candidates.iter().filter(|c| c.endpoint != victim);
        idle += others.filter_map(time).reduce(f64::min)?;
        count += 1.0;
    }
    (count > 0.0).then(|| (busy / count, idle / count))
}
