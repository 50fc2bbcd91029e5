//! Flow control at the picker's door: a request that has to wait is answered when there is room, and in order.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pointsman_http::DrainStarter;
use pointsman_serve::admission::keeper::keep;
use pointsman_serve::door::extproc::conversation::Turn;
use pointsman_wire::extproc::grpc::Outbox;

use tokio::task::JoinHandle;

use crate::rig::{LEAST_BUSY, Rig, Talk, destination, plan};
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
    let (starter, _) = keeping(&rig);
    // A starter that is dropped starts the drain.
    std::mem::forget(starter);
    rig
}

/// Has a gatekeeper answer until the drain is started.
fn keeping(rig: &Rig) -> (DrainStarter, JoinHandle<()>) {
    let (starter, drain) = pointsman_http::drain();
    (starter, tokio::spawn(keep(rig.router.clone(), drain)))
}

/// So many at a time for each endpoint, and further settings of the section.
fn limited(limit: u32, more: &str) -> String {
    let limit = format!("maxConcurrency: {limit}");
    ONE_AT_A_TIME.replace("maxConcurrency: 1", &limit) + more
}

const TWO: [&str; 2] = ["10.0.0.1:8000", "10.0.0.2:8000"];

/// Says a whole request that only the first endpoint may serve.
fn ask_for_first(talk: &mut Talk, id: &str) -> Vec<String> {
    let head = hinted(post("/v1/completions", id, &[]), &TWO[..1]);
    let mut lines = talk.say(under(head, mode(DUPLEX, DUPLEX)));
    lines.extend(talk.say(asked(BODY, true)));
    lines
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

#[tokio::test]
async fn who_passes_and_finds_the_endpoints_it_may_use_full_waits_and_holds_nobody_up() {
    let rig = Rig::new(&TWO, ONE_AT_A_TIME);
    let (_starter, _) = keeping(&rig);
    let (mut first, mut second, mut third) = (rig.talk(), rig.talk(), rig.talk());
    let mut lines = ask_for_first(&mut first, "first");
    lines.extend(let_in(&mut first).await);
    assert_eq!(destination(&lines).to_string(), TWO[0]);
    // The pool has room for one more, and so it is not asked whether this one may come in.
    assert!(ask_for_first(&mut second, "second").is_empty());
    assert!(is_waiting(&mut second), "it is asked again");
    let (told, ()) = tokio::join!(let_in(&mut second), async {
        let lines = ask_and_enter(&mut third, DUPLEX).await;
        assert_eq!(destination(&lines).to_string(), TWO[1]);
        assert_eq!(rig.in_flight(), [1, 1]);
        answer(&mut first);
    });
    assert_eq!(destination(&told).to_string(), TWO[0]);
    answer(&mut second);
    answer(&mut third);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0, 0], [3, 0, 0, 0]));
    let let_in = rig.lane.cells.tables.lock().let_in.clone();
    assert_eq!(let_in, BTreeMap::from([(0, 3)]), "each once");
    assert!(rig.router.admission.tally.lock().outcomes.is_empty());
}

#[tokio::test]
async fn the_bound_on_waiting_ends_the_wait_for_endpoints_that_stay_full() {
    let rig = Rig::new(&TWO, &limited(1, "  defaultRequestTTL: 150ms\n"));
    let (_starter, _) = keeping(&rig);
    let (mut first, mut second) = (rig.talk(), rig.talk());
    ask_for_first(&mut first, "first");
    let_in(&mut first).await;
    ask_for_first(&mut second, "second");
    let began = std::time::Instant::now();
    let told = let_in(&mut second).await;
    assert!(told[0].contains("request TTL expired"), "{told:?}");
    assert!(began.elapsed() >= std::time::Duration::from_millis(150));
    assert_eq!((rig.in_flight(), rig.ended()), (vec![1, 0], [0, 0, 1, 0]));
    // It had no decision, but it is known what it wanted.
    let tables = rig.lane.cells.tables.lock();
    let wanted = tables
        .all_series()
        .find(|cells| &*cells.series.model == "m");
    let errors = &wanted.expect("its series").errors;
    assert_eq!(errors.iter().map(|count| count.get()).sum::<u64>(), 1);
}

#[tokio::test]
async fn those_who_wait_are_let_in_by_the_rules_that_a_reload_brings() {
    for after in [limited(2, ""), LEAST_BUSY.to_owned()] {
        let rig = rig();
        let (mut first, mut second) = (rig.talk(), rig.talk());
        ask_and_enter(&mut first, DUPLEX).await;
        ask(&mut second, "second", DUPLEX);
        let (told, ()) = tokio::join!(let_in(&mut second), async {
            rig.router.plan.store(Arc::new(plan(&after)));
        });
        destination(&told);
        assert_eq!(rig.in_flight(), [2]);
    }
}

#[tokio::test]
async fn a_request_whose_body_arrives_during_the_drain_is_served_while_there_is_room() {
    let rig = Rig::new(&TWO[..1], &limited(2, ""));
    let (starter, keeper) = keeping(&rig);
    let (mut first, mut second, mut third) = (rig.talk(), rig.talk(), rig.talk());
    ask_and_enter(&mut first, DUPLEX).await;
    for (talk, id) in [(&mut second, "second"), (&mut third, "third")] {
        talk.say(under(
            post("/v1/completions", id, &[]),
            mode(DUPLEX, DUPLEX),
        ));
    }
    starter.start();
    keeper.await.expect("the keeper ends by itself");
    destination(&second.say(asked(BODY, true)));
    // One that would have to wait is not.
    assert!(third.say(asked(BODY, true)).is_empty());
    let told = let_in(&mut third).await;
    assert!(told[0].contains("shutting down"), "{told:?}");
    assert_eq!(rig.in_flight(), [2]);
}

#[tokio::test]
async fn a_full_queue_refuses_only_those_who_would_have_to_stand_in_it() {
    let rig = Rig::new(&TWO[..1], &limited(2, "  maxRequests: \"1\"\n"));
    let (_starter, _) = keeping(&rig);
    let (mut first, mut second) = (rig.talk(), rig.talk());
    // Both ask before the gatekeeper has had its first look at the pool.
    ask(&mut first, "first", DUPLEX);
    ask(&mut second, "second", DUPLEX);
    let (one, other) = tokio::join!(let_in(&mut first), let_in(&mut second));
    destination(&one);
    destination(&other);
    let (mut third, mut fourth) = (rig.talk(), rig.talk());
    ask(&mut third, "third", DUPLEX);
    ask(&mut fourth, "fourth", DUPLEX);
    let (told, ()) = tokio::join!(let_in(&mut third), async {
        let told = let_in(&mut fourth).await;
        let text = "request rejected pre-queue: queue at capacity";
        assert!(told[0].contains(text), "{told:?}");
        answer(&mut first);
    });
    destination(&told);
}

#[tokio::test]
async fn the_pool_that_a_request_meets_is_the_one_at_the_end_of_its_body() {
    let rig = Rig::new(&[], LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(under(
        post("/v1/completions", "slow", &[]),
        mode(DUPLEX, DUPLEX),
    ));
    rig.joins(&TWO[1..]);
    let lines = talk.say(asked(BODY, true));
    assert_eq!(destination(&lines).to_string(), TWO[1]);
}
