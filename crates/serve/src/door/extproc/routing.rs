//! From a decision to what the gateway is told: destination, fallbacks, prefiller, rank, scores.

use std::collections::BTreeMap;

use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Effect, Usage};
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::schedule::plan::{Part, Plan};
use pointsman_wire::extproc::answer::Route;
use pointsman_wire::extproc::messages::{Struct, Value};

/// The address that a request for `endpoint` is sent to: its own, or the first rank's.
pub fn destination(plan: &Plan, endpoint: &Endpoint) -> String {
    match plan.handler.plugin.primary_port() {
        None => endpoint.authority.to_string(),
        Some(port) => {
            let mut address = endpoint.address;
            address.set_port(port);
            address.to_string()
        }
    }
}

/// What a decision means for the gateway; nothing if it picked nobody.
pub fn route(
    plan: &Plan,
    snapshot: &Snapshot,
    table: &Table,
    effect: &Effect,
    emit_scores: bool,
) -> Route {
    let Effect::Forward {
        row,
        prefill,
        ref encode,
        run,
        ..
    } = *effect
    else {
        return Route::default();
    };
    let at = |row: usize| &snapshot.endpoints[row];
    let mut route = to(plan, at(row));
    let run = run.and_then(|run| table.runs().get(run));
    for &next in run.iter().flat_map(|run| run.picks.iter().skip(1)) {
        route.destination.push(',');
        route
            .destination
            .push_str(&destination(plan, at(next as usize)));
    }
    route.prefiller = prefill
        .filter(|_| plan.prefill_header)
        .map(|row| at(row).authority.to_string());
    if plan.encode_header && !encode.is_empty() {
        let encoders = encode.iter().map(|&row| &*at(row as usize).authority);
        route.encoders = Some(encoders.collect::<Vec<_>>().join(","));
    }
    if let Some(run) = run.filter(|_| emit_scores) {
        let scores = run.alive.iter();
        route.scores = scores
            .map(|row| (destination(plan, at(row)), run.total[row]))
            .collect();
    }
    route
}

/// What the plan's plugins put on the answer, by header name.
pub fn marks(plan: &Plan, snapshot: &Snapshot, effect: &Effect) -> Vec<(String, String)> {
    let Effect::Forward {
        row,
        prefill,
        encode,
        ..
    } = effect
    else {
        return Vec::new();
    };
    let row_of = |part: &Part| match part {
        Part::Answer => Some(*row),
        Part::Prefill => *prefill,
        Part::Encode => encode.first().map(|&row| row as usize),
    };
    let announcers = plan.announcers.iter();
    announcers
        .filter_map(|(announcer, part)| {
            let mut text = String::new();
            announcer.write(&snapshot.endpoints[row_of(part)?], &mut text);
            Some((announcer.header().to_owned(), text))
        })
        .collect()
}

/// Puts an endpoint that served in the place of the one picked, into what is on the answer.
pub fn mark_again(plan: &Plan, endpoint: &Endpoint, marks: &mut [(String, String)]) {
    let answering = plan
        .announcers
        .iter()
        .filter(|(_, part)| *part == Part::Answer);
    for (announcer, _) in answering {
        let known = marks
            .iter_mut()
            .find(|(name, _)| name == announcer.header());
        if let Some((_, text)) = known {
            text.clear();
            announcer.write(endpoint, text);
        }
    }
}

/// What the plan's plugins tell the gateway of an answer with this usage, by namespace.
pub fn reported(plan: &Plan, usage: &Usage) -> Option<Struct> {
    let mut all: BTreeMap<&str, Struct> = BTreeMap::new();
    for reporter in &plan.reporters {
        if let Some(number) = reporter.plugin.number(usage) {
            let (namespace, name) = reporter.plugin.place();
            let told = all.entry(namespace).or_default();
            let number = Value::number(number as f64);
            told.fields.insert(name.to_owned(), number);
        }
    }
    let told = all.into_iter();
    let told = Struct::of(told.map(|(namespace, told)| (namespace, Value::object(told))));
    (!told.fields.is_empty()).then_some(told)
}

/// To one endpoint, whoever chose it.
pub fn to(plan: &Plan, endpoint: &Endpoint) -> Route {
    let ranked = plan.handler.plugin.primary_port().is_some();
    Route {
        destination: destination(plan, endpoint),
        rank: ranked.then(|| endpoint.authority.to_string()),
        ..Route::default()
    }
}
