//! Checks of what stands there before any traffic: pairs, route, plan, candidates, metrics pages.

use std::collections::BTreeMap;

use crate::verify::ask::NO_ANSWER;
use crate::verify::judge::check::Check;
use crate::verify::observe::DIRECTLY;
use crate::verify::seen::{Answer, Direct, Endpoint, PluginSeen, Rule, Seen};

/// Scorers that look at what an endpoint is doing right now.
const BY_LOAD: [&str; 8] = [
    "active-request-scorer",
    "expected-ttft-scorer",
    "kv-cache-scorer",
    "kv-cache-utilization-scorer",
    "load-aware-scorer",
    "queue-scorer",
    "running-requests-size-scorer",
    "token-load-scorer",
];

/// Names listed before "and N more".
const LISTED: usize = 4;

/// The name without its namespace.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A few names, and how many more.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().map(short).collect();
    let more = names.len().saturating_sub(LISTED);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

/// What is wrong with each candidate that does not serve when asked directly.
pub(crate) fn ailing(seen: &Seen) -> BTreeMap<&str, String> {
    let bad = seen.direct.iter().flatten().filter(|d| !d.answer.is_good());
    bad.map(|direct| (direct.endpoint.as_str(), ailment(direct)))
        .collect()
}

fn ailment(direct: &Direct) -> String {
    let name = short(&direct.endpoint);
    match &direct.answer {
        Answer::Failed(why) if why.contains("refused") => format!("{name} refuses connections"),
        Answer::Failed(why) if why == NO_ANSWER => format!("{name} does not answer in time"),
        Answer::Failed(why) => format!("{name} does not answer: {why}"),
        came => format!("{name} answers {}", came.in_words()),
    }
}

/// Every candidate answers when it is asked directly, and its id shows its pair.
pub(crate) fn pairs(seen: &Seen) -> Check {
    let (id, name) = (
        "pairs",
        "every candidate answers directly, past the gateway",
    );
    let Some(direct) = &seen.direct else {
        return Check::not_run(id, name);
    };
    if direct.is_empty() {
        return Check::bad(
            id,
            name,
            "no candidate to ask",
            "the pool is empty: no endpoint is known to the gateway",
            "name endpoints in the file of --endpoints, or start the servers that discovery looks for",
        );
    }
    let ailing = ailing(seen);
    let asked = match seen.endpoints.len() {
        all if all > DIRECTLY => format!("the first {DIRECTLY} of {all}"),
        all => format!("{all}"),
    };
    if !ailing.is_empty() {
        let causes: Vec<&str> = ailing.values().map(String::as_str).take(LISTED).collect();
        return Check::bad(
            id,
            name,
            format!("{} of {asked} do not serve", ailing.len()),
            causes.join("; "),
            format!(
                "start or mend {}, or correct the address under which the gateway knows it (/debug/endpoints)",
                list(ailing.keys().copied())
            ),
        );
    }
    let pairs: Vec<String> = direct
        .iter()
        .filter_map(|d| Some(format!("{}: {}", short(&d.endpoint), d.answer.pair()?)))
        .collect();
    let shown = match pairs.len() {
        0 => "their ids name no pair".to_owned(),
        _ => pairs[..pairs.len().min(LISTED)].join("; "),
    };
    Check::good(id, name, format!("{asked} answer; {shown}"))
}

/// The rule that an ordinary request takes.
pub(crate) fn ordinary(seen: &Seen) -> Option<&Rule> {
    seen.routes
        .iter()
        .find(|rule| rule.takes_ordinary("/v1/completions"))
}

/// An ordinary request goes to the pool, and so to the picker.
pub(crate) fn route(seen: &Seen) -> Check {
    let (id, name) = ("route", "an ordinary request goes to the pool");
    let Some(rule) = ordinary(seen) else {
        return Check::bad(
            id,
            name,
            "no rule takes POST /v1/completions",
            "the routes have no rule for an ordinary request",
            "add a rule with the path prefix / and a backendRef of kind InferencePool",
        );
    };
    let services = rule.services();
    if rule.leads_to_pool() && services.is_empty() {
        return Check::good(id, name, "backendRef of kind InferencePool");
    }
    let part = if rule.leads_to_pool() { "partly " } else { "" };
    Check::bad(
        id,
        name,
        format!("it {part}goes to the Service {}", services.join(", ")),
        format!(
            "the route's backendRef is of kind Service ({}), so requests {part}bypass the picker",
            services.join(", ")
        ),
        "let the rule without headers name a backendRef of kind InferencePool",
    )
}

/// The plan scores by live load.
pub(crate) fn plan(seen: &Seen) -> Check {
    let (id, name) = ("plan", "the plan in force picks by live load");
    let Some(profile) = seen.plan.profiles.first() else {
        return Check::bad(
            id,
            name,
            "the plan has no profile",
            "the configuration makes no scheduling profile",
            "give it one; pointsman validate shows what a configuration means",
        );
    };
    let named = |plugins: &[PluginSeen]| {
        let names: Vec<String> = plugins.iter().map(in_words).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let detail = format!(
        "{}: filters {}; scorers {}; picker {}",
        seen.plan.source,
        named(&profile.filters),
        named(&profile.scorers),
        in_words(&profile.picker)
    );
    for profile in &seen.plan.profiles {
        if profile.picker.kind == "random-picker" {
            return Check::bad(
                id,
                name,
                detail,
                format!(
                    "the picker of profile {} is random-picker, which ignores every score and picks by chance",
                    profile.name
                ),
                "use max-score-picker in its place",
            );
        }
    }
    let by_load =
        |plugin: &PluginSeen| BY_LOAD.contains(&plugin.kind.as_str()) && plugin.weight > 0.0;
    if profile.scorers.iter().any(by_load) {
        return Check::good(id, name, detail);
    }
    Check::bad(
        id,
        name,
        detail,
        format!("no scorer of profile {} looks at load", profile.name),
        "add active-request-scorer with a weight above 0, or use the profile balanced",
    )
}

fn in_words(plugin: &PluginSeen) -> String {
    let weight = if plugin.weight == 0.0 || plugin.weight == 1.0 {
        String::new()
    } else {
        format!(" × {}", plugin.weight)
    };
    if plugin.name == plugin.kind {
        format!("{}{weight}", plugin.kind)
    } else {
        format!("{} ({}){weight}", plugin.name, plugin.kind)
    }
}

/// There are candidates, and the filters leave some.
pub(crate) fn candidates(seen: &Seen) -> Check {
    let (id, name) = ("candidates", "the filters leave candidates");
    if seen.endpoints.is_empty() {
        return Check::bad(
            id,
            name,
            "the pool is empty",
            "no endpoint is known to the gateway",
            "name endpoints in the file of --endpoints, or check what discovery selects",
        );
    }
    let removed = seen.removed();
    let left = seen.left_by_filters();
    let decided = seen.probes().any(|p| p.receipt.is_some());
    if decided && left.is_empty() {
        let filter = removed.values().next().copied().unwrap_or("a filter");
        let first = seen.plan.profiles.first();
        let kind = first.and_then(|p| p.filters.iter().find(|f| f.name == filter));
        let kind = kind.map_or("", |f| f.kind.as_str());
        return Check::bad(
            id,
            name,
            format!("the filter {filter} ({kind}) removed all {}", removed.len()),
            format!(
                "label mismatch: no endpoint has the label that the filter {filter} ({kind}) wants; they carry {}",
                labels(&seen.endpoints)
            ),
            format!(
                "correct the labels of the endpoints, or what {filter} asks for in the configuration"
            ),
        );
    }
    let mut detail = format!(
        "{} in the pool ({})",
        seen.endpoints.len(),
        labels(&seen.endpoints)
    );
    if !removed.is_empty() {
        let gone: Vec<String> = removed
            .iter()
            .take(LISTED)
            .map(|(endpoint, by)| format!("{} is filtered out by {by}", short(endpoint)))
            .collect();
        detail = format!("{detail}; {}", gone.join(", "));
    }
    Check::good(id, name, detail)
}

/// The labels of all endpoints, each with how many carry it.
fn labels(endpoints: &[Endpoint]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (key, value) in endpoints.iter().flat_map(|e| &e.labels) {
        *counts.entry(format!("{key}={value}")).or_default() += 1;
    }
    if counts.is_empty() {
        return "no labels".to_owned();
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = counts.len().saturating_sub(2 * LISTED);
    let shown: Vec<String> = counts
        .iter()
        .take(2 * LISTED)
        .map(|(label, count)| format!("{label} on {count}"))
        .collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}

/// Every candidate has a metrics page.
pub(crate) fn metrics(seen: &Seen) -> Check {
    let (id, name) = ("metrics", "every candidate's /metrics answers 200");
    let Some(direct) = &seen.direct else {
        return Check::not_run(id, name);
    };
    let bad: Vec<&Direct> = direct.iter().filter(|d| d.metrics != Ok(200)).collect();
    if bad.is_empty() {
        return Check::good(id, name, format!("{} of {}", direct.len(), direct.len()));
    }
    let ailing = ailing(seen);
    let cause = |d: &Direct| match (ailing.get(d.endpoint.as_str()), &d.metrics) {
        (_, Ok(404)) => format!(
            "{}/metrics answers 404: it has no pass-through to its engine's page",
            short(&d.endpoint)
        ),
        (Some(ailment), _) => format!("{ailment} (see pairs)"),
        (None, Ok(status)) => format!("{}/metrics answers {status}", short(&d.endpoint)),
        (None, Err(why)) => format!("{}/metrics does not answer: {why}", short(&d.endpoint)),
    };
    let causes: Vec<String> = bad.iter().take(LISTED).map(|d| cause(d)).collect();
    let fix = if bad.iter().all(|d| ailing.contains_key(d.endpoint.as_str())) {
        format!("mend {}", list(ailing.keys().copied()))
    } else {
        "let the proxy answer GET /metrics with the page of its decode server, as pointsman proxy does; \
         until then its queue and KV use are unknown"
            .to_owned()
    };
    Check::bad(
        id,
        name,
        format!("{} of {} have none", bad.len(), direct.len()),
        causes.join("; "),
        fix,
    )
}
