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
    assert!(outcome.answers > 0 && outcome.itl.count > 0);
    // Those of the answers at both ends of the window come on top, or are missing.
    assert!(
        outcome.tokens.abs_diff(outcome.answers * 5) <= 20,
        "{outcome:?}"
    );
    assert!(outcome.total.p50 >= 4000.0, "{outcome:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn whole_answers_have_the_tokens_that_they_tell() {
    let (outcome, _) = load(MockOptions::default(), |plan| plan.max_tokens = 5).await;
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert_eq!(outcome.tokens, outcome.answers * 5);
    assert_eq!((outcome.itl.count, outcome.tpot.count), (0, 0));
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

/// A server that closes connections which idle for 300 ms, as others do after 5 s; tells how many it was asked for.
async fn impatient(listener: tokio::net::TcpListener, opened: &std::cell::Cell<usize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let tasks = tokio::task::LocalSet::new();
    let accept = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            opened.set(opened.get() + 1);
            tokio::task::spawn_local(async move {
                let mut seen = vec![0; 4096];
                let idle = Duration::from_millis(300);
                while let Ok(Ok(1..)) = tokio::time::timeout(idle, stream.read(&mut seen)).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    };
    tasks.run_until(accept).await;
}

async fn load_impatient(rate: f64, window: Duration) -> (Outcome, usize) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let pacing = Pacing::Open {
        rate,
        connections: 512,
    };
    let mut plan = Plan::new(target, pacing, window);
    plan.warmup = Duration::ZERO;
    let opened = std::cell::Cell::new(0);
    let outcome = tokio::select! {
        outcome = run(&plan, |_| ()) => outcome.unwrap(),
        () = impatient(listener, &opened) => unreachable!("it serves until it is dropped"),
    };
    (outcome, opened.get())
}

#[tokio::test(flavor = "current_thread")]
async fn an_open_loop_uses_few_connections_again_and_again() {
    let (outcome, opened) = load_impatient(50.0, Duration::from_secs(2)).await;
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.answers > 50, "{outcome:?}");
    assert!(opened < 50, "{opened} connections");
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_was_closed_while_idle_is_opened_again() {
    let (outcome, opened) = load_impatient(2.0, Duration::from_secs(2)).await;
    assert_eq!(outcome.failures(), 0, "{outcome:?}");
    assert!(outcome.answers >= 3 && opened >= 3, "{opened} {outcome:?}");
}
