//! The yardstick proxy passes what it is given, in both directions and in both of its ways.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pointsman_bench::baseline;
use pointsman_bench::load::{Pacing, Plan, Work, get, run};
use pointsman_bench::mock::{Mock, MockOptions};
use tokio::net::TcpListener;

async fn check(buffer: bool, plan: impl FnOnce(&mut Plan)) {
    let mock = Mock::bind(MockOptions {
        count: 2,
        ..MockOptions::default()
    })
    .await
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let proxy = baseline::serve(listener, mock.addresses(), buffer);
    let pacing = Pacing::Closed { connections: 2 };
    let mut what = Plan::new(target, pacing, Duration::from_secs(1));
    what.warmup = Duration::from_millis(10);
    plan(&mut what);
    let direct = get(mock.addresses()[0], "/v1/models");
    let talk = async {
        let proxied = get(target, "/v1/models").await.unwrap();
        assert_eq!(proxied, direct.await.unwrap());
        assert_eq!(get(target, "/nope?x=1").await.unwrap().0, 404);
        run(&what, |_| ()).await.unwrap()
    };
    let outcome = tokio::select! {
        outcome = talk => outcome,
        () = mock.run() => unreachable!("the mock runs until it is dropped"),
        ended = proxy => unreachable!("the proxy runs until it is dropped: {ended:?}"),
    };
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.answers > 0);
    assert_eq!(outcome.per_endpoint.len(), 2, "round robin: {outcome:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn passes_answers() {
    check(false, |_| ()).await;
    check(true, |_| ()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn passes_large_bodies() {
    for buffer in [false, true] {
        check(buffer, |plan| plan.work = Work::Unique { bytes: 300_000 }).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn passes_streams() {
    check(false, |plan| {
        plan.stream = true;
        plan.max_tokens = 20;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn no_upstreams_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(baseline::serve(listener, Vec::new(), false).await.is_err());
}
