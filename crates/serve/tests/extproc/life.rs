//! Whatever is said in whatever order, and wherever a stream breaks: nothing stays in flight, each exchange has one
//! outcome, and what is told is told in order.

use std::sync::atomic::Ordering;

use pointsman_serve::door::extproc::conversation::Turn;
use pointsman_wire::extproc::messages::ProcessingRequest;
use proptest::prelude::*;

use crate::rig::{LEAST_BUSY, Rig};
use crate::tongue::{
    answered, asked, asked_trailers, get, hinted, mode, post, reply, reply_trailers, served_by,
    under,
};

const ADDRESSES: &[&str] = &["10.0.0.1:1", "10.0.0.2:2", "[::1]:3"];

#[derive(Clone, Debug)]
enum Said {
    Message(ProcessingRequest),
    Leave,
}

fn said() -> impl Strategy<Value = Said> {
    let body = prop_oneof![
        Just(r#"{"model":"m","prompt":"p"}"#),
        Just(r#"{"model":"m","#),
        Just(r#""prompt":"p"}"#),
        Just("{"),
        Just(""),
    ];
    let path = prop_oneof![
        Just("/v1/completions"),
        Just("/x"),
        Just("/v1/messages/count_tokens")
    ];
    let rewrite = prop_oneof![
        Just(None),
        Just(Some(("x-llm-d-model-name-rewrite", "big")))
    ];
    let id = prop_oneof![Just("same"), Just("")];
    let head = (path, rewrite, id, 0..6, 0..6).prop_map(|(path, rewrite, id, first, second)| {
        let fields: Vec<_> = rewrite.into_iter().collect();
        let head = post(path, id, &fields);
        if first == 5 {
            head
        } else {
            under(head, mode(first, second))
        }
    });
    let message = prop_oneof![
        4 => head,
        1 => Just(get("/v1/models")),
        1 => Just(hinted(get("/v1/models"), &["10.0.0.2"])),
        6 => (body.clone(), any::<bool>()).prop_map(|(body, end)| asked(body, end)),
        1 => body.clone().prop_map(|body| hinted(asked(body, true), &["10.0.0.1:1"])),
        1 => Just(hinted(asked("", true), &[])),
        1 => Just(asked_trailers()),
        3 => any::<bool>().prop_map(|end| answered("200", &[("content-type", "text/event-stream")], end)),
        1 => Just(served_by(answered("500", &[], false), "[::1]:3")),
        3 => (body, any::<bool>()).prop_map(|(body, end)| reply(body, end)),
        1 => Just(reply_trailers()),
        1 => Just(ProcessingRequest::default()),
    ];
    prop_oneof![20 => message.prop_map(Said::Message), 1 => Just(Said::Leave)]
}

/// What the order of parts is: heads before bodies before trailers.
fn rank(line: &str) -> (usize, usize) {
    let part = line.split(' ').next().unwrap_or_default();
    let side = usize::from(part.starts_with("response"));
    let place = match part.rsplit('_').next() {
        Some("headers") => 0,
        Some("body") => 1,
        _ => 2,
    };
    (side, place)
}

proptest! {
    #[test]
    fn whatever_is_said_nothing_stays_in_flight(
        script in prop::collection::vec((0usize..3, said()), 0..60),
    ) {
        let rig = Rig::new(ADDRESSES, LEAST_BUSY);
        let mut talks = [rig.talk(), rig.talk(), rig.talk()];
        for (at, said) in script {
            match said {
                Said::Leave => talks[at] = rig.talk(),
                // A stream that has ended hears nothing more.
                Said::Message(_) if talks[at].turn != Turn::GoOn => talks[at] = rig.talk(),
                Said::Message(message) => {
                    let lines = talks[at].say(message);
                    for pair in lines.windows(2) {
                        prop_assert!(rank(&pair[0]) <= rank(&pair[1]), "out of order: {lines:?}");
                    }
                    let refused = lines.iter().any(|line| line.starts_with("immediate"));
                    prop_assert!(!refused || talks[at].turn == Turn::Close);
                }
            }
            let in_flight: u32 = rig.in_flight().iter().sum();
            prop_assert!(in_flight <= 3, "more in flight than talks");
        }
        drop(talks);
        prop_assert_eq!(rig.in_flight(), vec![0, 0, 0]);
        let ended: u64 = rig.ended().iter().sum();
        let decisions = rig.router.counts.decisions.load(Ordering::Relaxed);
        prop_assert!(ended >= decisions, "{decisions} decisions, {ended} outcomes");
    }

    #[test]
    fn a_body_cut_anywhere_means_the_same(cuts in prop::collection::vec(1usize..40, 1..50), trailers: bool) {
        let rig = Rig::new(ADDRESSES, LEAST_BUSY);
        let body = r#"{"stream":false,"messages":[{"role":"user","content":"h\u00e4llo"}],"model":"m"}"#;
        let mut talk = rig.talk();
        talk.say(post("/v1/chat/completions", "id", &[]));
        let (mut rest, mut sizes) = (body.as_bytes(), cuts.iter().cycle());
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap_or(&1)).min(rest.len());
            prop_assert!(talk.say(asked(rest[..size].to_vec(), false)).is_empty());
            rest = &rest[size..];
        }
        let lines = talk.say(if trailers { asked_trailers() } else { asked("", true) });
        let end = if trailers { "" } else { " end" };
        prop_assert_eq!(&lines[1], &format!("request_body body={body}{end}"));
        // Said twice it counts once.
        prop_assert!(talk.say(asked("", true)).is_empty());
        prop_assert_eq!(rig.in_flight().iter().sum::<u32>(), 1);
    }
}
