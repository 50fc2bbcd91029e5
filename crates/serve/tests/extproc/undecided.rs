//! A request that was understood and never came to a decision leaves a receipt all the same: who it was, how long it
//! stood in the queue, and why it was not served.

use std::time::Duration;

use pointsman_serve::admission::keeper::keep;
use pointsman_serve::record::ring::Recorded;
use pointsman_wire::extproc::grpc::Outbox;
use tokio::time::timeout;

use crate::rig::{Rig, Talk, destination};
use crate::tongue::{DUPLEX, answered, asked, hinted, mode, post, reply, under};

/// What a busy machine may take.
const LONG: Duration = Duration::from_secs(60);

fn config(flow: &str) -> String {
    format!(
        "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
{flow}
plugins:
- type: active-request-scorer
- type: max-score-picker
- type: concurrency-detector
  parameters: {{maxConcurrency: 1}}
schedulingProfiles:
- name: default
  plugins: [{{pluginRef: active-request-scorer}}, {{pluginRef: max-score-picker}}]
pointsman: {{objectives: [{{name: batch, priority: -1}}]}}
"
    )
}

fn queueing(more: &str) -> String {
    let flow = format!(
        "featureGates: [flowControl]
flowControl:
  saturationDetector: {{pluginRef: concurrency-detector}}
{more}"
    );
    config(&flow)
}

fn rig(config: &str) -> Rig {
    let rig = Rig::new(&["10.0.0.1:8000"], config);
    let (starter, drain) = pointsman_http::drain();
    tokio::spawn(keep(rig.router.clone(), drain));
    // A starter that is dropped starts the drain.
    std::mem::forget(starter);
    rig
}

const BODY: &str = r#"{"model":"m","prompt":"four"}"#;

/// Says a whole request with this body under an objective, and waits for as long as it has to.
async fn ask(rig: &Rig, id: &str, objective: &str, body: &str) -> (Talk, Vec<String>) {
    let mut talk = rig.talk();
    let fields = [("x-llm-d-inference-objective", objective)];
    let mut lines = talk.say(under(
        post("/v1/completions", id, &fields),
        mode(DUPLEX, DUPLEX),
    ));
    lines.extend(talk.say(asked(body.to_owned(), true)));
    let mut out = Outbox::default();
    while let Some(waiting) = talk.conversation.waiting() {
        let answer = timeout(LONG, waiting).await.expect("an answer");
        talk.turn = talk.conversation.answered(answer, &mut out);
    }
    lines.extend(
        crate::tongue::heard(&mut out)
            .iter()
            .map(crate::tongue::line),
    );
    (talk, lines)
}

/// The receipt of one that was not decided and ended for this reason.
#[track_caller]
fn receipt(rig: &Rig, id: &str, reason: &str) -> Recorded {
    let found = rig
        .router
        .find(id)
        .unwrap_or_else(|| panic!("no receipt of {id}"));
    assert!(found.decision.runs.is_empty(), "it was not decided");
    assert_eq!((&*found.meta.model, found.meta.prompt_bytes), ("m", 4));
    let outcome = found.outcome.as_ref().expect("its end");
    assert_eq!(outcome.reason, Some(reason));
    assert!(outcome.attempts.is_empty());
    found
}

#[tokio::test]
async fn one_that_waited_too_long_or_found_the_queue_full() {
    let rig = rig(&queueing(
        "  defaultRequestTTL: 50ms\n  maxRequests: \"1\"\n",
    ));
    let (first, lines) = ask(&rig, "first", "", BODY).await;
    destination(&lines);
    let ((_, late), (_, full)) =
        tokio::join!(ask(&rig, "late", "", BODY), ask(&rig, "full", "", BODY),);
    assert!(late[0].contains("request TTL expired"), "{late:?}");
    assert!(full[0].contains("queue at capacity"), "{full:?}");
    let waited = receipt(&rig, "late", "ttl-expired").meta.queue_ns;
    assert!(waited >= 50_000_000, "{waited} ns in the queue");
    let found = receipt(&rig, "full", "queue-full");
    assert_eq!(found.outcome.unwrap().status, Some(429));
    drop(first);
    assert_eq!(rig.router.latest(10).len(), 3, "one each");
}

#[tokio::test]
async fn one_whose_client_left_the_queue() {
    let rig = rig(&queueing(""));
    let (_first, _) = ask(&rig, "first", "", BODY).await;
    let mut gone = rig.talk();
    gone.say(under(
        post("/v1/completions", "gone", &[]),
        mode(DUPLEX, DUPLEX),
    ));
    gone.say(asked(BODY, true));
    assert!(gone.conversation.waiting().is_some());
    drop(gone);
    receipt(&rig, "gone", "client-gone");
}

#[tokio::test]
async fn one_that_gave_way_to_others_or_may_use_none_of_the_pool() {
    let full = "flowControl: {saturationDetector: {pluginRef: concurrency-detector}}";
    let rig = rig(&config(full));
    let (_first, _) = ask(&rig, "first", "", BODY).await;
    let (_, lines) = ask(&rig, "shed", "batch", BODY).await;
    assert!(lines[0].starts_with("immediate 429"), "{lines:?}");
    receipt(&rig, "shed", "saturated");
    let mut talk = rig.talk();
    let head = under(
        post("/v1/completions", "stranger", &[]),
        mode(DUPLEX, DUPLEX),
    );
    talk.say(hinted(head, &["10.9.9.9:1"]));
    let lines = talk.say(asked(BODY, true));
    assert!(lines[0].starts_with("immediate 503"), "{lines:?}");
    receipt(&rig, "stranger", "no-endpoints");
}

#[tokio::test]
async fn one_that_waited_and_was_decided_has_one_receipt_and_one_not_understood_none() {
    let rig = rig(&queueing(""));
    let (mut first, _) = ask(&rig, "first", "", BODY).await;
    let (_, lines) = ask(&rig, "broken", "", "{").await;
    assert!(lines[0].starts_with("immediate 400"), "{lines:?}");
    let (lines, ()) = tokio::join!(ask(&rig, "second", "", BODY), async {
        first.say(answered("200", &[], false));
        first.say(reply("{}", true));
    });
    destination(&lines.1);
    let all = rig.router.latest(10);
    let ids: Vec<_> = all.iter().map(|one| &*one.meta.request_id).collect();
    assert_eq!(ids, ["second", "first"]);
    assert!(!all[0].decision.runs.is_empty());
}
