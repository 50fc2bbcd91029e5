//! What the page is told: new decisions once, those that have ended, names only when they changed.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::model::request::InferenceRequest;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_http::ClientOptions;
use serde_json::Value;

use crate::admin::debug;
use crate::admin::live::{Asked, live};
use crate::door::route::Routes;
use crate::exchange::Exchange;
use crate::record::log::Log;
use crate::router::{Lane, Router};

/// A router over two endpoints, of which a filter leaves one, and two workers.
fn router() -> (Arc<Router>, [Arc<Lane>; 2]) {
    let registry = Registry::new(pointsman_plugins::ALL);
    let written = preset("proxy-performance-by-backend").unwrap();
    let basis = Basis::new(&registry, Generation::G1, "test");
    let Ok(resolved) = resolve(&written, &basis) else {
        panic!("the preset resolves")
    };
    let membership = Arc::new(Membership::new(16));
    let members = [("ns/a", "nvlink", 1), ("ns/b", "fs", 2)].map(|(name, backend, n)| Member {
        name: name.to_owned(),
        address: ([10, 0, 0, n], 8000).into(),
        labels: [("llm-d.ai/kv-backend", backend)].into_iter().collect(),
    });
    membership.replace(&members);
    let router = Arc::new(Router::new(
        Clock::start(),
        membership,
        resolved.plan,
        Routes::all_to_pool(),
        Log::new(None, None, 0),
        7,
    ));
    let lanes = [(); 2].map(|()| router.add_lane(2, ClientOptions::default()));
    (router, lanes)
}

fn begin(lane: &Arc<Lane>, id: &str) -> Exchange {
    let mut exchange = Exchange::begin(lane, "gateway", id, "/v1/completions");
    exchange.ready(&InferenceRequest {
        model: "<m>",
        ..InferenceRequest::default()
    });
    exchange
}

/// One that was served at once.
fn served(lane: &Arc<Lane>, id: &str) {
    let mut exchange = begin(lane, id);
    exchange.head(200);
    exchange.end(None, None);
}

fn asked(router: &Router, query: &str) -> Value {
    serde_json::from_str(&live(router, query)).unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap()).collect()
}

#[test]
fn decisions_come_once_and_their_ends_when_asked_for() {
    let (router, lanes) = router();
    let first = asked(&router, "");
    assert_eq!(first["happened"], 0);
    let mut open = begin(&lanes[0], "one");
    served(&lanes[1], "two");
    let since = format!("since={}", first["cursor"].as_str().unwrap());
    let second = asked(&router, &since);
    assert_eq!(
        (ids(&second["decisions"]), &second["happened"]),
        (vec!["two", "one"], &2.into())
    );
    let rows = &second["decisions"];
    assert_eq!(rows[0]["outcome"]["kind"], "served");
    assert!(rows[1]["outcome"].is_null());
    assert_eq!(rows[1]["picks"][0], "ns/a");
    assert_eq!(rows[1]["removed"]["by-kv-backend"], 1);
    assert_eq!(
        (&rows[1]["model"], &rows[1]["scored"]),
        (&"<m>".into(), &1.into())
    );

    let key = rows[1]["key"].as_str().unwrap();
    let next = format!("since={}&pending={key}", second["cursor"].as_str().unwrap());
    let third = asked(&router, &next);
    assert_eq!(
        (ids(&third["decisions"]).len(), ids(&third["ended"]).len()),
        (0, 0)
    );
    open.head(200);
    open.end(None, None);
    let fourth = asked(&router, &next);
    assert_eq!(ids(&fourth["ended"]), ["one"]);
    assert_eq!(fourth["ended"][0]["outcome"]["status"], 200);
    assert_eq!(fourth["ended"][0]["outcome"]["served"], "ns/a");
    assert_eq!(fourth["counts"]["decisions"], 2);
}

#[test]
fn where_more_happened_the_newest_are_listed_and_all_are_counted() {
    let (router, lanes) = router();
    for n in 0..150 {
        served(&lanes[n % 2], &format!("r{n}"));
    }
    let all = asked(&router, "");
    assert_eq!(all["happened"], 150);
    assert_eq!(all["decisions"].as_array().unwrap().len(), 100);
    let few = asked(&router, "limit=3");
    assert_eq!(ids(&few["decisions"]), ["r149", "r148", "r147"]);
    assert_eq!(
        asked(&router, "limit=100000")["decisions"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
}

#[test]
fn a_cursor_of_another_run_begins_anew() {
    let (router, lanes) = router();
    served(&lanes[0], "one");
    for cursor in ["0.5.5", "x", "", "-1"] {
        let answer = asked(&router, &format!("since={cursor}"));
        assert_eq!(
            (&answer["restarted"], ids(&answer["decisions"]).len()),
            (&true.into(), 1),
            "{cursor}"
        );
    }
    assert_eq!(asked(&router, "")["restarted"], false);
}

#[test]
fn names_come_only_to_a_page_that_lacks_them() {
    let (router, lanes) = router();
    served(&lanes[1], "one");
    let answer = asked(&router, "");
    assert_eq!(answer["pool"]["names"], serde_json::json!(["ns/a", "ns/b"]));
    let generation = &answer["pool"]["generation"];
    let cursor = answer["cursor"].as_str().unwrap();
    for query in [
        format!("since={cursor}&pool=99"),
        format!("since=0.1.1&pool={generation}"),
    ] {
        let names = asked(&router, &query)["pool"]["names"].clone();
        assert_eq!(names[1], "ns/b", "{query}");
    }
    let again = asked(&router, &format!("since={cursor}&pool={generation}"));
    assert!(again["pool"]["names"].is_null());
    for name in [
        "inFlight", "waiting", "running", "kvUsage", "ageMs", "scrape", "picks",
    ] {
        assert_eq!(
            again["endpoints"][name].as_array().unwrap().len(),
            2,
            "{name}"
        );
    }
    assert_eq!(again["endpoints"]["picks"], serde_json::json!([1, 0]));
    assert_eq!(again["endpoints"]["ageMs"][0], Value::Null);
}

#[test]
fn of_equal_ids_the_key_opens_each() {
    let (router, lanes) = router();
    served(&lanes[0], "same");
    let mut second = begin(&lanes[0], "same");
    second.head(503);
    second.end(None, None);
    let status = |query: &str| -> Value {
        let text = debug::decision(&router, "same", query).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["outcome"]["status"].clone()
    };
    assert_eq!((status(""), status("key=0.1")), (503.into(), 503.into()));
    assert_ne!(status("key=0.0"), 503);
    for wrong in ["key=0.2", "key=9.0", "key=x", "key="] {
        assert!(debug::decision(&router, "same", wrong).is_none(), "{wrong}");
    }
    assert!(debug::decision(&router, "other", "key=0.0").is_none());
}

#[test]
fn a_query_is_read_leniently_and_within_bounds() {
    let many = vec!["0.1"; 500].join(",");
    let query = format!("nonsense&limit=x&pool=y&pending={many}&since=a");
    let asked = Asked::parse(&query);
    assert_eq!(
        (asked.limit, asked.pool, asked.since),
        (100, None, Some("a"))
    );
    assert_eq!(asked.pending.len(), 100);
    // Browsers encode commas.
    let key = |lane, number| super::Key { lane, number };
    let asked = Asked::parse("pending=0.1%2C1.2%2cx,2.3");
    assert_eq!(asked.pending, [key(0, 1), key(1, 2), key(2, 3)]);
}
