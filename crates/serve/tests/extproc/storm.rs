//! The same with requests that wait to be let in, in every body mode: whatever is said in whatever order and wherever a stream
//! breaks, no endpoint holds more than it may, everybody is let in or refused in the end, and nothing stays behind.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use pointsman_serve::admission::keeper::keep;
use pointsman_serve::door::extproc::conversation::Turn;
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::messages::ProcessingRequest;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::task::yield_now;

use crate::rig::{Rig, Talk};
use crate::tongue::{
    BUFFERED, DUPLEX, STREAMED, answered, asked, asked_trailers, get, heard, hinted, line, mode,
    post, reply, reply_trailers, under,
};

const ADDRESSES: &[&str] = &["10.0.0.1:1", "10.0.0.2:2"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

/// How long anybody may wait, in a time that passes only while nothing else happens.
const LONG: Duration = Duration::from_secs(60);

fn config(limit: u32, requests: u32) -> String {
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
  maxRequests: \"{requests}\"
  saturationDetector: {{pluginRef: concurrency-detector}}
"
    )
}

#[derive(Clone, Debug)]
enum Step {
    Say(ProcessingRequest),
    Leave,
    /// Whoever can be let in is.
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    let modes = [0, STREAMED, BUFFERED, 3, DUPLEX];
    let head = (0..modes.len(), 0..modes.len()).prop_map(move |(request, response)| {
        let modes = mode(modes[request], modes[response]);
        under(post("/v1/completions", "", &[]), modes)
    });
    let message = prop_oneof![
        6 => head,
        1 => Just(get("/v1/models")),
        8 => any::<bool>().prop_map(|end| asked(BODY, end)),
        1 => Just(asked("", true)),
        1 => Just(asked("{", true)),
        1 => Just(hinted(asked(BODY, true), &["10.0.0.2"])),
        1 => Just(asked_trailers()),
        2 => any::<bool>().prop_map(|end| answered("200", &[], end)),
        3 => any::<bool>().prop_map(|end| reply("{}", end)),
        1 => Just(reply_trailers()),
    ];
    prop_oneof![14 => message.prop_map(Step::Say), 2 => Just(Step::Leave), 3 => Just(Step::Turn)]
}

/// A stream: what is said while its request waits is looked at when it has been let in.
struct Stream {
    talk: Talk,
    later: VecDeque<ProcessingRequest>,
}

impl Stream {
    fn of(rig: &Rig) -> Self {
        Self {
            talk: rig.talk(),
            later: VecDeque::new(),
        }
    }

    fn waits(&mut self) -> bool {
        self.talk.conversation.waiting().is_some()
    }

    fn is_over(&self) -> bool {
        self.talk.turn == Turn::Close
    }

    /// Says what there is to say, until the request waits or the stream has ended.
    fn go_on(&mut self) -> Result<(), TestCaseError> {
        while !self.waits() && !self.is_over() {
            let Some(message) = self.later.pop_front() else {
                break;
            };
            check(&self.talk.say(message))?;
        }
        Ok(())
    }

    /// Looks whether it is let in.
    async fn look(&mut self) -> Result<(), TestCaseError> {
        let Some(waiting) = self.talk.conversation.waiting() else {
            return Ok(());
        };
        let answer = poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(answer) = answer.await {
            let mut out = Outbox::default();
            self.talk.turn = self.talk.conversation.answered(answer, &mut out);
            check(&heard(&mut out).iter().map(line).collect::<Vec<_>>())?;
            self.go_on()?;
        }
        Ok(())
    }
}

/// A refusal is the last word, and heads come before bodies.
fn check(lines: &[String]) -> Result<(), TestCaseError> {
    for pair in lines.windows(2) {
        prop_assert!(
            !pair[0].starts_with("immediate"),
            "after a refusal: {lines:?}"
        );
        let heads_first = !(pair[1].contains("_headers") && pair[0].contains("_body"));
        prop_assert!(heads_first, "out of order: {lines:?}");
    }
    Ok(())
}

async fn play(limit: u32, requests: u32, script: Vec<(usize, Step)>) -> Result<(), TestCaseError> {
    let rig = Rig::new(ADDRESSES, &config(limit, requests));
    let (starter, drain) = pointsman_http::drain();
    let keeper = tokio::spawn(keep(rig.router.clone(), drain));
    let mut streams: Vec<Stream> = (0..5).map(|_| Stream::of(&rig)).collect();
    for (at, step) in script {
        match step {
            Step::Leave => streams[at] = Stream::of(&rig),
            Step::Say(_) if streams[at].is_over() => streams[at] = Stream::of(&rig),
            Step::Say(message) => {
                streams[at].later.push_back(message);
                streams[at].go_on()?;
            }
            Step::Turn => {
                for stream in &mut streams {
                    yield_now().await;
                    stream.look().await?;
                }
            }
        }
        let held = rig.in_flight();
        prop_assert!(
            held.iter().all(|&held| held <= limit),
            "{held:?} above {limit}"
        );
    }
    // Those who hold something leave; whoever waits gets in, and leaves too.
    // The gatekeeper goes by the real clock, also where sleeping takes no time.
    let begun = std::time::Instant::now();
    loop {
        for stream in &mut streams {
            stream.look().await?;
        }
        streams.retain_mut(Stream::waits);
        if streams.is_empty() {
            break;
        }
        prop_assert!(begun.elapsed() < LONG, "a request waits for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    prop_assert_eq!(rig.in_flight(), vec![0, 0]);
    // What was given to those who left comes back.
    starter.start();
    prop_assert!(
        tokio::time::timeout(LONG, keeper).await.is_ok(),
        "the keeper does not end"
    );
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_said_while_requests_wait_everybody_is_let_in_or_refused_and_nothing_stays(
        limit in 1u32..3,
        requests in 1u32..5,
        script in prop::collection::vec((0usize..5, step()), 0..80),
    ) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(limit, requests, script))?;
    }
}
