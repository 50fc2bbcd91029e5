//! A case that turns and chance cannot pass: some candidates are kept busy with long streams, and short requests
//! must go past them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::Response;
use http_body::Body as _;
use pointsman_http::Body;
use tokio::task::JoinHandle;

use crate::verify::client::Call;
use crate::verify::probe::{PATH, Prober, REQUEST_ID, some_at_once};
use crate::verify::seen::{Load, NotTried, Seen, Views, run_of};
use crate::verify::views::{Candidate, Pool};

/// Short requests that are sent meanwhile, and how many at once.
pub(crate) const PROBES: usize = 24;
const AT_ONCE: usize = 2;

/// Above so many candidates half of them are put under load: one would get too few of the probes by chance alone.
const ONE_VICTIM: usize = 5;

/// Streams opened for each candidate, in all at most, and tokens asked for by each.
const EACH: usize = 6;
const MOST: usize = 192;
const TOKENS: u32 = 1200;

/// Longest wait for a stream's head, and for a probe.
const LIMIT: Duration = Duration::from_secs(4);

/// How often the gateway is asked until it shows the load and nothing else, and the pause between.
const LOOKS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);

/// Tries it, if there is something to compare.
pub(crate) async fn put_under_load(prober: &Prober, views: &Views, seen: &Seen) -> Load {
    let competing = match competing(views, seen) {
        Ok(names) => names,
        Err(why) => return not_tried(why),
    };
    let mut load = Load {
        candidates: competing.len(),
        ..Load::default()
    };
    let mut streams = open(prober, (EACH * competing.len()).min(MOST)).await;
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    for stream in &streams {
        *on.entry(stream.endpoint.clone()).or_default() += 1;
    }
    if on.is_empty() {
        return not_tried(NotTried::NoStreams("none was answered 200".to_owned()));
    }
    let mut busiest: Vec<(usize, String)> = on.into_iter().map(|(name, n)| (n, name)).collect();
    busiest.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.cmp(b)));
    let victims = match competing.len() {
        n if n <= ONE_VICTIM => 1,
        n => n / 2,
    };
    load.victims = busiest
        .into_iter()
        .take(victims)
        .map(|(_, name)| name)
        .collect();
    streams.retain(|stream| {
        let stays = load.victims.contains(&stream.endpoint);
        if !stays {
            stream.reading.abort();
        }
        stays
    });
    load.streams = streams.len();
    load.in_flight = settle(prober, &load.victims).await;
    let mut probes = Vec::new();
    if load.in_flight > 0 {
        probes = prober.burst(PROBES, AT_ONCE, LIMIT).await;
    }
    load.still_open = streams.iter().filter(|s| !s.reading.is_finished()).count();
    for stream in &streams {
        stream.reading.abort();
    }
    load.probes = prober.with_receipts(probes).await;
    load
}

fn not_tried(why: NotTried) -> Load {
    Load {
        not_tried: Some(why),
        ..Load::default()
    }
}

/// The candidates that a probe could go to: not filtered, and not known to fail.
fn competing(views: &Views, seen: &Seen) -> Result<Vec<String>, NotTried> {
    if views.pool.endpoints.len() < 2 {
        return Err(NotTried::OneInPool);
    }
    let bursts = seen.bursts.as_ref().ok_or(NotTried::NoReceipts)?;
    let filtered: BTreeSet<(String, String)> = bursts
        .probes()
        .filter_map(|probe| probe.receipt.as_ref())
        .filter_map(|receipt| run_of(receipt))
        .flat_map(|run| &run.filtered)
        .map(|f| (f.endpoint.clone(), f.by.clone()))
        .collect();
    if bursts.probes().all(|probe| probe.receipt.is_none()) {
        return Err(NotTried::NoReceipts);
    }
    let left: Vec<String> = views
        .pool
        .endpoints
        .iter()
        .map(|e| e.name.clone())
        .filter(|name| filtered.iter().all(|(struck, _)| struck != name))
        .collect();
    if left.len() < 2 {
        return Err(NotTried::OneLeft(filtered.into_iter().collect()));
    }
    let fails = |name: &str| {
        let direct = seen.direct.iter().flatten();
        direct
            .into_iter()
            .any(|d| d.endpoint == name && !d.probe.is_good())
    };
    let serving: Vec<String> = left.into_iter().filter(|name| !fails(name)).collect();
    match serving.len() {
        0 | 1 => Err(NotTried::OneServes),
        _ => Ok(serving),
    }
}

/// A stream that is being read.
struct Stream {
    endpoint: String,
    reading: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The gateway sees the end of the connection and cancels at the endpoint.
        self.reading.abort();
    }
}

/// Opens streams through the gateway and finds out where each went.
async fn open(prober: &Prober, count: usize) -> Vec<Stream> {
    let asks = (0..count).map(|_| {
        let own = prober.clone();
        async move {
            let id = own.next_id();
            let call = Call {
                address: own.target.0,
                authority: &own.target.1,
                path: PATH,
                headers: &[(REQUEST_ID, &id)],
                body: Some(own.body(&id, 40, TOKENS, true)),
            };
            let answer = own.client.open(call, LIMIT).await.ok()?;
            if answer.status() != 200 {
                return None;
            }
            let answered = answered_id(&answer);
            let reading = Stream {
                endpoint: String::new(),
                reading: tokio::spawn(drain(answer.into_body())),
            };
            let receipt = match own.receipt(&id, false).await {
                Some(found) => found,
                None => own.receipt(&answered?, false).await?,
            };
            let run = run_of(&receipt)?;
            let endpoint = run.picked.first()?.clone();
            let mut stream = reading;
            stream.endpoint = endpoint;
            Some(stream)
        }
    });
    some_at_once(asks, count)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// The request id that an answer names.
fn answered_id(answer: &Response<Body>) -> Option<String> {
    let value = answer.headers().get(REQUEST_ID)?;
    value.to_str().ok().map(str::to_owned)
}

async fn drain(mut body: Body) {
    while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
}

/// Waits until the gateway shows the load on the victims and none elsewhere, in flight and as their engines report
/// it; gives what is in flight on the victims.
async fn settle(prober: &Prober, victims: &[String]) -> u64 {
    let mut shown = 0;
    for _ in 0..LOOKS {
        let pages = prober.admin_pages("/debug/endpoints").await;
        let pools: Vec<Pool> = pages
            .unwrap_or_default()
            .iter()
            .map(|page| serde_json::from_str(page).unwrap_or_default())
            .collect();
        let (on, off): (Vec<_>, Vec<_>) = pools
            .iter()
            .flat_map(|pool| &pool.endpoints)
            .partition(|e| victims.contains(&e.name));
        let running = |e: &&Candidate| e.readings.get("running").and_then(|reading| reading.value);
        shown = on.iter().map(|e| e.in_flight).sum();
        let calm = off.iter().all(|e| e.in_flight == 0)
            && off.iter().filter_map(running).all(|n| n == 0.0)
            && on.iter().filter_map(running).all(|n| n > 0.0);
        if shown > 0 && calm {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    shown
}
