//! A request's body in pieces: wherever it is cut the decision is the same and the bytes that go on are the client's.

use pointsman_core::rng::Rng;
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::extproc::messages::{Mutation, Response};

use crate::rig::{LEAST_BUSY, Rig};
use crate::tongue::{asked, heard, post};

const TWO: &[&str] = &["10.0.0.1:8000", "10.0.0.2:8000"];

/// How many random cuts of a body are tried.
const CASES: usize = 10_000;

/// Largest body of a request, unless it is said otherwise.
const LARGEST: usize = 32 << 20;

/// A chat of some 300 bytes with everything that is hard to cut: escapes, several bytes per character, nesting, numbers.
fn chat() -> String {
    let body = r#"{"stream":false,"messages":[{"role":"system","content":"be \"brief\"\n"},{"role":"user","content":[{"type":"text","text":"h\u00e4llo wörld \ud83d\ude00 😀"},{"type":"image_url","image_url":{"url":"data:,"}}]}],"max_tokens":12345678901234567890,"temperature":1.0e-3,"model":"m\u0061 \\ ß","user":null,"x":[[],{}]}"#;
    assert!((290..330).contains(&body.len()), "{}", body.len());
    body.to_owned()
}

/// Says the body in these pieces; the bytes that go on, and what the picker made of them.
fn passed(rig: &Rig, pieces: &[&[u8]]) -> (Vec<u8>, (String, u32)) {
    let mut talk = rig.talk();
    let mut out = Outbox::default();
    talk.say(post("/v1/chat/completions", "cut", &[]));
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        talk.conversation
            .take(asked(piece.to_vec(), last), &mut out);
    }
    let (mut body, mut ended) = (Vec::new(), false);
    for answer in heard(&mut out) {
        let Some(Response::RequestBody(part)) = answer.response else {
            continue;
        };
        assert!(!ended, "a piece after the last");
        let mutation = part.response.and_then(|common| common.body_mutation);
        match mutation.and_then(|body| body.mutation) {
            Some(Mutation::Streamed(streamed)) => {
                body.extend_from_slice(&streamed.body);
                ended = streamed.end_of_stream;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ended, "the body has no end");
    let found = rig.router.find("cut").unwrap();
    let decided = (found.meta.model.to_string(), found.meta.prompt_bytes as u32);
    (body, decided)
}

#[test]
fn e2_a_body_cut_at_every_byte_goes_on_unchanged() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let chat = chat();
    let whole = passed(&rig, &[chat.as_bytes()]);
    assert_eq!(whole.0, chat.as_bytes());
    assert_eq!(whole.1.0, "ma \\ ß");
    for at in 0..=chat.len() {
        let (head, tail) = chat.as_bytes().split_at(at);
        assert_eq!(passed(&rig, &[head, tail]), whole, "cut at {at}");
    }
    let single: Vec<&[u8]> = chat.as_bytes().chunks(1).collect();
    assert_eq!(passed(&rig, &single), whole, "byte by byte");
}

#[test]
fn e2_ten_thousand_random_cuts_change_nothing() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let chat = chat();
    let whole = passed(&rig, &[chat.as_bytes()]);
    let mut rng = Rng::from_seed(7);
    for case in 0..CASES {
        let mut pieces = Vec::new();
        let mut rest = chat.as_bytes();
        let most = 1 + rng.below(120);
        while !rest.is_empty() {
            // Also pieces of nothing, as gateways send them.
            let (piece, left) = rest.split_at(rng.below(most + 1).min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(passed(&rig, &pieces), whole, "case {case}: {pieces:?}");
    }
}

#[test]
fn e2_the_largest_body_in_random_pieces_goes_on_unchanged_and_one_byte_more_is_refused() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let frame = |room: usize| {
        let (head, tail) = (
            r#"{"model":"m","messages":[{"role":"user","content":""#,
            r#""}]}"#,
        );
        let text: String = (0..room - head.len() - tail.len())
            .map(|n| char::from(b'a' + (n % 23) as u8))
            .collect();
        [head, &text, tail].concat().into_bytes()
    };
    let body = frame(LARGEST);
    let mut rng = Rng::from_seed(11);
    let mut pieces = Vec::new();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((1 + rng.below(200_000)).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    assert!(passed(&rig, &pieces).0 == body, "the body changed");
    let mut talk = rig.talk();
    talk.say(post("/v1/chat/completions", "large", &[]));
    let lines = talk.say(asked(frame(LARGEST + 1), true));
    assert!(lines[0].starts_with("immediate 413"), "{lines:?}");
    drop(talk);
    assert_eq!(rig.in_flight(), [0, 0]);
}
