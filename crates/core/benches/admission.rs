//! How fast a backlog drains, and what a permit costs while nobody waits.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pointsman_core::admission::gatekeeper::{Gatekeeper, Pool};
use pointsman_core::admission::permits::Permits;
use pointsman_core::admission::queue::Ask;
use pointsman_core::admission::rules::{Admission, BandRules, FlowRules};
use pointsman_core::admission::saturation::Concurrency;
use pointsman_core::contract::admission::{
    FairnessPolicy, Flows, OrderingPolicy, UsageLimitPolicy, Waiter,
};
use pointsman_core::model::endpoint::{Endpoint, Labels};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Slot, Slots};
use pointsman_core::schedule::named::Named;
use pointsman_core::time::Tick;

const BACKLOG: u64 = 5000;
const ENDPOINTS: u32 = 100;

struct ByArrival;
impl OrderingPolicy for ByArrival {
    fn key(&self, waiter: &Waiter) -> Tick {
        waiter.enqueued
    }
}

struct Turns;
impl FairnessPolicy for Turns {
    fn next<'f>(&self, flows: &'f dyn Flows, served: Option<&str>) -> Option<&'f str> {
        served.map_or_else(|| flows.first(), |served| flows.after(served))
    }
}

struct Strict;
impl FairnessPolicy for Strict {
    fn next<'f>(&self, flows: &'f dyn Flows, _: Option<&str>) -> Option<&'f str> {
        flows.earliest()
    }
}

struct One;
impl UsageLimitPolicy for One {
    fn ceiling(&self, _: f64, _: i64, _: usize, _: usize) -> f64 {
        1.0
    }
}

fn named<T: ?Sized>(plugin: Arc<T>) -> Named<T> {
    Named {
        name: "bench".into(),
        kind: "bench",
        plugin,
    }
}

fn admission(fairness: Arc<dyn FairnessPolicy>) -> Arc<Admission> {
    let band = BandRules {
        max_bytes: u64::MAX,
        max_requests: u64::MAX,
        fairness: named(fairness),
        ordering: named(Arc::new(ByArrival)),
    };
    let detector = Concurrency {
        requests: 1000,
        ..Concurrency::default()
    };
    Arc::new(Admission {
        flow: Some(Arc::new(FlowRules {
            max_bytes: None,
            max_requests: None,
            ttl: None,
            no_endpoint_ttl: None,
            bands: BTreeMap::new(),
            others: band.clone(),
            negative: band,
            limit: named(Arc::new(One)),
            print: 0,
            eviction: None,
        })),
        detector: named(Arc::new(detector)),
        tokens: None,
        objectives: BTreeMap::new(),
        most_in_flight: Vec::new(),
    })
}

fn backlog(fairness: Arc<dyn FairnessPolicy>, flows: u64) -> Gatekeeper<()> {
    let mut gate = Gatekeeper::new(Arc::new(Permits::new(|| {})));
    gate.adopt(&admission(fairness), &mut Vec::new());
    for number in 0..BACKLOG {
        let waiter = Waiter {
            arrived: Tick(number),
            enqueued: Tick(number),
            ttl: None,
            first_token_within: None,
        };
        let ask = Ask {
            number,
            flow: format!("flow-{}", number % flows).into(),
            priority: 0,
            bytes: 1000,
            waiter,
            turned_back: 0,
        };
        assert!(gate.ask(ask, (), Tick(number)).is_none());
    }
    gate
}

fn drain(criterion: &mut Criterion) {
    let slots = Slots::new(ENDPOINTS as usize);
    let endpoint = |n: u32| {
        let address = ([10, 0, 0, 1], 8000).into();
        Endpoint::new(&format!("ns/e{n}"), address, Labels::default(), Slot(n))
    };
    let snapshot = Snapshot::new(1, (0..ENDPOINTS).map(endpoint).collect());
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(BACKLOG));
    let policies: [(&str, Arc<dyn FairnessPolicy>); 2] =
        [("strict", Arc::new(Strict)), ("turns", Arc::new(Turns))];
    for (name, fairness) in policies {
        for flows in [1, 1000] {
            group.bench_function(format!("drain/{name}/{flows}-flows"), |bencher| {
                bencher.iter_batched(
                    || backlog(Arc::clone(&fairness), flows),
                    |mut gate| {
                        let mut settled = Vec::with_capacity(BACKLOG as usize);
                        let pool = Pool {
                            snapshot: &snapshot,
                            slots: &slots,
                        };
                        gate.turn(pool, Tick(1_000_000_000), &mut settled);
                        assert_eq!(settled.len() as u64, BACKLOG);
                        settled
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    let permits = Arc::new(Permits::new(|| {}));
    permits.set_limit(10);
    group.bench_function("permit", |bencher| {
        bencher.iter(|| drop(black_box(permits.pass().unwrap())));
    });
    group.finish();
}

criterion_group!(benches, drain);
criterion_main!(benches);
