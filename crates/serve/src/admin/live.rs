//! `/debug/live`: what the live page asks for once a second, as small as it can be.
//!
//! `GET /debug/live?since=<cursor>&pending=<key>,<key>…&pool=<generation>&limit=<n>`; all parts are optional.
//!
//! - `since`: the `cursor` of the answer before. `happened` counts the decisions since then and `decisions` lists the
//!   newest of them, newest first, at most `limit` (100, which is also the most): where more happened, the rest is
//!   left out. A cursor of another run of the process, or none, means "whatever is newest".
//! - `pending`: keys of decisions that had not ended when they were listed, at most 100; `ended` lists those that have
//!   ended since. `key` names one record of this run, also where a request id was used twice; open it with
//!   `/debug/decisions/<id>?key=<key>`.
//! - `pool`: the generation of the membership whose names the page has from this run; `names` is left out when it is
//!   still that one.
//!
//! `endpoints` holds one array per number, parallel to `names`: `inFlight`, `waiting`, `running`, `kvUsage`, `ageMs` (of
//! the oldest of those three; null: never scraped), `scrape` (index into `scrapeWords`), `picks` (since the start), and
//! `hitPredicted` and `hitActual` (shares of the last minute's prompt tokens that were cached; empty where nobody
//! answered).
//! `counts` are totals since the start. Times are in milliseconds. No table of a decision is copied for this.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use pointsman_core::contract::table::ProfileRun;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Reading, ScrapeState};
use pointsman_core::schedule::plan::Plan;
use pointsman_wire::receipt::{FULL, SCHEMA_VERSION, STALE, TRIED};
use serde::Serialize;

use crate::metrics::windows::{Hits, Window};
use crate::record::ring::glance::Glance;
use crate::router::Router;

/// Decisions listed at most, and keys looked at.
const MOST: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Live<'a> {
    schema_version: u32,
    run: String,
    cursor: String,
    restarted: bool,
    now_ms: f64,
    plan: PlanNow<'a>,
    pool: PoolNow<'a>,
    endpoints: Endpoints,
    scrape_words: [&'static str; SCRAPE_STATES.len()],
    counts: BTreeMap<&'static str, u64>,
    happened: u64,
    decisions: Vec<Row<'a>>,
    ended: Vec<Row<'a>>,
}

const SCRAPE_STATES: [ScrapeState; 5] = [
    ScrapeState::Never,
    ScrapeState::Fresh,
    ScrapeState::NotFound,
    ScrapeState::Garbage,
    ScrapeState::Unreachable,
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanNow<'a> {
    generation: u64,
    source: &'a str,
    uses_picker: bool,
    /// Whether some plugin of the plan looks at scraped readings.
    reads_scraped: bool,
    stale_after_ms: u64,
    stale_policy: &'static str,
}

#[derive(Serialize)]
struct PoolNow<'a> {
    generation: u64,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<&'a str>>,
}

/// Parallel to the rows of the membership.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoints {
    in_flight: Vec<u32>,
    waiting: Vec<f64>,
    running: Vec<f64>,
    kv_usage: Vec<f64>,
    age_ms: Vec<Option<u64>>,
    scrape: Vec<u8>,
    picks: Vec<u64>,
    /// Share of the prompt tokens of the last minute's answers that were believed to be cached; `None` without answers.
    hit_predicted: Vec<Option<f64>>,
    /// The share that was, as the engines say.
    hit_actual: Vec<Option<f64>>,
}

/// One line of the stream.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    key: String,
    id: &'a str,
    at_ms: f64,
    model: &'a str,
    profile: Option<&'a str>,
    picks: Vec<&'a str>,
    pool: usize,
    scored: u32,
    /// How many share the best total; 1 where nobody does.
    best: u32,
    removed: BTreeMap<&'a str, u32>,
    truncated: bool,
    pick_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Ending<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ending<'a> {
    kind: &'static str,
    status: Option<u16>,
    reason: Option<&'static str>,
    served: Option<&'a str>,
    failed_attempts: usize,
    first_byte_ms: Option<f64>,
    total_ms: f64,
}

/// The parts of the query.
#[derive(Debug, Default, PartialEq)]
struct Asked<'a> {
    since: Option<&'a str>,
    pending: Vec<Key>,
    pool: Option<u64>,
    limit: usize,
}

impl<'a> Asked<'a> {
    fn parse(query: &'a str) -> Self {
        let mut asked = Self {
            limit: MOST,
            ..Self::default()
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "since" => asked.since = Some(value),
                "pool" => asked.pool = value.parse().ok(),
                "limit" => asked.limit = value.parse().unwrap_or(MOST).min(MOST),
                "pending" => asked.pending = keys(value),
                _ => {}
            }
        }
        asked
    }
}

/// Keys with commas between them, which browsers write as `%2C`.
fn keys(list: &str) -> Vec<Key> {
    list.split(',')
        .flat_map(|part| part.split("%2C"))
        .flat_map(|part| part.split("%2c"))
        .filter_map(Key::parse)
        .take(MOST)
        .collect()
}

/// A record among all workers' rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The number of the worker.
    pub lane: usize,
    /// The number of the record in its ring.
    pub number: u64,
}

impl Key {
    /// Reads a key as [`Key::text`] wrote it.
    pub fn parse(text: &str) -> Option<Self> {
        let (lane, number) = text.split_once('.')?;
        Some(Self {
            lane: lane.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    fn text(self) -> String {
        format!("{}.{}", self.lane, self.number)
    }
}

/// Answers one question of the page.
pub fn live(router: &Router, query: &str) -> String {
    let asked = Asked::parse(query);
    let (plan, snapshot) = (router.plan.load_full(), router.membership.snapshot());
    let now = router.clock.now();
    // The moment at which this process's clock began tells its runs apart.
    let run = format!("{:x}", router.clock.unix_ns(pointsman_core::time::Tick(0)));
    let before = asked.since.and_then(|cursor| numbers(cursor, &run));
    let stream = stream(router, &asked, before.as_deref().unwrap_or_default());
    let ended = ended(router, &asked);
    let mut cursor = run.clone();
    for number in &stream.next {
        cursor.push('.');
        cursor.push_str(&number.to_string());
    }
    let answer = Live {
        schema_version: SCHEMA_VERSION,
        cursor,
        restarted: asked.since.is_some() && before.is_none(),
        run,
        now_ms: millis(router.clock.unix_ns(now)),
        plan: plan_now(router, &plan),
        pool: PoolNow {
            generation: snapshot.generation,
            size: snapshot.len(),
            names: (before.is_none() || asked.pool != Some(snapshot.generation))
                .then(|| snapshot.endpoints.iter().map(|e| e.name.as_ref()).collect()),
        },
        endpoints: endpoints(router, &snapshot),
        scrape_words: SCRAPE_STATES.map(ScrapeState::word),
        counts: counts(router, stream.lost),
        happened: stream.happened,
        decisions: stream.glances.iter().map(row).collect(),
        ended: ended.iter().map(row).collect(),
    };
    serde_json::to_string(&answer).unwrap_or_default()
}

/// The numbers of a cursor, one per worker, if it belongs to this run.
fn numbers(cursor: &str, run: &str) -> Option<Vec<u64>> {
    let mut parts = cursor.split('.');
    if parts.next() != Some(run) {
        return None;
    }
    parts.map(|number| number.parse().ok()).collect()
}

struct Stream {
    glances: Vec<(Key, Glance)>,
    next: Vec<u64>,
    happened: u64,
    lost: u64,
}

/// The newest decisions of all workers from the numbers `before`; each ring is locked by itself.
fn stream(router: &Router, asked: &Asked<'_>, before: &[u64]) -> Stream {
    let mut stream = Stream {
        glances: Vec::new(),
        next: Vec::new(),
        happened: 0,
        lost: 0,
    };
    for (lane, one) in router.lanes().iter().enumerate() {
        let from = before.get(lane).copied().unwrap_or(0);
        let ring = one.ring.lock();
        let next = ring.next_number();
        let glances = ring.glances(from, asked.limit);
        stream.lost += ring.lost();
        drop(ring);
        stream.next.push(next);
        stream.happened += next.saturating_sub(from);
        let keyed = glances.into_iter().map(|glance| {
            let number = glance.number;
            (Key { lane, number }, glance)
        });
        stream.glances.extend(keyed);
    }
    let newest_first =
        |(key, glance): &(Key, Glance)| std::cmp::Reverse((glance.at_unix_ns, key.number));
    stream.glances.sort_by_key(newest_first);
    stream.glances.truncate(asked.limit);
    stream
}

/// Those of the pending decisions that have ended.
fn ended(router: &Router, asked: &Asked<'_>) -> Vec<(Key, Glance)> {
    let lanes = router.lanes();
    let keys = asked.pending.iter().copied();
    keys.filter_map(|key| {
        let glance = lanes.get(key.lane)?.ring.lock().glance(key.number)?;
        glance.outcome.is_some().then_some((key, glance))
    })
    .collect()
}

fn row((key, glance): &(Key, Glance)) -> Row<'_> {
    let name = |row: u32| -> &str {
        let endpoint = glance.snapshot.endpoints.get(row as usize);
        endpoint.map_or("?", |endpoint| &endpoint.name)
    };
    let profile = glance.profile.and_then(|at| glance.plan.profiles.get(at));
    let by = |struck: u16| match struck {
        ProfileRun::TRIED => TRIED,
        ProfileRun::STALE => STALE,
        ProfileRun::FULL => FULL,
        n => profile
            .and_then(|profile| profile.filters.get(n as usize - 1))
            .map_or("?", |filter| &filter.name),
    };
    Row {
        key: key.text(),
        id: &glance.request_id,
        at_ms: millis(glance.at_unix_ns),
        model: &glance.model,
        profile: profile.map(|profile| profile.name.as_str()),
        picks: glance.picks.iter().map(|&pick| name(pick)).collect(),
        pool: glance.snapshot.len(),
        scored: glance.scored,
        best: glance.best,
        removed: glance
            .struck
            .iter()
            .map(|&(n, count)| (by(n), count))
            .collect(),
        truncated: glance.truncated,
        pick_ms: glance.pick_ns as f64 / 1e6,
        outcome: glance.outcome.as_ref().map(|outcome| Ending {
            kind: outcome.end.word(),
            status: outcome.status,
            reason: outcome.reason,
            served: outcome.served.map(name),
            failed_attempts: outcome
                .attempts
                .iter()
                .filter(|a| a.cause.is_some())
                .count(),
            first_byte_ms: outcome.first_byte.map(|span| span.as_millis_f64()),
            total_ms: outcome.total.as_millis_f64(),
        }),
    }
}

fn plan_now<'a>(router: &Router, plan: &'a Plan) -> PlanNow<'a> {
    PlanNow {
        generation: plan.generation,
        source: &plan.source,
        uses_picker: router.routes.uses_picker(),
        reads_scraped: plan.reads.iter().any(|reading| reading.is_scraped()),
        stale_after_ms: plan.staleness.max_age.0 / 1_000_000,
        stale_policy: plan.staleness.policy.word(),
    }
}

fn endpoints(router: &Router, snapshot: &Snapshot) -> Endpoints {
    let (slots, now) = (router.membership.slots(), router.clock.now());
    let mut all = Endpoints {
        picks: picks(router, snapshot),
        ..Endpoints::default()
    };
    for &slot in snapshot.slots() {
        let read = |reading: Reading| slots.read(slot, reading).0;
        let ages = Reading::SCRAPED.map(|reading| slots.age(slot, reading, now));
        let oldest = ages.into_iter().flatten().max();
        let state = slots.scrape_state(slot);
        all.in_flight.push(slots.in_flight(slot));
        all.waiting.push(read(Reading::Waiting));
        all.running.push(read(Reading::Running));
        all.kv_usage
            .push((read(Reading::KvUsage) * 1e4).round() / 1e4);
        all.age_ms.push(oldest.map(|age| age.0 / 1_000_000));
        let word = SCRAPE_STATES.iter().position(|&known| known == state);
        all.scrape.push(word.unwrap_or(0) as u8);
    }
    hits(router, snapshot, &mut all);
    all
}

/// Cache hits of the last minute, as believed and as they were; left out where nobody answered anything.
fn hits(router: &Router, snapshot: &Snapshot, all: &mut Endpoints) {
    let windows = router.hits.lock();
    let found = snapshot.slots().iter();
    let found: Vec<Hits> = found
        .map(|&slot| windows.within(Window::Minute, slot))
        .collect();
    drop(windows);
    if found.iter().all(|hits| hits.prompt == 0) {
        return;
    }
    for hits in found {
        let share = |part: u64| {
            let share = part as f64 / hits.prompt as f64;
            (hits.prompt > 0).then(|| (share * 1e4).round() / 1e4)
        };
        all.hit_predicted.push(share(hits.predicted));
        all.hit_actual.push(share(hits.actual));
    }
}

/// Picks since the start, by row.
fn picks(router: &Router, snapshot: &Snapshot) -> Vec<u64> {
    let mut picks = vec![0; snapshot.len()];
    for lane in router.lanes() {
        let tables = lane.cells.tables.lock();
        for (endpoint, sum) in snapshot.endpoints.iter().zip(&mut picks) {
            let cells = tables.endpoints.get(&endpoint.slot.0);
            if let Some(cells) = cells.filter(|cells| cells.name == endpoint.name) {
                *sum += cells.picks.iter().map(|(_, count)| count).sum::<u64>();
            }
        }
    }
    picks
}

fn counts(router: &Router, lost: u64) -> BTreeMap<&'static str, u64> {
    let counts = &router.counts;
    let [served, broken, rejected, gone] = &counts.ended;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    BTreeMap::from([
        ("decisions", load(&counts.decisions)),
        ("bypassed", load(&counts.bypassed)),
        ("served", load(served)),
        ("broken", load(broken)),
        ("rejected", load(rejected)),
        ("clientGone", load(gone)),
        ("failedAttempts", load(&counts.failed_attempts)),
        ("inFlight", router.membership.slots().total_in_flight()),
        ("droppedLines", router.log.dropped()),
        ("lostReceipts", lost),
    ])
}

fn millis(unix_ns: u64) -> f64 {
    (unix_ns / 1_000) as f64 / 1e3
}

#[cfg(test)]
mod tests;
