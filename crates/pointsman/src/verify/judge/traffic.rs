//! Checks of what traffic shows: bursts, failures, header routes, records, who served, counters.

use std::collections::BTreeMap;

use pointsman_serve::door::route::belongs_to_service;

use crate::verify::judge::check::Check;
use crate::verify::judge::setup::{ailing, list, ordinary, short};
use crate::verify::seen::{Answer, HeaderProbe, Probe, Seen};

/// Up to so many candidates each must have got something; in a larger pool one may go without by chance.
const ALL_GET_SOME: usize = 12;

/// What the ailing candidates suffer from, for checks that fail because of them.
pub(crate) fn because_of_ailing(seen: &Seen) -> Option<(String, String)> {
    let ailing = ailing(seen);
    let cause: Vec<&str> = ailing.values().map(String::as_str).collect();
    (!ailing.is_empty()).then(|| {
        (
            format!("{} (see pairs)", cause.join("; ")),
            format!("mend {}", list(ailing.keys().copied())),
        )
    })
}

/// Bursts are answered, and no candidate is left out.
pub(crate) fn burst(seen: &Seen) -> Check {
    let (id, name) = (
        "burst",
        "bursts are answered with 200 and spread over all candidates",
    );
    let Some(bursts) = seen.bursts.as_ref().filter(|b| !b.is_empty()) else {
        return Check::not_run(id, name);
    };
    let probes: Vec<&Probe> = bursts.iter().flat_map(|b| &b.probes).collect();
    let done: Vec<String> = bursts
        .iter()
        .map(|b| {
            let good = b.probes.iter().filter(|p| p.answer.is_good()).count();
            format!("{good} of {} at {}", b.wanted, b.at_once)
        })
        .collect();
    let mut shares: BTreeMap<&str, usize> = seen
        .left_by_filters()
        .into_iter()
        .map(|name| (name, 0))
        .collect();
    for probe in &probes {
        if let Some(name) = probe.sent_to() {
            *shares.entry(name).or_default() += 1;
        }
    }
    let split: Vec<String> = shares
        .iter()
        .take(ALL_GET_SOME)
        .map(|(name, count)| format!("{} {count}", short(name)))
        .collect();
    let detail = format!("{}; {}", done.join(", "), split.join(", "));
    let failed = probes.iter().find(|p| !p.answer.is_good());
    let cut = bursts.len() < seen.bursts_wanted || bursts.iter().any(|b| b.probes.len() < b.wanted);
    if failed.is_some() || cut {
        let said = failed.map_or_else(|| "the time was over".to_owned(), |p| p.answer.in_words());
        let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
            (
                format!("requests were not answered with 200: {said}"),
                "look at one of them with pointsman explain".to_owned(),
            )
        });
        return Check::bad(id, name, detail, cause, fix);
    }
    let none: Vec<&str> = shares
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    if !none.is_empty() && shares.len() <= ALL_GET_SOME {
        let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
            (
                format!(
                    "{} got nothing, though no filter removes it: its scores are always lower",
                    list(none)
                ),
                "pointsman explain shows its readings and scores beside the others'".to_owned(),
            )
        });
        return Check::bad(id, name, detail, cause, fix);
    }
    if shares.is_empty() {
        return past_the_picker(seen, id, name, detail);
    }
    Check::good(id, name, detail)
}

/// Requests were answered, and the picker knows nothing of them.
pub(crate) fn past_the_picker(
    seen: &Seen,
    id: &'static str,
    name: &'static str,
    detail: String,
) -> Check {
    let service = ordinary(seen).map_or_else(Vec::new, |rule| rule.services());
    let cause = match service.as_slice() {
        [] => {
            "the picker is idle while traffic flows: it has no record of these requests".to_owned()
        }
        services => format!(
            "the picker is idle while traffic flows: the route leads to the Service {} and bypasses it",
            services.join(", ")
        ),
    };
    let fix = if service.is_empty() {
        "check that requests reach this gateway, and that receipts are kept (pointsman.receipts.memory)"
    } else {
        "let the route name a backendRef of kind InferencePool (see route)"
    };
    Check::bad(id, name, detail, cause, fix)
}

/// Nobody was refused for want of an endpoint.
pub(crate) fn failures(seen: &Seen) -> Check {
    let (id, name) = ("failures", "no request is refused for want of an endpoint");
    if seen.bursts.is_none() {
        return Check::not_run(id, name);
    }
    let refused: Vec<&Probe> = seen
        .probes()
        .filter(|p| {
            matches!(
                &p.answer,
                Answer::Came {
                    dropped: Some(_),
                    ..
                }
            )
        })
        .collect();
    let Some(first) = refused.first() else {
        return Check::good(
            id,
            name,
            "no InferencePoolResourceExhausted, no failed scheduler profile",
        );
    };
    let filter = first
        .receipt
        .as_ref()
        .and_then(|r| Some(r.profiles.first()?.filtered.first()?.by.clone()));
    let (cause, fix) = match filter {
        Some(filter) => (
            format!(
                "InferencePoolResourceExhausted: label mismatch, the filter {filter} leaves no endpoint (see candidates)"
            ),
            format!("correct the labels of the endpoints, or what {filter} asks for"),
        ),
        None => (
            format!("the gateway answers {}", first.answer.in_words()),
            "the pool is empty or saturated; see candidates".to_owned(),
        ),
    };
    Check::bad(id, name, format!("{} refused", refused.len()), cause, fix)
}

/// Each route by header reaches the endpoints of its Service.
pub(crate) fn headers(seen: &Seen) -> Check {
    let (id, name) = ("headers", "each route by header reaches its endpoints");
    let Some(probes) = &seen.by_header else {
        return Check::not_run(id, name);
    };
    if probes.is_empty() {
        return Check::good(id, name, "no route by header");
    }
    let mut reached = Vec::new();
    for probe in probes {
        match reaches(seen, probe) {
            Ok(what) => reached.push(format!("{} reaches {what}", probe.rule.headers_in_words())),
            Err((cause, fix)) => {
                let detail = format!(
                    "{}: {}",
                    probe.rule.headers_in_words(),
                    probe.answer.in_words()
                );
                return Check::bad(id, name, detail, cause, fix);
            }
        }
    }
    Check::good(id, name, reached.join("; "))
}

/// Where the probe of a header route arrived, or what is wrong about it.
fn reaches(seen: &Seen, probe: &HeaderProbe) -> Result<String, (String, String)> {
    let services = probe.rule.services();
    let of_service = |name: &str| services.iter().any(|s| belongs_to_service(name, s));
    let members: Vec<_> = seen
        .endpoints
        .iter()
        .filter(|e| of_service(&e.name))
        .collect();
    let service = services.join(", ");
    if members.is_empty() {
        return Err((
            format!("the route names the Service {service}, and no endpoint of the pool belongs to it"),
            "correct the backendRef of the rule; a Service's endpoints are those whose name, without -rank-N and a final number, is its name".to_owned(),
        ));
    }
    // The lab's header is named after the label by which the pairs differ, so a swapped route can be seen.
    for header in probe
        .rule
        .headers
        .iter()
        .filter(|h| h.name == "x-kv-backend")
    {
        let label = "llm-d.ai/kv-backend";
        let known = seen
            .endpoints
            .iter()
            .any(|e| e.labels.get(label) == Some(&header.value));
        let carried = members
            .iter()
            .any(|e| e.labels.get(label) == Some(&header.value));
        if known && !carried {
            return Err((
                format!(
                    "the header asks for {}, and the route leads to {service}, whose endpoints have another {label}",
                    header.value
                ),
                "swap the backendRefs of the header rules".to_owned(),
            ));
        }
    }
    if !probe.answer.is_good() {
        let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
            (
                format!("the Service {service} answers {}", probe.answer.in_words()),
                format!("mend {}", list(members.iter().map(|e| e.name.as_str()))),
            )
        });
        return Err((cause, fix));
    }
    let Some(pair) = probe.answer.pair() else {
        return Ok(format!("{service} (its ids name no pair)"));
    };
    let signatures = signatures(seen);
    let by = signatures
        .iter()
        .find(|(_, known)| **known == pair)
        .map(|(name, _)| *name);
    match by {
        Some(name) if !of_service(name) => Err((
            format!("the route names {service}, and {} served", short(name)),
            "check the routes and what stands behind the addresses".to_owned(),
        )),
        _ => Ok(pair),
    }
}

/// The pair that each candidate showed when it was asked directly.
fn signatures(seen: &Seen) -> BTreeMap<&str, String> {
    let direct = seen.direct.iter().flatten();
    direct
        .filter_map(|d| Some((d.endpoint.as_str(), d.answer.pair()?)))
        .collect()
}

/// The picker keeps scores and pick of the same request.
pub(crate) fn scores(seen: &Seen) -> Check {
    let (id, name) = (
        "scores",
        "scores of every candidate and the pick are on record",
    );
    let probes: Vec<&Probe> = seen.probes().filter(|p| p.answer.is_good()).collect();
    if probes.is_empty() {
        return none_answered(seen, id, name);
    }
    let complete = |p: &&&Probe| {
        let profile = p.receipt.as_ref().and_then(|r| r.profiles.first());
        profile.is_some_and(|p| !p.picked.is_empty() && !p.candidates.is_empty())
    };
    let on_record = probes.iter().filter(complete).count();
    let detail = format!("{on_record} of {}", probes.len());
    if on_record == probes.len() {
        let example = probes.first().and_then(|p| p.receipt.as_ref());
        let example = example.map_or_else(String::new, |r| {
            let totals = r.profiles[0].candidates.iter().take(3);
            let totals: Vec<String> = totals
                .map(|c| format!("{} {:.3}", short(&c.endpoint), c.total))
                .collect();
            format!("; {}: {}", r.request_id, totals.join(", "))
        });
        return Check::good(id, name, format!("{detail}{example}"));
    }
    past_the_picker(seen, id, name, detail)
}

/// No probe was answered, so there is nothing to compare.
pub(crate) fn none_answered(seen: &Seen, id: &'static str, name: &'static str) -> Check {
    if seen.bursts.is_none() {
        return Check::not_run(id, name);
    }
    let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
        (
            "no request was served, so nothing can be compared (see failures and burst)".to_owned(),
            "mend what the checks above name".to_owned(),
        )
    });
    Check::bad(id, name, "no request was served", cause, fix)
}

/// What was picked is what served.
pub(crate) fn served(seen: &Seen) -> Check {
    let (id, name) = ("served", "what was picked is what served");
    let probes: Vec<&Probe> = seen.probes().filter(|p| p.answer.is_good()).collect();
    if probes.is_empty() {
        return none_answered(seen, id, name);
    }
    let signatures = signatures(seen);
    let (mut same, mut compared) = (0, 0);
    let mut other: Option<(String, String)> = None;
    let mut sent_on: BTreeMap<&str, usize> = BTreeMap::new();
    for probe in &probes {
        let (Some(chosen), Some(sent_to)) = (probe.chosen(), probe.sent_to()) else {
            return past_the_picker(
                seen,
                id,
                name,
                format!("no pick on record for some of {}", probes.len()),
            );
        };
        if chosen != sent_to {
            *sent_on.entry(chosen).or_default() += 1;
        }
        if let (Some(expected), Some(pair)) = (signatures.get(sent_to), probe.answer.pair()) {
            compared += 1;
            if *expected == pair {
                same += 1;
            } else {
                other.get_or_insert_with(|| (sent_to.to_owned(), pair));
            }
        }
    }
    if let Some((picked, pair)) = other {
        return Check::bad(
            id,
            name,
            format!("{same} of {compared}"),
            format!(
                "{} was picked, and {pair} served: the picker's choice is not used",
                short(&picked)
            ),
            "between this gateway and the endpoints something chooses anew; send to the endpoints' own addresses",
        );
    }
    if !sent_on.is_empty() {
        let picks: usize = sent_on.values().sum();
        let (cause, fix) = because_of_ailing(seen).unwrap_or_else(|| {
            (
                format!(
                    "{} could not be reached when picked",
                    list(sent_on.keys().copied())
                ),
                "pointsman explain shows the attempts of one request".to_owned(),
            )
        });
        let detail = format!(
            "{picks} of {} were picked for an endpoint that could not serve, and went elsewhere",
            probes.len()
        );
        return Check::bad(id, name, detail, cause, fix);
    }
    if compared == probes.len() {
        return Check::good(
            id,
            name,
            format!("{same} of {compared}, by the pair in the answer's id"),
        );
    }
    by_counts(seen, id, name)
}

/// Where ids name no pair: the endpoints' own counters must have grown by what the picker gave them.
fn by_counts(seen: &Seen, id: &'static str, name: &'static str) -> Check {
    let mut picks: BTreeMap<&str, usize> = BTreeMap::new();
    let bursts = seen.bursts.iter().flatten().flat_map(|b| &b.probes);
    for sent_to in bursts
        .filter(|p| p.answer.is_good())
        .filter_map(Probe::sent_to)
    {
        *picks.entry(sent_to).or_default() += 1;
    }
    let mut shown = Vec::new();
    for (&name_of, &given) in &picks {
        let Some((before, after)) = seen.served_counts.get(name_of) else {
            return Check::bad(
                id,
                name,
                format!(
                    "nothing shows who served: neither ids nor a counter of {}",
                    short(name_of)
                ),
                "answers' ids name no pair, and the endpoint's metrics page counts no finished requests",
                "let the endpoint's /metrics show vllm:request_success_total",
            );
        };
        let grown = (after - before) as usize;
        if grown < given {
            return Check::bad(
                id,
                name,
                format!(
                    "{} was picked {given} times, and counts {grown} requests",
                    short(name_of)
                ),
                format!(
                    "the picker's choice is not used: {} did not get what was picked for it",
                    short(name_of)
                ),
                "between this gateway and the endpoints something chooses anew; send to the endpoints' own addresses",
            );
        }
        shown.push(format!("{} {given} of {grown}", short(name_of)));
    }
    let more = shown.len().saturating_sub(4);
    shown.truncate(4);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Check::good(
        id,
        name,
        format!(
            "by the endpoints' own counters (picked of counted): {}{more}",
            shown.join(", ")
        ),
    )
}

/// The picker decided about every probe.
pub(crate) fn counter(seen: &Seen) -> Check {
    let (id, name) = (
        "counter",
        "the picker's decision counter rises with the requests",
    );
    let sent = seen.probes().count();
    let Some((before, after)) = seen.counters.filter(|_| sent > 0) else {
        return Check::not_run(id, name);
    };
    let decided = after.decisions.saturating_sub(before.decisions);
    let past = after.bypassed.saturating_sub(before.bypassed);
    let refused = seen.probes().filter(|p| !p.answer.is_good()).count();
    let detail = format!("{decided} decisions and {past} past the picker, for {sent} probes");
    if decided as usize + refused >= sent {
        return Check::good(id, name, detail);
    }
    past_the_picker(seen, id, name, detail)
}
