//! Where routes send requests.

use std::collections::BTreeMap;

use crate::verify::check::{Check, HEADERS, PAIRS, ROUTE};
use crate::verify::judge::roots::{Roots, happened};
use crate::verify::probe::PATH;
use crate::verify::seen::{HeaderProbe, Seen, Views, short};
use crate::verify::views::Rule;

/// The label that tells how a candidate moves its KV cache, and the header that asks for it.
const BACKEND_LABEL: &str = "llm-d.ai/kv-backend";
const BACKEND_HEADER: &str = "x-kv-backend";

/// A request without routing headers goes to the pool.
pub(crate) fn ordinary(seen: &Seen, roots: &Roots) -> Check {
    let views = match roots.views(seen, ROUTE) {
        Ok(views) => views,
        Err(check) => return check,
    };
    let rules = &views.routes.rules;
    let found = rules.iter().find(|r| r.headers.is_empty() && r.takes(PATH));
    let Some(rule) = found else {
        return ROUTE.bad(
            format!("none of {} rules takes POST {PATH}", rules.len()),
            "no route matches a request without headers",
            "add a rule with PathPrefix / whose backendRef is the InferencePool",
        );
    };
    let total: u32 = rule.backends.iter().map(|b| b.weight).sum();
    let past: u32 = rule.services().map(|b| b.weight).sum();
    let place = format!("{} {}", rule.path.kind, rule.path.value);
    if past == 0 && total > 0 {
        return ROUTE.good(format!("rule {place} goes to the InferencePool"));
    }
    let names: Vec<String> = rule
        .services()
        .map(|b| format!("Service {}", b.name))
        .collect();
    let names = names.join(", ");
    ROUTE.bad(
        format!("rule {place} sends {past} of {total} parts to {names}"),
        format!("the route bypasses the picker: ordinary requests go to {names}"),
        format!("let the rule's backendRef be of kind InferencePool instead of {names}"),
    )
}

/// Each rule with headers reaches the endpoints of its Service.
pub(crate) fn headers(seen: &Seen, roots: &Roots) -> Check {
    let views = match roots.views(seen, HEADERS) {
        Ok(views) => views,
        Err(check) => return check,
    };
    let Some(probes) = &seen.headers else {
        return roots.not_seen(HEADERS);
    };
    if probes.is_empty() {
        return HEADERS.good("there are no header routes");
    }
    let (mut good, mut sick, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for probe in probes {
        let Some(rule) = views.routes.rules.get(probe.rule) else {
            continue;
        };
        match one(seen, views, rule, probe) {
            Ok(said) => good.push(said),
            Err(why) if of_the_sick(rule, roots) => sick.push(why.cause),
            Err(why) => bad.push(why),
        }
    }
    let detail = format!("{} of {} reach their pair", good.len(), probes.len());
    if let Some(first) = bad.first() {
        let causes: Vec<String> = bad.iter().map(|why| why.cause.clone()).collect();
        return HEADERS.bad(detail, causes.join("; "), first.fix.clone());
    }
    if !sick.is_empty() {
        return HEADERS.because_of(detail, PAIRS, &roots.sick_in_words());
    }
    HEADERS.good(good.join(", "))
}

struct Wrong {
    cause: String,
    fix: String,
}

/// Whether all endpoints that the rule could reach are known to fail, or one of them.
fn of_the_sick(rule: &Rule, roots: &Roots) -> bool {
    let mut endpoints = rule.services().flat_map(|b| &b.endpoints);
    endpoints.any(|name| roots.sick.contains_key(name))
}

fn one(seen: &Seen, views: &Views, rule: &Rule, found: &HeaderProbe) -> Result<String, Wrong> {
    let tests: Vec<String> = rule
        .headers
        .iter()
        .map(|h| format!("{}: {}", h.name, h.value))
        .collect();
    let tests = tests.join(", ");
    let services: Vec<&str> = rule.services().map(|b| b.name.as_str()).collect();
    let services = services.join(", ");
    let endpoints: Vec<&str> = rule
        .services()
        .flat_map(|b| b.endpoints.iter().map(String::as_str))
        .collect();
    if endpoints.is_empty() {
        let what = happened(&found.probe);
        return Err(Wrong {
            cause: format!(
                "{tests} goes to Service {services}, to which no endpoint of the pool belongs ({what})"
            ),
            fix: format!(
                "correct the name of the Service in the route, or add endpoints named {services}-0"
            ),
        });
    }
    if !found.probe.is_good() {
        return Err(Wrong {
            cause: format!("{tests} to Service {services}: {}", happened(&found.probe)),
            fix: format!("look at the endpoints of Service {services}"),
        });
    }
    if let Some((value, carried)) = swapped(views, rule, &endpoints) {
        return Err(Wrong {
            cause: format!(
                "{tests} goes to Service {services}, whose endpoints carry {BACKEND_LABEL}={carried} and not {value}"
            ),
            fix: format!(
                "send {tests} to the Service of the endpoints with {BACKEND_LABEL}={value}"
            ),
        });
    }
    let elsewhere = |who: &str| Wrong {
        cause: format!("{tests} goes to Service {services} and was served by {who}"),
        fix: "correct the route's backendRef, or the names of the endpoints".to_owned(),
    };
    if let Some(pair) = found.probe.pair() {
        let owners = owners(seen);
        let owner = owners.get(pair).map(Vec::as_slice).unwrap_or_default();
        if owner.iter().any(|name| endpoints.contains(name)) {
            return Ok(format!("{tests} -> {services}"));
        }
        let who: Vec<&str> = owner.iter().map(|name| short(name)).collect();
        return match (who.is_empty(), seen.not_asked) {
            (true, 0) => Err(elsewhere("a pair that no candidate named")),
            (true, _) => Ok(format!("{tests} -> {services} (200, pair not known)")),
            (false, _) => Err(elsewhere(&who.join(", "))),
        };
    }
    if found.grew.is_empty() {
        return Ok(format!(
            "{tests} -> {services} (200; neither id nor counters tell who served)"
        ));
    }
    if found
        .grew
        .iter()
        .any(|name| endpoints.contains(&name.as_str()))
    {
        return Ok(format!("{tests} -> {services} (by the engines' counters)"));
    }
    let who: Vec<&str> = found.grew.iter().map(|name| short(name)).collect();
    Err(elsewhere(&who.join(", ")))
}

/// By pair: the candidates whose own answers named it.
pub(crate) fn owners(seen: &Seen) -> BTreeMap<&str, Vec<&str>> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for direct in seen.direct.iter().flatten() {
        if let Some(pair) = direct.probe.pair() {
            owners.entry(pair).or_default().push(&direct.endpoint);
        }
    }
    owners
}

/// A header that asks for a KV backend which some candidates carry, on a rule whose endpoints carry another.
fn swapped<'a>(views: &'a Views, rule: &'a Rule, endpoints: &[&str]) -> Option<(&'a str, &'a str)> {
    let asked = rule.headers.iter().find(|h| h.name == BACKEND_HEADER)?;
    let carriers = || {
        let pool = views.pool.endpoints.iter();
        pool.filter_map(|e| Some((e.name.as_str(), e.labels.get(BACKEND_LABEL)?.as_str())))
    };
    let known = carriers().any(|(_, value)| value == asked.value);
    let mut own = carriers().filter(|(name, _)| endpoints.contains(name));
    let (_, wrong) = own.find(|(_, value)| *value != asked.value)?;
    known.then_some((asked.value.as_str(), wrong))
}
