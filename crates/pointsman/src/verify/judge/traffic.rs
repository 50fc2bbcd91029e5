//! The bursts: who was served, by whom, and whether the picker decided it.

use std::collections::{BTreeMap, BTreeSet};

use crate::verify::check::{
    BURSTS, CANDIDATES, COUNTER, Check, PAIRS, RECEIPTS, ROUTE, SCHEDULING, SERVED, Title,
};
use crate::verify::judge::plan::{filtered, struck_in_words};
use crate::verify::judge::roots::{Roots, happened};
use crate::verify::judge::routes::owners;
use crate::verify::seen::{Bursts, Probe, Seen, run_of, short};

fn bursts_of<'a>(seen: &'a Seen, roots: &Roots, title: Title) -> Result<&'a Bursts, Check> {
    roots.views(seen, title)?;
    // Half a burst would make counters and shares look wrong.
    let bursts = seen.bursts.as_ref();
    bursts
        .filter(|b| b.done || b.probes().any(|p| !p.is_good()))
        .ok_or_else(|| roots.not_seen(title))
}

/// All are answered 200, and no candidate that filters leave is at zero.
pub(crate) fn bursts(seen: &Seen, roots: &Roots) -> Check {
    let (bursts, views) = match (bursts_of(seen, roots, BURSTS), roots.views(seen, BURSTS)) {
        (Ok(bursts), Ok(views)) => (bursts, views),
        (Err(check), _) | (_, Err(check)) => return check,
    };
    let shown: Vec<String> = bursts
        .run
        .iter()
        .map(|(count, at_once, probes)| {
            let good = probes.iter().filter(|p| p.is_good()).count();
            format!("{good}/{count} at {at_once}")
        })
        .collect();
    let mut detail = shown.join(", ");
    let served = served(seen, bursts);
    if !served.is_empty() {
        detail = format!("{detail}; {}", split(&served));
    }
    if !bursts.left_out.is_empty() {
        detail = format!(
            "{detail}; {} bursts left out after this",
            bursts.left_out.len()
        );
    }
    if !bursts.done {
        detail = format!("{detail}; the time was over before the end");
    }
    let failed: Vec<&Probe> = bursts.probes().filter(|p| !p.is_good()).collect();
    if let Some(first) = failed.first() {
        if let Some(filter) = &roots.emptied_by {
            let what = format!("filter '{filter}' leaves no candidate");
            return BURSTS.because_of(detail, CANDIDATES, &what);
        }
        if !roots.sick.is_empty() {
            return BURSTS.because_of(detail, PAIRS, &roots.sick_in_words());
        }
        let cause = format!(
            "{} requests were not served; the first {}",
            failed.len(),
            happened(first)
        );
        if let Some(check) = roots.obstructed(BURSTS, &format!("{detail}; {cause}")) {
            return check;
        }
        return BURSTS.bad(
            detail,
            cause,
            "look at the gateway's log for these requests",
        );
    }
    let struck = filtered(seen);
    let left = views.pool.endpoints.iter().map(|e| e.name.as_str());
    let zero: Vec<&str> = left
        .filter(|name| !struck.values().any(|names| names.contains(*name)))
        .filter(|name| !served.contains_key(name))
        .collect();
    let enough = bursts.probes().count() >= views.pool.endpoints.len();
    if zero.is_empty() || served.is_empty() || !enough {
        if !struck.is_empty() {
            detail = format!("{detail}; {}", struck_in_words(&struck));
        }
        return BURSTS.good(detail);
    }
    if roots.idle {
        return BURSTS.because_of(detail, ROUTE, &roots.idle_in_words());
    }
    if zero.iter().all(|name| roots.sick.contains_key(*name)) {
        return BURSTS.because_of(detail, PAIRS, &roots.sick_in_words());
    }
    let names: Vec<&str> = zero.iter().take(4).map(|name| short(name)).collect();
    BURSTS.bad(
        detail,
        format!(
            "{} of {} got no request: {}",
            zero.len(),
            views.pool.endpoints.len(),
            names.join(", ")
        ),
        "look at its scores in /debug/decisions: what keeps them below the others'?",
    )
}

/// Requests served by candidate: by receipts, else by the pairs in the ids.
fn served<'a>(seen: &'a Seen, bursts: &'a Bursts) -> BTreeMap<&'a str, usize> {
    let owners = owners(seen);
    let mut served = BTreeMap::new();
    for probe in bursts.probes().filter(|p| p.is_good()) {
        let told = probe.receipt.as_ref().and_then(|r| r.served.as_deref());
        let by_pair = || match owners.get(probe.pair()?)?.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        if let Some(name) = told.or_else(by_pair) {
            *served.entry(name).or_default() += 1;
        }
    }
    served
}

fn split(served: &BTreeMap<&str, usize>) -> String {
    if served.len() > 6 {
        let least = served.values().min().copied().unwrap_or_default();
        let most = served.values().max().copied().unwrap_or_default();
        return format!("{} candidates served {least} to {most} each", served.len());
    }
    let said: Vec<String> = served
        .iter()
        .map(|(name, count)| format!("{} {count}", short(name)))
        .collect();
    said.join(", ")
}

/// No decision of the run failed.
pub(crate) fn scheduling(seen: &Seen, roots: &Roots) -> Check {
    let bursts = match bursts_of(seen, roots, SCHEDULING) {
        Ok(bursts) => bursts,
        Err(check) => return check,
    };
    let refused = bursts.probes().filter(|p| {
        let answer = p.answer.as_ref();
        answer.is_ok_and(|a| a.dropped.is_some())
    });
    let refused = refused.count();
    let counted = bursts
        .counters
        .map_or(0.0, |(old, new)| new.failed - old.failed);
    if refused == 0 && counted <= 0.0 {
        return SCHEDULING
            .good("no InferencePoolResourceExhausted, no 'failed to run scheduler profile'");
    }
    let detail = format!(
        "{refused} requests refused for want of a candidate, {counted} failed decisions counted"
    );
    if let Some(filter) = &roots.emptied_by {
        let what =
            format!("failed to run scheduler profile: filter '{filter}' leaves no candidate");
        return SCHEDULING.because_of(detail, CANDIDATES, &what);
    }
    SCHEDULING.bad(
        detail,
        "InferencePoolResourceExhausted: decisions failed, usually because of labels or of metrics that cannot be read",
        "see the lines 'failed to run scheduler profile' of the gateway's log; they name the filter",
    )
}

fn idle(title: Title, detail: String, roots: &Roots) -> Check {
    title.because_of(detail, SERVED, &roots.idle_in_words())
}

/// Scores of all candidates and the pick stand in one receipt.
pub(crate) fn receipts(seen: &Seen, roots: &Roots) -> Check {
    let bursts = match bursts_of(seen, roots, RECEIPTS) {
        Ok(bursts) => bursts,
        Err(check) => return check,
    };
    let with = bursts.probes().filter(|p| p.receipt.is_some()).count();
    let detail = format!(
        "{with} of {} requests have a receipt",
        bursts.probes().count()
    );
    if roots.idle {
        return idle(RECEIPTS, detail, roots);
    }
    if let Some(filter) = &roots.emptied_by {
        let what = format!("filter '{filter}' leaves no candidate to score");
        return RECEIPTS.because_of(detail, CANDIDATES, &what);
    }
    let mut example = None;
    let mut unscored = None;
    for probe in bursts.probes() {
        let Some(run) = probe.receipt.as_ref().and_then(|r| run_of(r)) else {
            continue;
        };
        let Some(picked) = run.picked.first() else {
            continue;
        };
        let scored = run.candidates.iter().find(|c| c.endpoint == *picked);
        match scored {
            Some(one) if !one.scores.is_empty() => {
                example.get_or_insert((probe, run, picked, one.total));
            }
            _ => unscored = Some((probe, picked)),
        }
    }
    match (example, unscored) {
        (_, Some((probe, picked))) => RECEIPTS.bad(
            detail,
            format!(
                "the receipt {} shows no score for {}, which was picked",
                probe.request_id,
                short(picked)
            ),
            "give the plan a scorer: without one every pick is chance",
        ),
        (Some((probe, run, picked, total)), None) => {
            let others: Vec<String> = run
                .candidates
                .iter()
                .filter(|c| c.endpoint != *picked)
                .take(3)
                .map(|c| format!("{} {:.3}", short(&c.endpoint), c.total))
                .collect();
            let others = match others.is_empty() {
                true => "alone".to_owned(),
                false => format!("against {}", others.join(", ")),
            };
            RECEIPTS.good(format!(
                "{detail}; {} picked {} with {total:.3} {others}",
                probe.request_id,
                short(picked)
            ))
        }
        (None, None) => RECEIPTS.bad(
            detail,
            "no receipt shows a pick",
            "give receipts memory: pointsman.receipts.memory in the configuration",
        ),
    }
}

/// How many probes each evidence proves.
#[derive(Default)]
struct Evidence {
    by_id: usize,
    by_counter: usize,
    unproven: usize,
    retried: usize,
}

/// Who was chosen has served, by evidence that is not the gateway's own.
pub(crate) fn chosen(seen: &Seen, roots: &Roots) -> Check {
    let bursts = match bursts_of(seen, roots, SERVED) {
        Ok(bursts) => bursts,
        Err(check) => return check,
    };
    let good: Vec<&Probe> = bursts.probes().filter(|p| p.is_good()).collect();
    if good.is_empty() {
        return nothing_served(roots);
    }
    let missing = good.iter().filter(|p| p.receipt.is_none()).count();
    if roots.idle || missing > 0 {
        let cause = format!(
            "{}: {missing} of {} requests were served without a decision that names them",
            roots.idle_in_words(),
            good.len()
        );
        let detail = "no receipt tells who was chosen";
        if let Some(check) = roots.obstructed(SERVED, &format!("{detail}: {cause}")) {
            return check;
        }
        return SERVED.bad(
            detail,
            cause,
            "send ordinary requests to the InferencePool: see the check 'route'",
        );
    }
    let owners = owners(seen);
    let mut evidence = Evidence::default();
    let mut left: Vec<&str> = Vec::new();
    for probe in &good {
        let Some(receipt) = &probe.receipt else {
            continue;
        };
        let Some(served) = receipt.served.as_deref() else {
            return mismatch(
                roots,
                format!("the receipt {} names nobody who served", probe.request_id),
            );
        };
        let picked = run_of(receipt).and_then(|run| run.picked.first());
        if picked.is_none_or(|picked| picked != served) {
            let tried = receipt
                .attempts
                .iter()
                .any(|a| a.cause.is_some() && picked.is_some_and(|picked| *picked == a.endpoint));
            if !tried {
                return mismatch(
                    roots,
                    format!(
                        "{}: picked {}, served by {} without a failed attempt",
                        probe.request_id,
                        picked.map_or("nobody", |picked| short(picked)),
                        short(served)
                    ),
                );
            }
            evidence.retried += 1;
        }
        // A pair proves who served only where one candidate alone names it.
        let expected = owners.iter().find(|(_, names)| names.contains(&served));
        match (expected, probe.pair()) {
            (Some((pair, names)), Some(found)) if names.len() == 1 || *pair != found => {
                if *pair != found {
                    let who = owners.get(found).and_then(|names| names.first());
                    return mismatch(
                        roots,
                        format!(
                            "{}: the receipt says {}, the answer's id names {}",
                            probe.request_id,
                            short(served),
                            who.map_or(found, |name| short(name))
                        ),
                    );
                }
                evidence.by_id += 1;
            }
            _ => left.push(served),
        }
    }
    if !left.is_empty() {
        match by_counters(bursts, &good, left.len()) {
            Err(why) => return mismatch(roots, why),
            Ok(proven) => {
                evidence.by_counter = proven;
                evidence.unproven = left.len() - proven;
            }
        }
    }
    SERVED.good(in_words(&evidence, good.len(), roots))
}

fn nothing_served(roots: &Roots) -> Check {
    let nothing = "no request was served";
    if let Some(filter) = &roots.emptied_by {
        let what = format!("filter '{filter}' leaves no candidate");
        return SERVED.because_of(nothing, CANDIDATES, &what);
    }
    SERVED.because_of(nothing, BURSTS, "nothing was answered 200")
}

fn mismatch(roots: &Roots, cause: String) -> Check {
    let detail = "what served is not what was chosen";
    if let Some(check) = roots.obstructed(SERVED, &format!("{detail}: {cause}")) {
        return check;
    }
    SERVED.bad(
        detail,
        cause,
        "look for what stands between picker and candidates: a gateway that drops the picker's answer, a Service in front of several endpoints, equal addresses",
    )
}

/// How many of `wanted` probes the engines' own counters prove.
///
/// # Errors
/// How they contradict the receipts.
fn by_counters(bursts: &Bursts, good: &[&Probe], wanted: usize) -> Result<usize, String> {
    let mut told: BTreeMap<&str, f64> = BTreeMap::new();
    for probe in good {
        let served = probe.receipt.as_ref().and_then(|r| r.served.as_deref());
        *told.entry(served.unwrap_or_default()).or_default() += 1.0;
    }
    let known: BTreeSet<&str> = bursts
        .growth
        .iter()
        .filter(|(_, by)| by.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    if !told.keys().all(|name| known.contains(name)) {
        return Ok(0);
    }
    for (name, by) in &bursts.growth {
        let (by, told) = (by.unwrap_or_default(), told.get(name.as_str()).copied());
        // More than told is other traffic; less is a contradiction.
        if by < told.unwrap_or_default() {
            return Err(format!(
                "the receipts say that {} served {}, its own counter grew by {by}",
                short(name),
                told.unwrap_or_default()
            ));
        }
    }
    Ok(wanted)
}

fn in_words(evidence: &Evidence, all: usize, roots: &Roots) -> String {
    let mut parts = Vec::new();
    if evidence.by_id > 0 {
        parts.push(format!(
            "{} of {all} proved by the pair in the answer's id",
            evidence.by_id
        ));
    }
    if evidence.by_counter > 0 {
        parts.push(format!(
            "{} of {all} proved by the engines' own counters (vllm:request_success_total)",
            evidence.by_counter
        ));
    }
    if evidence.unproven > 0 {
        parts.push(format!(
            "{} of {all} stand on the gateway's word alone: ids name no pair of one candidate and engines count no requests",
            evidence.unproven
        ));
    }
    if evidence.retried > 0 {
        let why = match roots.sick.is_empty() {
            true => String::new(),
            false => format!(" ({})", roots.sick_in_words()),
        };
        parts.push(format!(
            "{} were tried again elsewhere{why}",
            evidence.retried
        ));
    }
    parts.join("; ")
}

/// The picker's counter rose by the number of requests.
pub(crate) fn counter(seen: &Seen, roots: &Roots) -> Check {
    let bursts = match bursts_of(seen, roots, COUNTER) {
        Ok(bursts) => bursts,
        Err(check) => return check,
    };
    if !bursts.done {
        return COUNTER.not_reached();
    }
    let Some((before, after)) = bursts.counters else {
        return COUNTER.bad(
            "the counters cannot be read",
            "the admin port's /metrics gives no pointsman_decisions_total",
            "look at the admin port's /metrics",
        );
    };
    let sent = bursts.probes().count() as f64;
    let (decided, past) = (
        after.decisions - before.decisions,
        after.bypassed - before.bypassed,
    );
    let detail = format!("{sent} requests, {decided} decisions, {past} past the picker");
    if decided >= sent {
        let more = match decided > sent || past > 0.0 {
            true => "; the rest is other traffic",
            false => "",
        };
        return COUNTER.good(format!("{detail}{more}"));
    }
    if let Some(filter) = &roots.emptied_by {
        let what = format!("filter '{filter}' leaves no candidate");
        return COUNTER.because_of(detail, CANDIDATES, &what);
    }
    if past > 0.0 {
        return COUNTER.bad(
            detail,
            format!("picker idle while traffic flows: {past} requests went past it"),
            "send ordinary requests to the InferencePool: see the check 'route'",
        );
    }
    if !roots.sick.is_empty() {
        return COUNTER.because_of(detail, PAIRS, &roots.sick_in_words());
    }
    if let Some(check) = roots.obstructed(COUNTER, &detail) {
        return check;
    }
    COUNTER.bad(
        detail,
        "the picker decided fewer requests than were sent",
        "look at the gateway's log: requests that were refused were not decided",
    )
}
