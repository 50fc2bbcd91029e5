//! Requests of a negative priority give way in flight to those of a higher one that find the pool full.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pointsman_serve::admission::keeper::keep;
use pointsman_serve::door::extproc::settings::{ErrorFormat, Settings};
use pointsman_wire::extproc::grpc::Outbox;
use tokio::time::timeout;

use crate::rig::{Rig, Talk, destination};
use crate::tongue::{DUPLEX, answered, asked, heard, line, mode, post, reply, under};

/// One endpoint that holds so many; priorities by the name of the objective.
fn config(limit: u32, evicts: bool) -> String {
    format!(
        "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: active-request-scorer
- type: max-score-picker
- type: concurrency-detector
  parameters: {{maxConcurrency: {limit}}}
schedulingProfiles:
- name: default
  plugins: [{{pluginRef: active-request-scorer}}, {{pluginRef: max-score-picker}}]
flowControl:
  saturationDetector: {{pluginRef: concurrency-detector}}
  enableEviction: {evicts}
pointsman:
  objectives:
  - {{name: urgent, priority: 10}}
  - {{name: batch, priority: -1}}
  - {{name: worst, priority: -2}}
"
    )
}

/// What a busy machine may take.
const LONG: Duration = Duration::from_secs(60);

/// So many looks of the gatekeeper that whatever it were to do would be done.
const LOOKS: Duration = Duration::from_millis(100);

const EVICTED: &str =
    "immediate 429 +x-llm-d-request-dropped-reason=evicted body=request evicted by flow control";

fn rig(limit: u32, evicts: bool) -> Rig {
    with(limit, evicts, Settings::default())
}

fn with(limit: u32, evicts: bool, settings: Settings) -> Rig {
    let rig = Rig::with(&["10.0.0.1:8000"], &config(limit, evicts), settings);
    let (starter, drain) = pointsman_http::drain();
    tokio::spawn(keep(rig.router.clone(), drain));
    // A starter that is dropped starts the drain.
    std::mem::forget(starter);
    rig
}

/// Says a whole request with this objective; whether it has to wait.
fn ask(rig: &Rig, objective: &str) -> (Talk, Vec<String>) {
    let mut talk = rig.talk();
    let fields = [("x-llm-d-inference-objective", objective)];
    let head = post("/v1/completions", objective, &fields);
    let mut lines = talk.say(under(head, mode(DUPLEX, DUPLEX)));
    lines.extend(talk.say(asked(r#"{"model":"m","prompt":"p"}"#, true)));
    (talk, lines)
}

/// Goes on with one that waits until it is let in or refused.
async fn let_in(talk: &mut Talk) -> Vec<String> {
    let mut out = Outbox::default();
    while let Some(waiting) = talk.conversation.waiting() {
        let answer = timeout(LONG, waiting).await.expect("an answer");
        talk.turn = talk.conversation.answered(answer, &mut out);
    }
    heard(&mut out).iter().map(line).collect()
}

/// Has one in flight.
async fn enter(rig: &Rig, objective: &str) -> Talk {
    let (mut talk, mut lines) = ask(rig, objective);
    lines.extend(let_in(&mut talk).await);
    destination(&lines);
    talk
}

/// Waits until one is told to give way, and hears what it says then.
async fn gives_way(talk: &mut Talk) -> Vec<String> {
    let told = poll_fn(|cx| talk.conversation.poll_evicted(cx));
    timeout(LONG, told).await.expect("it is told");
    let mut out = Outbox::default();
    talk.conversation.give_way(&mut out);
    heard(&mut out).iter().map(line).collect()
}

/// Whether it is told to give way within a few looks at the pool.
async fn is_told(talk: &mut Talk) -> bool {
    let told = poll_fn(|cx| talk.conversation.poll_evicted(cx));
    timeout(LOOKS, told).await.is_ok()
}

#[tokio::test]
async fn one_of_a_negative_priority_gives_way_and_the_other_gets_its_place() {
    for urgent in ["", "urgent", "unknown"] {
        let rig = rig(1, true);
        let mut batch = enter(&rig, "batch").await;
        let (mut next, lines) = ask(&rig, urgent);
        assert!(lines.is_empty(), "it waits: {lines:?}");
        let (told, lines) = tokio::join!(let_in(&mut next), gives_way(&mut batch));
        assert_eq!(lines, [EVICTED]);
        destination(&told);
        assert_eq!((rig.in_flight(), rig.ended()), (vec![1], [0, 0, 1, 0]));
        next.say(answered("200", &[], false));
        next.say(reply("{}", true));
        drop(batch);
        assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 1, 0]));
        let counts = rig.router.admission.leases.counts().reclaimed;
        assert_eq!((counts.confirmed, counts.timed_out), (1, 0));
        let receipt = rig.router.find("batch").unwrap();
        let outcome = receipt.outcome.unwrap();
        assert_eq!(
            (outcome.reason, outcome.status),
            (Some("evicted"), Some(429))
        );
        assert_eq!(outcome.attempts[0].cause.unwrap().word(), "evicted");
    }
}

#[tokio::test]
async fn an_answer_under_way_is_broken_off() {
    let rig = rig(1, true);
    let mut batch = enter(&rig, "batch").await;
    batch.say(answered(
        "200",
        &[("content-type", "text/event-stream")],
        false,
    ));
    batch.say(reply("data: {}\n\n", false));
    let (mut next, _) = ask(&rig, "");
    let (told, lines) = tokio::join!(let_in(&mut next), gives_way(&mut batch));
    assert_eq!(lines, [EVICTED], "the gateway resets what it has begun");
    destination(&told);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![1], [0, 1, 0, 0]));
    let outcome = rig.router.find("batch").unwrap().outcome.unwrap();
    assert_eq!(outcome.reason, Some("evicted"));
}

#[tokio::test]
async fn nobody_gives_way_to_an_equal_or_a_lower_one_nor_without_the_switch() {
    for (running, waiting, evicts) in [
        ("batch", "batch", true),
        ("batch", "worst", true),
        ("", "urgent", true),
        ("batch", "urgent", false),
    ] {
        let rig = rig(1, evicts);
        let mut first = enter(&rig, running).await;
        let (mut next, _) = ask(&rig, waiting);
        let waits = poll_fn(|cx| {
            let waiting = next.conversation.waiting().expect("there is no room");
            assert!(waiting.as_mut().poll(cx).is_pending(), "there is no room");
            Poll::Ready(())
        });
        waits.await;
        assert!(!is_told(&mut first).await, "{running} for {waiting}");
        first.say(answered("200", &[], false));
        first.say(reply("{}", true));
        destination(&let_in(&mut next).await);
        assert_eq!(
            rig.router.admission.leases.counts().reclaimed.issued.len(),
            0
        );
    }
}

#[tokio::test]
async fn the_lowest_goes_first_and_one_at_a_time() {
    let rig = rig(3, true);
    let mut batch = enter(&rig, "batch").await;
    let mut worst = enter(&rig, "worst").await;
    let mut normal = enter(&rig, "").await;
    let (mut next, _) = ask(&rig, "");
    let (told, lines) = tokio::join!(let_in(&mut next), gives_way(&mut worst));
    assert_eq!(lines, [EVICTED]);
    destination(&told);
    assert!(!is_told(&mut batch).await, "there was room for who waited");
    let (mut last, _) = ask(&rig, "");
    let (told, _) = tokio::join!(let_in(&mut last), gives_way(&mut batch));
    destination(&told);
    assert!(!is_told(&mut normal).await);
    drop((normal, next, last));
    assert_eq!(rig.in_flight(), [0]);
}

#[tokio::test]
async fn it_is_told_in_the_form_that_clients_of_the_gateway_read() {
    let mut settings = Settings::default();
    settings.error_format = ErrorFormat::OpenAi;
    let rig = with(1, true, settings);
    let mut batch = enter(&rig, "batch").await;
    let (mut next, _) = ask(&rig, "");
    let (_, lines) = tokio::join!(let_in(&mut next), gives_way(&mut batch));
    assert!(lines[0].starts_with("immediate 429"), "{lines:?}");
    assert!(lines[0].contains(r#""code":"evicted""#), "{lines:?}");
}

#[tokio::test]
async fn a_reload_that_switches_it_off_spares_who_is_in_flight() {
    let rig = rig(1, true);
    let mut batch = enter(&rig, "batch").await;
    let off = crate::rig::plan(&config(1, false));
    rig.router.plan.store(Arc::new(off));
    let (mut next, _) = ask(&rig, "");
    let (told, ()) = tokio::join!(let_in(&mut next), async {
        assert!(!is_told(&mut batch).await);
        batch.say(answered("200", &[], false));
        batch.say(reply("{}", true));
    });
    destination(&told);
    assert_eq!(rig.ended(), [1, 0, 0, 0]);
}
