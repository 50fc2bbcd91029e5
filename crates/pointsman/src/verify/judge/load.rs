//! Whether short requests went past the candidates under load.

use crate::verify::chance::bound;
use crate::verify::check::{BURSTS, CANDIDATES, Check, LOAD, PAIRS, PLAN, SERVED};
use crate::verify::judge::plan::plan;
use crate::verify::judge::roots::Roots;
use crate::verify::judge::routes::owners;
use crate::verify::seen::{Load, NotTried, Seen, run_of, short};

/// A candidate under load is picked clearly less than its share.
pub(crate) fn load(seen: &Seen, roots: &Roots) -> Check {
    if let Err(check) = roots.views(seen, LOAD) {
        return check;
    }
    let Some(load) = &seen.load else {
        return not_run(seen, roots);
    };
    match &load.not_tried {
        None => {}
        Some(NotTried::OneInPool) => {
            return LOAD.good("the pool has one candidate, so there is nothing to compare");
        }
        Some(NotTried::OneLeft(struck)) => {
            let said: Vec<String> = struck
                .iter()
                .take(4)
                .map(|(name, by)| format!("{} is filtered by {by}", short(name)))
                .collect();
            let said = said.join(", ");
            return LOAD.good(format!("{said}, so there is nothing to compare"));
        }
        Some(NotTried::OneServes) => {
            let detail = "not run: fewer than two candidates serve";
            return LOAD.because_of(detail, PAIRS, &roots.sick_in_words());
        }
        Some(NotTried::NoReceipts) => {
            let detail = "not run: nothing tells where requests go";
            return LOAD.because_of(detail, SERVED, &roots.idle_in_words());
        }
        Some(NotTried::NoStreams(why)) => {
            return LOAD.bad(
                "no candidate could be put under load",
                format!("streams could not be opened: {why}"),
                "let the model take 1200 tokens beside a short prompt, or give more time with --timeout",
            );
        }
    }
    judged(seen, roots, load)
}

fn not_run(seen: &Seen, roots: &Roots) -> Check {
    let Some(bursts) = &seen.bursts else {
        return roots.not_seen(LOAD);
    };
    if bursts.probes().all(|p| p.is_good()) {
        return LOAD.not_reached();
    }
    if let Some(filter) = &roots.emptied_by {
        let what = format!("filter '{filter}' leaves no candidate");
        return LOAD.because_of("not run", CANDIDATES, &what);
    }
    if !roots.sick.is_empty() {
        return LOAD.because_of("not run", PAIRS, &roots.sick_in_words());
    }
    LOAD.because_of("not run", BURSTS, "requests fail without load already")
}

fn judged(seen: &Seen, roots: &Roots, load: &Load) -> Check {
    let names: Vec<&str> = load
        .victims
        .iter()
        .take(4)
        .map(|name| short(name))
        .collect();
    let mut victims = names.join(", ");
    if load.victims.len() > names.len() {
        victims = format!("{victims} and {} more", load.victims.len() - names.len());
    }
    if load.in_flight == 0 {
        return LOAD.bad(
            format!("{} streams to {victims}, none in flight", load.streams),
            "the streams ended before the requests could be sent",
            "the engines must honour ignore_eos and 1200 tokens for this check",
        );
    }
    let good = load.probes.iter().filter(|p| p.is_good()).count();
    let owners = owners(seen);
    let hit = load.probes.iter().filter(|p| {
        let run = p.receipt.as_ref().and_then(|r| run_of(r));
        let picked = run.and_then(|run| run.picked.first()).map(String::as_str);
        // Who served counts, where the answer's id tells; else who was picked.
        let served = p
            .pair()
            .and_then(|pair| match owners.get(pair)?.as_slice() {
                [one] => Some(*one),
                _ => None,
            });
        let who = served.or(picked);
        who.is_some_and(|who| load.victims.iter().any(|victim| victim == who))
    });
    let (hit, sent) = (hit.count(), load.probes.len());
    let told = load.probes.iter().filter(|p| p.receipt.is_some()).count();
    let share = load.victims.len() as f64 / load.candidates.max(1) as f64;
    let fair = share * sent as f64;
    let Some((most, luck)) = bound(sent as u32, share) else {
        return LOAD.good(format!(
            "{sent} requests are too few to tell among {}",
            load.candidates
        ));
    };
    let detail = format!(
        "{} streams held on {victims} ({} in flight): {hit} of {sent} requests went there, {fair:.0} by turns, at most {most} allowed (chance of a random picker {:.2} %)",
        load.streams,
        load.in_flight,
        luck * 100.0
    );
    if good < sent || told < sent {
        if !roots.sick.is_empty() {
            return LOAD.because_of(detail, PAIRS, &roots.sick_in_words());
        }
        return LOAD.bad(
            detail,
            format!("{good} of {sent} requests were served, {told} have a receipt"),
            "look at the gateway's log for these requests",
        );
    }
    if load.still_open < load.streams {
        return LOAD.bad(
            detail,
            format!(
                "only {} of {} streams were still open after the requests, so this proves nothing",
                load.still_open, load.streams
            ),
            "the engines must honour ignore_eos and 1200 tokens for this check; --speed of the lab ends streams early too",
        );
    }
    if hit as u32 <= most {
        return LOAD.good(detail);
    }
    if let Some((busy, idle)) = predicted(load)
        && busy <= idle * MUCH_LONGER
    {
        return LOAD.good(format!(
            "{detail}; as predicted: this load does not lengthen the time to the first token there ({busy:.1} ms, elsewhere {idle:.1} ms)"
        ));
    }
    if let Some(check) = roots.obstructed(LOAD, &detail) {
        return check;
    }
    let planned = plan(seen, roots);
    match planned.cause {
        Some(cause) => LOAD.because_of(detail, PLAN, &cause),
        None => LOAD.bad(
            detail,
            "the picker does not spare a candidate under load",
            "give the plan a scorer of live load, such as active-request-scorer, a weight that counts beside the others",
        ),
    }
}

/// A predicted time is longer than another if it is more than this many times as long.
const MUCH_LONGER: f64 = 1.25;

/// The times to the first token that a predicting plan expected, as means over the requests: the shortest among the
/// candidates under load, and among the others. `None` if the plan predicts nothing.
fn predicted(load: &Load) -> Option<(f64, f64)> {
    let (mut busy, mut idle) = (0.0, 0.0);
    for probe in &load.probes {
        let run = run_of(probe.receipt.as_ref()?)?;
        let shortest = |under_load: bool| {
            let of = run
                .candidates
                .iter()
                .filter(|c| load.victims.contains(&c.endpoint) == under_load);
            of.filter_map(|c| c.terms.get("ttftMs").copied())
                .reduce(f64::min)
        };
        busy += shortest(true)?;
        idle += shortest(false)?;
    }
    let count = load.probes.len().max(1) as f64;
    Some((busy / count, idle / count))
}
