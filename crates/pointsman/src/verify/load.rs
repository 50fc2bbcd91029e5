//! One endpoint kept busy by long answers, and short probes that should go elsewhere.
//!
//! The picker itself spreads the long answers; those that did not land on the busiest endpoint are given up again. What
//! remains is a pool in which one endpoint is loaded and the others idle: a case in which round robin and chance go
//! on sending the loaded one its share, and a picker that sees load does not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use pointsman_http::Body;
use pointsman_serve::handoff::target::Target;
use tokio::task::AbortHandle;

use crate::verify::ask::{Asker, Wanted};
use crate::verify::burst::{receipt, with_receipts};
use crate::verify::judge::odds::avoids;
use crate::verify::observe::endpoints;
use crate::verify::seen::{Answer, LoadSeen};

/// Long answers that are opened for each candidate. A policy that goes by expected times need not mind a few, so more
/// are tried until the picks mind them.
const LEVELS: [usize; 3] = [4, 16, 64];

/// Long answers at most; a level that would need more is left out.
const MOST_HELD: usize = 256;

/// Tokens of a long answer; given up long before the last.
const LONG: u32 = 1500;

/// Probes for each candidate; at least, and at most.
const PROBES_PER_CANDIDATE: usize = 6;
const PROBES: std::ops::RangeInclusive<usize> = 24..=96;

/// How long the loaded endpoint is looked at before the probes, so that scraped readings know of it as well.
const SETTLE: Duration = Duration::from_millis(1200);

struct Held {
    endpoint: String,
    reading: AbortHandle,
}

/// Loads one of `candidates` endpoints, more and more, until the probes avoid it.
pub(crate) async fn loaded(
    asker: &Asker,
    gateway: SocketAddr,
    admin: &Target,
    candidates: usize,
) -> Vec<LoadSeen> {
    let mut levels = Vec::new();
    let fits = |level: &&usize| **level * candidates <= MOST_HELD || **level == LEVELS[0];
    for level in LEVELS.iter().filter(fits) {
        if asker.is_over() {
            break;
        }
        let most = (level * candidates).min(MOST_HELD);
        let seen = level_of(asker, gateway, admin, (candidates, most)).await;
        let go_on = seen.victim.is_ok() && !avoids(&seen, candidates);
        levels.push(seen);
        if !go_on {
            break;
        }
    }
    levels
}

/// One level of load: up to `most` long answers, then probes.
async fn level_of(
    asker: &Asker,
    gateway: SocketAddr,
    admin: &Target,
    (candidates, most): (usize, usize),
) -> LoadSeen {
    let mut held = hold(asker, gateway, admin, most).await;
    let mut seen = LoadSeen {
        victim: Err("no long answer could be kept open".to_owned()),
        held: 0,
        held_to_the_end: 0,
        probes: Vec::new(),
    };
    let mut per: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &held {
        *per.entry(&one.endpoint).or_default() += 1;
    }
    let busiest = per.into_iter().max_by_key(|&(_, count)| count);
    let Some((victim, count)) = busiest.map(|(name, count)| (name.to_owned(), count)) else {
        return seen;
    };
    held.retain(|one| {
        let stays = one.endpoint == victim;
        if !stays {
            one.reading.abort();
        }
        stays
    });
    seen.held = count;
    seen.victim = settled(asker, admin, &victim, count as u64).await;
    if seen.victim.is_ok() {
        let wanted = (PROBES_PER_CANDIDATE * candidates).clamp(*PROBES.start(), *PROBES.end());
        let answered = one_by_one(asker, gateway, wanted).await;
        seen.held_to_the_end = held.iter().filter(|one| !one.reading.is_finished()).count();
        seen.probes = with_receipts(asker, admin, answered).await;
    }
    for one in &held {
        one.reading.abort();
    }
    seen
}

/// Short requests, one after the other, so that nothing but the held answers is in flight when one is decided.
async fn one_by_one(asker: &Asker, gateway: SocketAddr, wanted: usize) -> Vec<(String, Answer)> {
    let mut answered = Vec::with_capacity(wanted);
    while answered.len() < wanted && !asker.is_over() {
        let id = asker.next_id();
        let short = Wanted {
            max_tokens: 1,
            ..Wanted::default()
        };
        let answer = asker.complete(gateway, &id, short).await;
        let good = answer.is_good();
        answered.push((id, answer));
        if !good {
            break;
        }
    }
    answered
}

async fn hold(asker: &Asker, gateway: SocketAddr, admin: &Target, most: usize) -> Vec<Held> {
    let mut held = Vec::new();
    while held.len() < most && !asker.is_over() {
        let id = asker.next_id();
        let long = Wanted {
            max_tokens: LONG,
            stream: true,
            ..Wanted::default()
        };
        let Ok(response) = asker.begin(gateway, &id, long).await else {
            break;
        };
        if response.status() != 200 {
            break;
        }
        let reading = tokio::spawn(drain(response.into_body())).abort_handle();
        let found = receipt(asker, admin, &id).await;
        let endpoint = found.and_then(|r| r.profiles.first()?.picked.first().cloned());
        match endpoint {
            Some(endpoint) => held.push(Held { endpoint, reading }),
            None => {
                reading.abort();
                break;
            }
        }
    }
    held
}

/// Takes in an answer until it ends or the task is aborted, which closes the connection.
async fn drain(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// Waits until the gateway counts exactly the held answers on the victim and none elsewhere.
async fn settled(asker: &Asker, admin: &Target, victim: &str, held: u64) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..20 {
        tokio::time::sleep(SETTLE / 10).await;
        if asker.is_over() {
            break;
        }
        let Ok(pool) = endpoints(asker, admin).await else {
            continue;
        };
        let of_victim = pool.iter().find(|e| e.name == victim);
        let elsewhere: u64 = pool
            .iter()
            .filter(|e| e.name != victim)
            .map(|e| e.in_flight)
            .sum();
        let on_victim = of_victim.map_or(0, |e| e.in_flight);
        if on_victim >= held && elsewhere == 0 {
            tokio::time::sleep(SETTLE.min(asker.left())).await;
            return Ok(victim.to_owned());
        }
        last = format!("{on_victim} in flight on {victim}, {elsewhere} elsewhere");
    }
    Err(format!(
        "no endpoint could be kept busy alone ({last}); is there other traffic?"
    ))
}
