//! The plan, and what its filters leave of the pool.

use std::collections::{BTreeMap, BTreeSet};

use crate::verify::check::{CANDIDATES, Check, PLAN};
use crate::verify::judge::roots::Roots;
use crate::verify::seen::{Seen, Views, run_of, short};
use crate::verify::views::{Plugin, Profile};

/// Scorers that read how busy candidates are.
const LOAD: [&str; 8] = [
    "active-request-scorer",
    "load-aware-scorer",
    "queue-scorer",
    "running-requests-size-scorer",
    "kv-cache-utilization-scorer",
    "expected-ttft-scorer",
    "token-load-scorer",
    "latency-scorer",
];

/// Pickers that do not look at scores.
const BLIND: [&str; 1] = ["random-picker"];

/// The plan scores by live load and its picker looks at scores.
pub(crate) fn plan(seen: &Seen, roots: &Roots) -> Check {
    let plan = match roots.views(seen, PLAN) {
        Ok(views) => &views.plan,
        Err(check) => return check,
    };
    let profiles = plan.deciding();
    let said: Vec<String> = profiles.iter().map(|p| in_words(p)).collect();
    let detail = format!("{} ({})", said.join("; "), plan.source);
    for profile in &profiles {
        let picker = &profile.picker;
        if BLIND.contains(&picker.kind.as_str()) {
            return PLAN.bad(
                detail,
                format!(
                    "the picker '{}' of profile '{}' ignores scores, so load decides nothing",
                    picker.kind, profile.name
                ),
                "use max-score-picker or weighted-random-picker in that profile",
            );
        }
        if !profile.scorers.iter().any(reads_load) {
            return PLAN.bad(
                detail,
                format!(
                    "no scorer of profile '{}' with a weight above 0 reads live load",
                    profile.name
                ),
                "add active-request-scorer with weight 1 to that profile",
            );
        }
    }
    PLAN.good(detail)
}

fn reads_load(scorer: &Plugin) -> bool {
    scorer.weight > 0.0 && LOAD.contains(&scorer.kind.as_str())
}

fn in_words(profile: &Profile) -> String {
    let scorers: Vec<String> = profile
        .scorers
        .iter()
        .map(|s| format!("{} x{}", s.kind, s.weight))
        .collect();
    let scorers = match scorers.is_empty() {
        true => "no scorer".to_owned(),
        false => scorers.join(" + "),
    };
    let filters: Vec<String> = profile.filters.iter().map(named).collect();
    let filters = match filters.is_empty() {
        true => "no filter".to_owned(),
        false => format!("filtered by {}", filters.join(", ")),
    };
    format!("{scorers}, {}, {filters}", profile.picker.kind)
}

fn named(filter: &Plugin) -> String {
    match filter.wants.as_str() {
        "" => filter.name.clone(),
        wants => format!("{} ({wants})", filter.name),
    }
}

/// There are candidates, and filters leave some of them.
pub(crate) fn candidates(seen: &Seen, roots: &Roots) -> Check {
    let views = match roots.views(seen, CANDIDATES) {
        Ok(views) => views,
        Err(check) => return check,
    };
    let count = views.pool.endpoints.len();
    if count == 0 {
        return CANDIDATES.bad(
            "the pool is empty",
            "no endpoint belongs to the pool",
            "add endpoints: the endpoints file, or the labels that the pool selects by",
        );
    }
    let all = format!("{count} in the pool, {}", labels(views, None));
    if let Some(name) = &roots.emptied_by {
        let filter = views
            .plan
            .profiles
            .iter()
            .flat_map(|p| &p.filters)
            .find(|f| f.name == *name);
        let (kind, wants) = filter.map_or(("", ""), |f| (f.kind.as_str(), f.wants.as_str()));
        let carried = labels(views, Some(wants));
        return CANDIDATES.bad(
            format!("filter '{name}' leaves none of {count}"),
            format!(
                "label mismatch: filter '{name}' ({kind}) wants {}, the endpoints carry {carried}",
                if wants.is_empty() {
                    "other labels"
                } else {
                    wants
                }
            ),
            format!("correct the endpoints' labels or the parameters of filter '{name}'"),
        );
    }
    let struck = filtered(seen);
    if struck.is_empty() {
        return CANDIDATES.good(all);
    }
    CANDIDATES.good(format!("{all}; {}", struck_in_words(&struck)))
}

/// Candidates that a filter crossed out in some burst, by the filter.
pub(crate) fn filtered(seen: &Seen) -> BTreeMap<String, BTreeSet<String>> {
    let mut struck: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let receipts = seen.bursts.iter().flat_map(|b| b.probes());
    for run in receipts.filter_map(|p| run_of(p.receipt.as_ref()?)) {
        let busy = |by: &str| by == "tried before" || by == "full";
        for one in run.filtered.iter().filter(|one| !busy(&one.by)) {
            let names = struck.entry(one.by.clone()).or_default();
            names.insert(one.endpoint.clone());
        }
    }
    struck
}

/// `vllm-fs-proxy is filtered by by-kv-backend`, for some of them.
pub(crate) fn struck_in_words(struck: &BTreeMap<String, BTreeSet<String>>) -> String {
    let said = struck.iter().map(|(by, names)| {
        let shown: Vec<&str> = names.iter().take(4).map(|name| short(name)).collect();
        let more = match names.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{}{more} {verb} filtered by {by}", shown.join(", "))
    });
    said.collect::<Vec<_>>().join("; ")
}

/// The values of labels with how often each occurs: of those that `wants` names, or of all.
fn labels(views: &Views, wants: Option<&str>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in &views.pool.endpoints {
        let mut any = false;
        for (key, value) in &endpoint.labels {
            if wants.is_none_or(|wants| wants.contains(key.as_str())) {
                any = true;
                *counts.entry(format!("{key}={value}")).or_default() += 1;
            }
        }
        if !any {
            let which = if wants.is_some() {
                "no such label"
            } else {
                "no label"
            };
            *counts.entry(which.to_owned()).or_default() += 1;
        }
    }
    let total = counts.len();
    let shown: Vec<String> = counts
        .into_iter()
        .take(8)
        .map(|(label, count)| format!("{label} ({count})"))
        .collect();
    match total - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
