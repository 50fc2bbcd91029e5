//! Load and mock against each other, over loopback, with counts small enough for any machine.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pointsman_bench::load::{Edge, Outcome, Pacing, Plan, Work, get, probe, run};
use pointsman_bench::mock::{Mock, MockOptions};

async fn load(options: MockOptions, plan: impl FnOnce(&mut Plan)) -> (Outcome, Vec<Edge>) {
    let mock = Mock::bind(options).await.unwrap();
    let target = mock.addresses()[0];
    let pacing = Pacing::Closed { connections: 2 };
    let mut what = Plan::new(target, pacing, Duration::from_secs(1));
    what.warmup = Duration::from_millis(20);
    plan(&mut what);
    let mut edges = Vec::new();
    let outcome = tokio::select! {
        outcome = run(&what, |edge| edges.push(edge)) => outcome.unwrap(),
        () = mock.run() => unreachable!("the mock runs until it is dropped"),
    };
    (outcome, edges)
}

#[tokio::test(flavor = "current_thread")]
async fn closed_loop_gets_whole_answers() {
    let (outcome, edges) = load(MockOptions::default(), |_| ()).await;
    assert_eq!(edges, [Edge::Begin, Edge::End]);
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.answers > 0 && outcome.ttft.count > 0);
    assert_eq!(outcome.per_endpoint["m0"], outcome.answers);
}

#[tokio::test(flavor = "current_thread")]
async fn streams_are_counted_by_token_and_end_in_done() {
    let options = MockOptions {
        itl: Duration::from_millis(1),
        ..MockOptions::default()
    };
    let (outcome, _) = load(options, |plan| {
        plan.stream = true;
        plan.max_tokens = 5;
        // A stalled machine answers nothing in a shorter one.
        plan.window = Duration::from_secs(1);
    })
    .await;
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.answers > 0 && outcome.tokens > 0 && outcome.itl.count > 0);
    assert!(outcome.total.p50 >= 4000.0, "{outcome:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn open_loop_keeps_its_rate() {
    let (outcome, _) = load(MockOptions::default(), |plan| {
        plan.pacing = Pacing::Open {
            rate: 200.0,
            connections: 4,
        };
        plan.window = Duration::from_millis(500);
    })
    .await;
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    // 100 are due in the window; the one at either edge may fall outside, and a stalled machine may lose some.
    assert!((1..=101).contains(&outcome.ttft.count), "{outcome:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn every_kind_of_work_is_a_request_the_mock_can_read() {
    for work in [
        Work::Unique { bytes: 5 },
        Work::Unique { bytes: 300_000 },
        Work::SharedPrefix {
            prefix: 4096,
            groups: 16,
            own: 200,
        },
    ] {
        let (outcome, _) = load(MockOptions::default(), |plan| plan.work = work.clone()).await;
        assert_eq!(outcome.failures(), 0, "{work:?} {outcome:?}");
        assert!(outcome.answers > 0, "{work:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_target_that_is_not_there_is_an_error_by_kind() {
    let gone = Mock::bind(MockOptions::default()).await.unwrap();
    let target = gone.addresses()[0];
    drop(gone);
    let mut plan = Plan::new(
        target,
        Pacing::Closed { connections: 1 },
        Duration::from_millis(200),
    );
    plan.warmup = Duration::ZERO;
    let outcome = run(&plan, |_| ()).await.unwrap();
    assert_eq!(outcome.answers, 0);
    assert!(outcome.errors["connection refused"] > 0);
}

#[tokio::test(flavor = "current_thread")]
async fn mock_answers_its_other_paths() {
    let mock = Mock::bind(MockOptions {
        count: 2,
        ..MockOptions::default()
    })
    .await
    .unwrap();
    let targets = mock.addresses();
    let talk = async {
        let second = targets[1];
        assert_eq!(get(second, "/health").await.unwrap(), (200, vec![]));
        let (status, page) = get(second, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        assert!(
            String::from_utf8(page)
                .unwrap()
                .contains("vllm:num_requests_running")
        );
        let (_, models) = get(second, "/v1/models").await.unwrap();
        let models: serde_json::Value = serde_json::from_slice(&models).unwrap();
        assert_eq!(models["data"][0]["id"], "bench-model");
        assert_eq!(get(second, "/nope").await.unwrap().0, 404);
        assert_eq!(get(second, "/mock/pace?ttft_us=2000").await.unwrap().0, 200);
        assert_eq!(get(second, "/mock/pace?x=1").await.unwrap().0, 400);
        // The pace is that of all endpoints.
        let before = std::time::Instant::now();
        assert_eq!(probe(targets[0], "bench-model").await.unwrap().0, 200);
        assert!(before.elapsed() >= Duration::from_millis(2));
    };
    tokio::select! {
        () = talk => (),
        () = mock.run() => unreachable!("the mock runs until it is dropped"),
    }
}
