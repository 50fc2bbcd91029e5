//! What a gateway says to the picker, in any order and broken off anywhere: every answer can be read, heads come before
//! bodies, and nothing stays in flight. The bytes of a stream may be cut anywhere.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use pointsman_core::config::basis::Registry;
use pointsman_core::model::endpoint::Labels;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::plan::{Terms, from_preset};
use pointsman_http::ClientOptions;
use pointsman_serve::door::extproc::conversation::{Conversation, Turn};
use pointsman_serve::door::extproc::settings::Settings;
use pointsman_serve::door::route::Routes;
use pointsman_serve::record::log::Log;
use pointsman_serve::router::{Lane, Router};
use pointsman_wire::extproc::grpc::{Deframer, Outbox};
use pointsman_wire::extproc::messages::{
    HeaderMap, HeaderValue, HttpBody, HttpHeaders, HttpTrailers, Kind, ListValue, Metadata,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration, Request, Response, Struct, Value,
};
use prost::Message;

use crate::cuts::{WAYS, cut, whole};
use crate::shape::Shape;
use crate::target::Target;

/// The target. A line is a message: its first byte says which, the rest is what is in it.
pub const TARGET: Target = Target {
    name: "extproc",
    what: "conversations of a gateway with the picker, and the framing of their stream",
    run,
    words: &[
        "h/v1/completions\n",
        "h/v1/chat/completions\n",
        "h/v1/messages/count_tokens\n",
        "g/v1/models\n",
        "Nx-llm-d-model-name-rewrite:big\n",
        "Nprefer:if-available\n",
        "Nx-prefiller-host-port:1.2.3.4:5\n",
        "Nx-request-id:a\n",
        "B{\"model\":\"m\",\"prompt\":\"p\"}\n",
        "b{\"model\":\"m\",\n",
        "B\"prompt\":\"p\"}\n",
        "B\n",
        "t\n",
        "rtext/event-stream\n",
        "rapplication/json\n",
        "Rapplication/json\n",
        "pdata: {\"model\":\"big\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n",
        "P\n",
        "T\n",
        "m44\n",
        "m20\n",
        "m00\n",
        "m11\n",
        "m33\n",
        "s10.0.0.1:8000,10.0.0.2\n",
        "s\n",
        "v10.0.0.2:8001\n",
        "-\n",
        "!\x12\x00",
    ],
    also: &[],
};

struct House {
    router: Arc<Router>,
    lane: Arc<Lane>,
    settings: Arc<Settings>,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let specs = [pointsman_plugins::ALL, pointsman_wire::parser::SPECS].concat();
    let registry = Registry::new(&specs);
    let Ok(resolved) = from_preset("balanced", &Terms::new(&registry)) else {
        panic!("a profile of ours resolves")
    };
    let membership = Arc::new(Membership::new(4));
    let members = [1u8, 2].map(|n| Member {
        name: format!("default/{n}"),
        address: ([10, 0, 0, n], 7999 + u16::from(n)).into(),
        labels: Labels::default(),
    });
    membership.replace(&members);
    let routes = Routes::all_to_pool();
    let log = Log::new(None, None, 0);
    let router = Router::new(Clock::start(), membership, resolved.plan, routes, log, 1);
    let router = Arc::new(router);
    let mut settings = Settings::default();
    settings.emit_scores = true;
    House {
        lane: router.add_lane(1, ClientOptions::default()),
        router,
        settings: Arc::new(settings),
    }
});

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    converse(input, &mut shape);
    framing(input, &mut shape);
    shape.done()
}

/// The input as a script.
fn converse(input: &[u8], shape: &mut Shape) {
    let house = &*HOUSE;
    let begin = || Conversation::new(Arc::clone(&house.lane), Arc::clone(&house.settings));
    let mut conversation = begin();
    // What a line sets counts for the next message.
    let mut fields: Vec<HeaderValue> = Vec::new();
    let mut waiting = ProcessingRequest::default();
    for line in input.split(|byte| *byte == b'\n').take(100) {
        let Some((&kind, rest)) = line.split_first() else {
            continue;
        };
        let request = match kind {
            b'N' => {
                let colon = rest.iter().position(|byte| *byte == b':');
                let (name, value) = rest.split_at(colon.unwrap_or(rest.len()));
                fields.push(field(name, value.get(1..).unwrap_or_default()));
                continue;
            }
            b'm' => {
                let number = |at: usize| i32::from(rest.get(at).copied().unwrap_or(b'0')) - 48;
                waiting.protocol_config = Some(ProtocolConfiguration {
                    request_body_mode: number(0),
                    response_body_mode: number(1),
                });
                continue;
            }
            b's' => {
                note(&mut waiting, "envoy.lb.subset_hint", hint(rest));
                continue;
            }
            b'v' => {
                let served = Value::text(String::from_utf8_lossy(rest));
                let told = Struct::of([("x-gateway-destination-endpoint-served", served)]);
                note(&mut waiting, "envoy.lb", told);
                continue;
            }
            b'-' => {
                conversation = begin();
                idle(house);
                continue;
            }
            b'!' => match ProcessingRequest::decode(rest) {
                Ok(message) => message.request,
                Err(_) => continue,
            },
            b'h' | b'g' => {
                fields.push(field(b":path", rest));
                Some(Request::RequestHeaders(head(&mut fields, kind == b'g')))
            }
            b'r' | b'R' => {
                fields.push(field(b":status", b"200"));
                fields.push(field(b"content-type", rest));
                Some(Request::ResponseHeaders(head(&mut fields, kind == b'R')))
            }
            b'b' | b'B' => Some(Request::RequestBody(body(rest, kind == b'B'))),
            b'p' | b'P' => Some(Request::ResponseBody(body(rest, kind == b'P'))),
            b't' => Some(Request::RequestTrailers(HttpTrailers::default())),
            b'T' => Some(Request::ResponseTrailers(HttpTrailers::default())),
            _ => None,
        };
        let message = ProcessingRequest {
            request,
            ..std::mem::take(&mut waiting)
        };
        let mut out = Outbox::default();
        let turn = conversation.take(message, &mut out);
        let answers = heard(&mut out);
        check(&answers, &turn, shape);
        if turn != Turn::GoOn {
            conversation = begin();
            idle(house);
        }
    }
    drop(conversation);
    idle(house);
}

/// Nobody talks, so nothing is in flight.
fn idle(house: &House) {
    let slots = house.router.membership.slots();
    for endpoint in &house.router.membership.snapshot().endpoints {
        assert_eq!(slots.in_flight(endpoint.slot), 0, "{}", endpoint.name);
    }
}

fn check(answers: &[ProcessingResponse], turn: &Turn, shape: &mut Shape) {
    let mut last = 0;
    for answer in answers {
        let place = match &answer.response {
            None => panic!("an answer to nothing"),
            Some(Response::RequestHeaders(_) | Response::ResponseHeaders(_)) => 1,
            Some(Response::RequestBody(_) | Response::ResponseBody(_)) => 2,
            Some(Response::RequestTrailers(_) | Response::ResponseTrailers(_)) => 3,
            Some(Response::Immediate(refusal)) => {
                assert_eq!(*turn, Turn::Close, "the talk goes on after a refusal");
                let code = refusal.status.map_or(0, |status| status.code);
                assert!((400..600).contains(&code), "refused with {code}");
                shape.number(code as u64);
                4
            }
        };
        assert!(place >= last, "answers out of order");
        last = place;
        shape.number(place);
    }
}

fn heard(out: &mut Outbox) -> Vec<ProcessingResponse> {
    let mut deframer = Deframer::new(usize::MAX >> 1, false);
    let mut found = Vec::new();
    while let Some(piece) = out.take() {
        deframer.feed(piece);
        while let Some(message) = deframer.take().expect("what we write can be read") {
            let answer = ProcessingResponse::decode(message).expect("what we write can be read");
            found.push(answer);
        }
    }
    assert!(!deframer.is_amid(), "half a message was written");
    found
}

/// The input as a stream's bytes.
fn framing(input: &[u8], shape: &mut Shape) {
    for gzip in [false, true] {
        let expected = messages(&whole(input), gzip);
        for way in WAYS {
            assert_eq!(
                messages(&cut(input, way), gzip),
                expected,
                "the frames matter"
            );
        }
        shape.size(expected.0.len());
        shape.message(expected.1.as_deref().unwrap_or(""));
        for message in expected.0 {
            shape.number(u64::from(ProcessingRequest::decode(message).is_ok()));
        }
    }
}

fn messages(frames: &[Bytes], gzip: bool) -> (Vec<Bytes>, Option<String>) {
    let mut deframer = Deframer::new(4096, gzip);
    let mut found = Vec::new();
    for frame in frames {
        deframer.feed(frame.clone());
        loop {
            match deframer.take() {
                Ok(Some(message)) => {
                    assert!(message.len() <= 4096, "a message above the bound");
                    found.push(message);
                }
                Ok(None) => break,
                Err(fault) => return (found, Some(fault.to_string())),
            }
        }
    }
    (found, None)
}

fn field(name: &[u8], value: &[u8]) -> HeaderValue {
    HeaderValue {
        key: Bytes::copy_from_slice(name),
        value: Bytes::new(),
        raw_value: Bytes::copy_from_slice(value),
    }
}

fn head(fields: &mut Vec<HeaderValue>, end_of_stream: bool) -> HttpHeaders {
    HttpHeaders {
        headers: Some(HeaderMap {
            headers: std::mem::take(fields),
        }),
        end_of_stream,
    }
}

fn body(bytes: &[u8], end_of_stream: bool) -> HttpBody {
    HttpBody {
        body: Bytes::copy_from_slice(bytes),
        end_of_stream,
    }
}

fn hint(text: &[u8]) -> Struct {
    let members = text.split(|byte| *byte == b',').filter(|m| !m.is_empty());
    let values = members.map(|member| Value::text(String::from_utf8_lossy(member)));
    let list = ListValue {
        values: values.collect(),
    };
    let list = Value {
        kind: Some(Kind::List(list)),
    };
    Struct::of([("x-gateway-destination-endpoint-subset", list)])
}

fn note(message: &mut ProcessingRequest, name: &str, told: Struct) {
    let metadata = message
        .metadata_context
        .get_or_insert_with(Metadata::default);
    metadata.filter_metadata.insert(name.to_owned(), told);
}
