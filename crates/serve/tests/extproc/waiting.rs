//! Flow control at the picker's door: a request that has to wait is answered when there is room, and in order.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use pointsman_serve::admission::keeper::keep;
use pointsman_serve::door::extproc::conversation::Turn;
use pointsman_wire::extproc::grpc::Outbox;

use crate::rig::{Rig, Talk, destination};
use crate::tongue::{
    BUFFERED, DUPLEX, answered, asked, asked_trailers, heard, hinted, line, mode, post, reply,
    under,
};

/// Each endpoint holds one request at a time.
const ONE_AT_A_TIME: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: active-request-scorer
- type: max-score-picker
- type: concurrency-detector
  parameters: {maxConcurrency: 1}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
";

const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

/// What a busy machine may take.
const LONG: Duration = Duration::from_secs(60);

fn rig() -> Rig {
    rig_under(ONE_AT_A_TIME)
}

fn rig_under(config: &str) -> Rig {
    let rig = Rig::new(&["10.0.0.1:8000"], config);
    let (starter, drain) = pointsman_http::drain();
    let router = rig.router.clone();
    tokio::spawn(async move {
        keep(router, drain).await;
        // Kept until here, though nobody starts the drain.
        drop(starter);
    });
    rig
}

/// Says a whole request.
fn ask(talk: &mut Talk, id: &str, request: i32) -> Vec<String> {
    let head = under(post("/v1/completions", id, &[]), mode(request, DUPLEX));
    let mut lines = talk.say(head);
    lines.extend(talk.say(asked(BODY, true)));
    lines
}

/// Says a whole request for which there is room; the gatekeeper may not have said so yet.
async fn ask_and_enter(talk: &mut Talk, request: i32) -> Vec<String> {
    let lines = ask(talk, "first", request);
    if is_waiting(talk) {
        let_in(talk).await
    } else {
        lines
    }
}

fn is_waiting(talk: &mut Talk) -> bool {
    talk.conversation.waiting().is_some()
}

/// Asks to be let in, and goes on when the gatekeeper has heard of it.
async fn stands(talk: &mut Talk) {
    let waiting = talk.conversation.waiting().expect("there is no room");
    poll_fn(|cx| {
        assert!(waiting.as_mut().poll(cx).is_pending(), "there is no room");
        Poll::Ready(())
    })
    .await;
    tokio::task::yield_now().await;
}

/// Waits to be let in, again where the room went to somebody else, and hears what is said then.
async fn let_in(talk: &mut Talk) -> Vec<String> {
    let mut out = Outbox::default();
    while let Some(waiting) = talk.conversation.waiting() {
        let answer = waiting.await;
        talk.turn = talk.conversation.answered(answer, &mut out);
    }
    heard(&mut out).iter().map(line).collect()
}

fn answer(talk: &mut Talk) {
    talk.say(answered("200", &[], false));
    talk.say(reply("{}", true));
}

#[tokio::test]
async fn a_request_that_finds_no_room_is_answered_when_there_is() {
    let rig = rig();
    let (mut first, mut second) = (rig.talk(), rig.talk());
    destination(&ask_and_enter(&mut first, DUPLEX).await);
    assert_eq!(rig.in_flight(), [1]);
    assert!(ask(&mut second, "second", DUPLEX).is_empty());
    assert!(is_waiting(&mut second));
    assert_eq!(rig.in_flight(), [1]);
    answer(&mut first);
    let told = let_in(&mut second).await;
    assert_eq!(destination(&told).to_string(), "10.0.0.1:8000");
    assert!(told[1].contains(BODY), "the body goes on: {told:?}");
    assert!(!is_waiting(&mut second));
    assert_eq!((second.turn, rig.in_flight()), (Turn::GoOn, vec![1]));
    answer(&mut second);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [2, 0, 0, 0]));
}

#[tokio::test]
async fn every_body_mode_waits_and_trailers_come_after() {
    for request in [BUFFERED, 0, 1] {
        let rig = rig();
        let (mut first, mut second) = (rig.talk(), rig.talk());
        ask_and_enter(&mut first, request).await;
        let head = under(
            post("/v1/completions", "second", &[]),
            mode(request, DUPLEX),
        );
        second.say(head);
        if request == BUFFERED {
            second.say(asked(BODY, true));
        }
        assert!(is_waiting(&mut second), "mode {request}");
        answer(&mut first);
        destination(&let_in(&mut second).await);
    }
    let rig = rig();
    let (mut first, mut second) = (rig.talk(), rig.talk());
    ask_and_enter(&mut first, DUPLEX).await;
    second.say(under(
        post("/v1/completions", "second", &[]),
        mode(DUPLEX, DUPLEX),
    ));
    second.say(asked(BODY, true));
    answer(&mut first);
    destination(&let_in(&mut second).await);
    assert_eq!(second.say(asked_trailers()), ["request_trailers"]);
}

#[tokio::test]
async fn trailers_that_end_a_body_are_answered_after_it_also_when_it_waits() {
    let rig = rig();
    let (mut first, mut second) = (rig.talk(), rig.talk());
    ask_and_enter(&mut first, DUPLEX).await;
    let head = post("/v1/completions", "second", &[]);
    second.say(under(head, mode(DUPLEX, DUPLEX)));
    assert!(second.say(asked(BODY, false)).is_empty());
    let early = second.say(asked_trailers());
    assert!(early.is_empty(), "before the decision: {early:?}");
    answer(&mut first);
    let lines = let_in(&mut second).await;
    destination(&lines);
    let begins = ["request_headers", "request_body", "request_trailers"];
    let order = lines.iter().zip(begins);
    assert_eq!(lines.len(), begins.len(), "{lines:?}");
    assert!(
        order.clone().all(|(line, begin)| line.starts_with(begin)),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_subset_of_strangers_is_refused_at_once_also_when_the_pool_is_full() {
    let rig = rig();
    let (mut first, mut second) = (rig.talk(), rig.talk());
    ask_and_enter(&mut first, DUPLEX).await;
    let head = under(post("/v1/completions", "second", &[]), mode(DUPLEX, DUPLEX));
    second.say(hinted(head, &["10.9.9.9:1"]));
    let lines = second.say(asked(BODY, true));
    assert!(!is_waiting(&mut second));
    assert!(lines[0].starts_with("immediate 503"), "{lines:?}");
}

#[tokio::test]
async fn whoever_leaves_while_waiting_frees_the_place() {
    let rig = rig();
    let (mut first, mut second, mut third) = (rig.talk(), rig.talk(), rig.talk());
    ask_and_enter(&mut first, DUPLEX).await;
    ask(&mut second, "second", DUPLEX);
    assert!(is_waiting(&mut second));
    drop(second);
    ask(&mut third, "third", DUPLEX);
    answer(&mut first);
    destination(&let_in(&mut third).await);
    answer(&mut third);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [2, 0, 0, 1]));
}

#[tokio::test]
async fn e15_nonsense_about_the_first_token_jumps_no_queue() {
    let config = ONE_AT_A_TIME
        .replace(
            "- type: max-score-picker\n",
            "- type: max-score-picker\n- type: slo-deadline-ordering-policy\n",
        )
        .replace(
            "flowControl:\n",
            "flowControl:\n  defaultPriorityBand: {orderingPolicyRef: slo-deadline-ordering-policy}\n",
        );
    let rig = rig_under(&config);
    let mut first = rig.talk();
    ask_and_enter(&mut first, DUPLEX).await;
    let wishes = ["-1", "1e30", "NaN", "soon", "", "900000", "100"];
    let mut waiting = Vec::new();
    for wish in wishes {
        let mut talk = rig.talk();
        let fields = [("x-llm-d-slo-ttft-ms", wish)];
        talk.say(post("/v1/completions", wish, &fields));
        talk.say(asked(BODY, true));
        stands(&mut talk).await;
        waiting.push(talk);
    }
    // The two that make sense, the soonest first; then the others as they came.
    let mut before = first;
    for expected in [6, 5, 0, 1, 2, 3, 4] {
        answer(&mut before);
        let mut next = std::mem::replace(&mut waiting[expected], rig.talk());
        let entered = tokio::time::timeout(LONG, let_in(&mut next)).await;
        let told = entered.unwrap_or_else(|_| panic!("'{}' is not next", wishes[expected]));
        destination(&told);
        before = next;
    }
    answer(&mut before);
    assert_eq!(rig.in_flight(), [0]);
}
