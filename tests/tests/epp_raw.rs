//! The picker's port as a gateway speaks to it without Envoy between: streams that break at any point, say things twice, are
//! never read, or name ten thousand models.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use pointsman_tests::backend::Backend;
use pointsman_tests::binary::pointsman;
use pointsman_tests::grpc::Connection;
use pointsman_tests::http::Request as Ask;
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::endpoints_file;
use pointsman_wire::extproc::messages::{
    HeaderMap, HeaderValue, HttpBody, HttpHeaders, HttpTrailers, Mutation, ProcessingRequest,
    ProcessingResponse, Request, Response,
};
use prost::Message;
use serde_json::Value;

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

const LEAST_BUSY: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
";

/// The same, where an endpoint holds one request at a time and the others wait.
fn one_at_a_time() -> String {
    let detector = "featureGates: [flowControl]\nplugins:\n- type: concurrency-detector\n  parameters: {maxConcurrency: 1}\n- type: active";
    LEAST_BUSY.replace("plugins:\n- type: active", detector)
        + "flowControl:\n  saturationDetector: {pluginRef: concurrency-detector}\n"
}

/// A picker before three endpoints without metrics pages.
/// Says a whole request on a stream of its own.
fn whole(gateway: &mut Connection, id: &str) -> u32 {
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &head(id)).unwrap();
    gateway.say(stream, &asked(BODY, true)).unwrap();
    stream
}

struct Bed {
    picker: Picker,
    _files: Scratch,
}

impl Bed {
    fn new(config: Option<&str>, flags: &[&str]) -> Self {
        Self::before(config, |endpoints, config| {
            let config = config.iter().flat_map(|path| ["--config-file", path]);
            let all: Vec<&str> = flags.iter().copied().chain(config).collect();
            Picker::before(endpoints, &all)
        })
    }

    /// One whose output goes where this piece of a shell command says; it logs all there is to log.
    fn logging(files: Scratch, to: &str) -> Self {
        Self::among(files, Some(LEAST_BUSY), |endpoints, config| {
            Picker::by(|[door, health, admin]| {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exec \"$0\" \"$@\" {to}")]);
                command.arg(pointsman()).args(["epp", "--bind=127.0.0.1"]);
                command.args(["--secure-serving=false", "--drain-timeout=1s", "-v=4"]);
                command.args(["--zap-encoder=json", "--endpoints", endpoints]);
                command.args(["--config-file", config.unwrap_or_default()]);
                for (name, at) in [
                    ("--grpc-port", door),
                    ("--grpc-health-port", health),
                    ("--metrics-port", admin),
                ] {
                    command.args([name, &at.port().to_string()]);
                }
                command
            })
        })
    }

    fn before(config: Option<&str>, start: impl Fn(&str, Option<&str>) -> Picker) -> Self {
        Self::among(Scratch::new("epp-raw"), config, start)
    }

    fn among(
        files: Scratch,
        config: Option<&str>,
        start: impl Fn(&str, Option<&str>) -> Picker,
    ) -> Self {
        let backend = || Backend::start(|_, reply| reply.whole(404, "text/plain", b"")).address();
        let rows = [("a", backend()), ("b", backend()), ("c", backend())];
        let endpoints = files.file("endpoints.json", &endpoints_file(&rows));
        let config = config.map(|text| files.file("config.yaml", text));
        Self {
            picker: start(&endpoints, config.as_deref()),
            _files: files,
        }
    }

    fn gateway(&self) -> Connection {
        Connection::open(self.picker.server.address).unwrap()
    }

    fn in_flight(&self) -> Vec<u64> {
        let rows = self.picker.server.endpoints();
        rows.iter()
            .map(|row| row["inFlight"].as_u64().unwrap())
            .collect()
    }

    #[track_caller]
    fn wait_in_flight(&self, count: u64) {
        until(&format!("{count} to be in flight"), || {
            (self.in_flight().iter().sum::<u64>() == count).then_some(())
        });
    }

    fn outcome(&self, id: &str) -> Value {
        let path = format!("/debug/decisions/{id}");
        self.picker.server.admin_json(&path)["outcome"].clone()
    }

    /// How many wait to be let in.
    fn queued(&self) -> f64 {
        let page = Ask::get("/metrics")
            .answered(self.picker.server.admin)
            .text();
        let lines = page.lines();
        let sizes = lines.filter(|line| line.starts_with("llm_d_epp_flow_control_queue_size{"));
        sizes
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    /// The value of a series on the metrics page.
    fn series(&self, series: &str) -> Option<f64> {
        let page = Ask::get("/metrics")
            .answered(self.picker.server.admin)
            .text();
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.parse().ok()
    }
}

fn message(request: Request) -> Vec<u8> {
    let whole = ProcessingRequest {
        request: Some(request),
        ..ProcessingRequest::default()
    };
    whole.encode_to_vec()
}

fn fields(fields: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    let field = |(name, value): &(&str, &str)| HeaderValue {
        key: Bytes::copy_from_slice(name.as_bytes()),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
        value: Bytes::new(),
    };
    HttpHeaders {
        headers: Some(HeaderMap {
            headers: fields.iter().map(field).collect(),
        }),
        end_of_stream,
    }
}

fn head(id: &str) -> Vec<u8> {
    let all = [
        (":method", "POST"),
        (":path", "/v1/completions"),
        ("x-request-id", id),
    ];
    message(Request::RequestHeaders(fields(&all, false)))
}

fn bare(path: &str) -> Vec<u8> {
    message(Request::RequestHeaders(fields(&[(":path", path)], true)))
}

fn piece(body: &str, end_of_stream: bool) -> HttpBody {
    HttpBody {
        body: Bytes::copy_from_slice(body.as_bytes()),
        end_of_stream,
    }
}

fn asked(body: &str, end: bool) -> Vec<u8> {
    message(Request::RequestBody(piece(body, end)))
}

fn answered() -> Vec<u8> {
    let json = [(":status", "200"), ("content-type", "application/json")];
    message(Request::ResponseHeaders(fields(&json, false)))
}

fn reply(body: &str, end: bool) -> Vec<u8> {
    message(Request::ResponseBody(piece(body, end)))
}

fn hear(gateway: &mut Connection, stream: u32) -> Response {
    let bytes = gateway.hear(stream).unwrap();
    let bytes = bytes.expect("the stream has ended");
    let answer = ProcessingResponse::decode(&bytes[..]).unwrap();
    answer.response.unwrap()
}

/// The destination that an answer names.
fn destination(answer: &Response) -> String {
    let Response::RequestHeaders(part) = answer else {
        panic!("{answer:?} names no destination");
    };
    let mutation = part.response.clone().unwrap().header_mutation.unwrap();
    let mut set = mutation.set_headers.into_iter().filter_map(|o| o.header);
    let found = set.find(|field| field.key == "x-gateway-destination-endpoint");
    String::from_utf8(found.unwrap().raw_value.to_vec()).unwrap()
}

/// The piece of a request's body in an answer, and whether it is the last.
fn passed_on(answer: &Response) -> (Bytes, bool) {
    let Response::RequestBody(part) = answer else {
        panic!("{answer:?} is no piece of a body");
    };
    let mutation = part.response.clone().unwrap().body_mutation.unwrap();
    match mutation.mutation.unwrap() {
        Mutation::Streamed(streamed) => (streamed.body, streamed.end_of_stream),
        other => panic!("{other:?} is not streamed"),
    }
}

#[test]
fn e1_what_is_said_twice_counts_once_and_the_body_is_unchanged() {
    let bed = Bed::new(Some(LEAST_BUSY), &[]);
    let mut gateway = bed.gateway();
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &head("twice")).unwrap();
    gateway.say(stream, &asked(BODY, true)).unwrap();
    gateway.say(stream, &asked(BODY, true)).unwrap();
    gateway.say(stream, &asked("", true)).unwrap();
    destination(&hear(&mut gateway, stream));
    let (body, last) = passed_on(&hear(&mut gateway, stream));
    assert!(body == BODY.as_bytes() && last, "{body:?}");
    // Nothing more comes of the request: the next word is about the answer.
    gateway.say(stream, &answered()).unwrap();
    let next = hear(&mut gateway, stream);
    assert!(matches!(next, Response::ResponseHeaders(_)), "{next:?}");
    bed.wait_in_flight(1);
    gateway.say(stream, &reply("{}", true)).unwrap();
    gateway.say(stream, &reply("{}", true)).unwrap();
    hear(&mut gateway, stream);
    bed.wait_in_flight(0);
    gateway.finish(stream).unwrap();
    assert_eq!(bed.outcome("twice")["kind"], "served");
}

#[test]
fn e3_a_head_that_is_all_is_answered_at_once() {
    let bed = Bed::new(Some(LEAST_BUSY), &[]);
    let mut gateway = bed.gateway();
    for path in ["/v1/models", "/health", "/v1/completions", "/", ""] {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway.say(stream, &bare(path)).unwrap();
        destination(&hear(&mut gateway, stream));
        gateway.finish(stream).unwrap();
        assert_eq!(gateway.hear(stream).unwrap(), None, "{path:?} ends well");
    }
    // A body of nothing is malformed, and says so.
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &head("nothing")).unwrap();
    gateway.say(stream, &asked("", true)).unwrap();
    let answer = hear(&mut gateway, stream);
    assert!(matches!(answer, Response::Immediate(_)), "{answer:?}");
    assert_eq!(gateway.hear(stream).unwrap(), None);
    bed.wait_in_flight(0);
}

#[test]
fn a_body_without_a_head_is_served_by_what_it_holds() {
    // So a gateway speaks that skips the request's head, as the filter of the original operator does.
    let bed = Bed::new(None, &[]);
    let mut gateway = bed.gateway();
    for body in [
        BODY,
        r#"{"model":"m","messages":[{"role":"user","content":"p"}]}"#,
    ] {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway.say(stream, &asked(body, true)).unwrap();
        destination(&hear(&mut gateway, stream));
    }
}

#[test]
fn e4_a_stream_broken_off_at_any_point_releases_what_it_held() {
    let bed = Bed::new(Some(LEAST_BUSY), &[]);
    let trailers = message(Request::RequestTrailers(HttpTrailers::default()));
    let script = [
        head(""),
        asked("{\"model\":\"m\",", false),
        asked("\"prompt\":\"p\"}", false),
        trailers,
        answered(),
        reply("{\"id\":", false),
        reply("\"c\"}", false),
    ];
    let mut gateway = bed.gateway();
    for said in 0..=script.len() {
        for _ in 0..3 {
            let id = format!("broken-{said}");
            let stream = gateway.begin(PROCESS).unwrap();
            for (at, part) in script[..said].iter().enumerate() {
                let part = if at == 0 { head(&id) } else { part.clone() };
                gateway.say(stream, &part).unwrap();
            }
            if said >= 4 {
                destination(&hear(&mut gateway, stream));
                bed.wait_in_flight(1);
            }
            gateway.reset(stream).unwrap();
            bed.wait_in_flight(0);
            if said >= 4 {
                let outcome = bed.outcome(&id);
                assert_eq!(outcome["kind"], "client-gone", "after {said}: {outcome}");
            }
        }
    }
    // A connection that is cut takes all its streams with it.
    for said in 0..=script.len() {
        let stream = gateway.begin(PROCESS).unwrap();
        for part in &script[..said] {
            gateway.say(stream, part).unwrap();
        }
        if said >= 4 {
            destination(&hear(&mut gateway, stream));
        }
    }
    bed.wait_in_flight(4);
    drop(gateway);
    bed.wait_in_flight(0);
}

#[test]
fn e8_without_any_reading_picks_go_by_what_is_in_flight_or_evenly() {
    let bed = Bed::new(Some(LEAST_BUSY), &[]);
    let mut gateway = bed.gateway();
    for number in 0..30 {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway
            .say(stream, &head(&format!("open-{number}")))
            .unwrap();
        gateway.say(stream, &asked(BODY, true)).unwrap();
        destination(&hear(&mut gateway, stream));
    }
    assert_eq!(bed.in_flight(), [10, 10, 10]);
    until("the endpoints to be known as unread", || {
        (bed.series("pointsman_stale_endpoints") == Some(3.0)).then_some(())
    });

    // The reference's own plan scores by readings alone: where there are none, everybody is equal.
    let bed = Bed::new(None, &["--seed", "7"]);
    let mut gateway = bed.gateway();
    let mut picks: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..300 {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway
            .say(stream, &head(&format!("even-{number}")))
            .unwrap();
        let body = format!("{{\"model\":\"m\",\"prompt\":\"{number}\"}}");
        gateway.say(stream, &asked(&body, true)).unwrap();
        *picks
            .entry(destination(&hear(&mut gateway, stream)))
            .or_default() += 1;
        gateway.reset(stream).unwrap();
    }
    let expected = 100.0;
    let off = picks
        .values()
        .map(|&n| (f64::from(n) - expected).powi(2) / expected);
    let chi_square: f64 = off.sum();
    // Two degrees of freedom: one in a thousand even draws is above 13.8.
    assert!(
        picks.len() == 3 && chi_square < 13.8,
        "{chi_square}: {picks:?}"
    );
}

#[test]
fn e14_ten_thousand_models_and_tenants_are_a_bounded_page_and_bounded_memory() {
    const NAMES: usize = 10_000;
    let bed = Bed::new(Some(LEAST_BUSY), &["--quiet"]);
    let mut gateway = bed.gateway();
    let mut ask = |number: usize| {
        let model = format!("a-model-of-its-own-{number}");
        let stream = gateway.begin(PROCESS).unwrap();
        let all = [
            (":path", "/v1/completions"),
            ("x-llm-d-inference-fairness-id", model.as_str()),
            ("x-llm-d-inference-objective", model.as_str()),
        ];
        let head = message(Request::RequestHeaders(fields(&all, false)));
        gateway.say(stream, &head).unwrap();
        let body = format!("{{\"model\":\"{model}\",\"prompt\":\"p\"}}");
        gateway.say(stream, &asked(&body, true)).unwrap();
        gateway.say(stream, &answered()).unwrap();
        gateway.say(stream, &reply("{}", true)).unwrap();
        gateway.finish(stream).unwrap();
        while gateway.hear(stream).unwrap().is_some() {}
    };
    // The ring and what the first names take is there for good.
    (0..2_000).for_each(&mut ask);
    let before = bed.picker.server.process.resident();
    (2_000..NAMES).for_each(&mut ask);
    let grown = bed.picker.server.process.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "grew by {grown} bytes");
    let page = Ask::get("/metrics")
        .answered(bed.picker.server.admin)
        .text();
    let models = |family: &str| {
        let series = page.lines().filter(|line| line.starts_with(family));
        series
            .filter(|line| line.contains("a-model-of-its-own-"))
            .count()
    };
    let named = models("llm_d_epp_request_total{");
    assert!((1..=1_000).contains(&named), "{named} models have series");
    let other = page.lines().find(|line| {
        line.starts_with("llm_d_epp_request_total{") && line.contains("model_name=\"other\"")
    });
    assert!(other.is_some(), "the rest counts as one");
    bed.wait_in_flight(0);
}

#[test]
fn e16_a_gateway_that_does_not_read_holds_up_nobody_and_fills_no_memory() {
    const STREAMS: usize = 60;
    let bed = Bed::new(Some(LEAST_BUSY), &[]);
    let before = bed.picker.server.process.resident();
    let large = "x".repeat(60_000);
    let mut deaf = Connection::deaf(bed.picker.server.address).unwrap();
    for number in 0..STREAMS {
        let stream = deaf.begin(PROCESS).unwrap();
        deaf.say(stream, &head(&format!("deaf-{number}"))).unwrap();
        deaf.say(stream, &asked(BODY, true)).unwrap();
        deaf.say(stream, &answered()).unwrap();
        // 240 kB of answer, of which nothing can go on.
        for _ in 0..4 {
            deaf.say(stream, &reply(&large, false)).unwrap();
        }
    }
    bed.wait_in_flight(STREAMS as u64);
    let mut gateway = bed.gateway();
    for number in 0..100 {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway
            .say(stream, &head(&format!("heard-{number}")))
            .unwrap();
        gateway.say(stream, &asked(BODY, true)).unwrap();
        destination(&hear(&mut gateway, stream));
        gateway.reset(stream).unwrap();
    }
    let grown = bed.picker.server.process.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    drop(deaf);
    bed.wait_in_flight(0);
}

#[test]
fn e4_a_stream_broken_off_while_its_request_waits_leaves_the_queue() {
    let bed = Bed::new(Some(&one_at_a_time()), &[]);
    let mut gateway = bed.gateway();
    let mut ask = |id: &str| whole(&mut gateway, id);
    let held = ["a", "b", "c"].map(&mut ask);
    bed.wait_in_flight(3);
    let waiting = ["d", "e", "f"].map(&mut ask);
    until("three to wait", || (bed.queued() == 3.0).then_some(()));
    for stream in &waiting[..2] {
        gateway.reset(*stream).unwrap();
    }
    until("two to have left", || (bed.queued() == 1.0).then_some(()));
    // Whoever stayed gets the first place that is given up.
    gateway.reset(held[0]).unwrap();
    destination(&hear(&mut gateway, waiting[2]));
    bed.wait_in_flight(3);
    drop(gateway);
    bed.wait_in_flight(0);
}

#[test]
fn c4_an_output_that_is_full_or_closed_ends_no_picker() {
    for to in [">/dev/full 2>/dev/full", ">&- 2>&-", "--log-file /dev/full"] {
        let mut bed = Bed::logging(Scratch::new("epp-output"), to);
        let mut gateway = bed.gateway();
        for number in 0..50 {
            let stream = gateway.begin(PROCESS).unwrap();
            gateway.say(stream, &head(&format!("{number}"))).unwrap();
            gateway.say(stream, &asked(BODY, true)).unwrap();
            destination(&hear(&mut gateway, stream));
            gateway.say(stream, &answered()).unwrap();
            while !matches!(hear(&mut gateway, stream), Response::ResponseHeaders(_)) {}
            gateway.reset(stream).unwrap();
        }
        bed.wait_in_flight(0);
        drop(gateway);
        bed.picker.server.process.terminate();
        let status = bed.picker.server.process.wait_end();
        assert_eq!(status.code(), Some(0), "{to}");
    }
}

#[test]
fn c4_an_output_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let files = Scratch::new("epp-fifo");
    let fifo = files.path().join("out");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Held open for reading, and never read: the pipe fills up.
    let mut both = std::fs::OpenOptions::new();
    let _held = both.read(true).write(true).open(&fifo).unwrap();
    let mut bed = Bed::logging(files, &format!(">{}", fifo.display()));
    let mut gateway = bed.gateway();
    for number in 0..500 {
        let stream = gateway.begin(PROCESS).unwrap();
        gateway.say(stream, &head(&format!("{number}"))).unwrap();
        gateway.say(stream, &asked(BODY, true)).unwrap();
        destination(&hear(&mut gateway, stream));
        gateway.reset(stream).unwrap();
    }
    bed.wait_in_flight(0);
    drop(gateway);
    bed.picker.server.process.terminate();
    assert_eq!(bed.picker.server.process.wait_end().code(), Some(0));
}

#[test]
fn e12_who_waits_at_a_termination_is_refused_and_who_was_let_in_is_served() {
    let mut bed = Bed::new(Some(&one_at_a_time()), &["--drain-timeout", "100ms"]);
    let mut gateway = bed.gateway();
    let mut ask = |id: &str| whole(&mut gateway, id);
    let held = ["a", "b", "c"].map(&mut ask);
    bed.wait_in_flight(3);
    let waiting = ask("d");
    until("one to wait", || (bed.queued() == 1.0).then_some(()));
    bed.picker.server.process.terminate();
    let Response::Immediate(refusal) = hear(&mut gateway, waiting) else {
        panic!("whoever waits is let in while the picker ends");
    };
    assert_eq!(refusal.status.unwrap().code, 503);
    let set = refusal.headers.unwrap().set_headers;
    let mut reasons = set.into_iter().filter_map(|option| option.header);
    assert!(reasons.any(|field| field.raw_value == "rejected-shutting-down"));
    assert_eq!(gateway.hear(waiting).unwrap(), None, "its stream ends well");
    for stream in held {
        destination(&hear(&mut gateway, stream));
        passed_on(&hear(&mut gateway, stream));
        gateway.say(stream, &answered()).unwrap();
        gateway.say(stream, &reply("{}", true)).unwrap();
        let next = hear(&mut gateway, stream);
        assert!(matches!(next, Response::ResponseHeaders(_)), "{next:?}");
        let next = hear(&mut gateway, stream);
        assert!(matches!(next, Response::ResponseBody(_)), "{next:?}");
        gateway.finish(stream).unwrap();
        assert_eq!(gateway.hear(stream).unwrap(), None);
    }
    drop(gateway);
    assert_eq!(bed.picker.server.process.wait_end().code(), Some(0));
}

#[test]
fn a_stream_that_the_picker_ends_for_an_error_is_no_client_that_left() {
    let bed = Bed::new(None, &["--grpc-max-recv-msg-size=64KiB"]);
    let ended = |how: &str| {
        let series = format!("pointsman_requests_total{{outcome=\"{how}\"}}");
        bed.series(&series).unwrap_or_default()
    };
    let error = |code: &str| {
        let page = Ask::get("/metrics")
            .answered(bed.picker.server.admin)
            .text();
        let named = format!("error_code=\"{code}\"");
        let lines = page.lines().filter(|line| {
            line.starts_with("llm_d_epp_request_error_total{") && line.contains(&named)
        });
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum::<f64>()
    };
    let garbage = [0xff_u8; 8];
    let large = asked(&"x".repeat(100 << 10), true);
    let mut gateway = bed.gateway();
    // Before a body, and behind one whose request has been answered.
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &head("garbage")).unwrap();
    gateway.say(stream, &garbage).unwrap();
    assert!(gateway.hear(stream).unwrap().is_none());
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &head("large")).unwrap();
    gateway.say(stream, &large).unwrap();
    assert!(gateway.hear(stream).unwrap().is_none());
    let stream = whole(&mut gateway, "decided");
    destination(&hear(&mut gateway, stream));
    passed_on(&hear(&mut gateway, stream));
    gateway.say(stream, &garbage).unwrap();
    assert!(gateway.hear(stream).unwrap().is_none());
    until("all three to be counted", || {
        (ended("rejected") == 3.0).then_some(())
    });
    assert_eq!(
        (error("BadRequest"), error("RequestEntityTooLarge")),
        (2.0, 1.0)
    );
    let outcome = bed.outcome("decided");
    assert_eq!(
        (&outcome["kind"], &outcome["reason"]),
        (&"rejected".into(), &"malformed".into())
    );
    // In the middle of an answer it is the answer that broke off.
    let stream = whole(&mut gateway, "answering");
    destination(&hear(&mut gateway, stream));
    passed_on(&hear(&mut gateway, stream));
    gateway.say(stream, &answered()).unwrap();
    hear(&mut gateway, stream);
    gateway.say(stream, &garbage).unwrap();
    assert!(gateway.hear(stream).unwrap().is_none());
    until("the broken answer to be counted", || {
        (ended("broken") == 1.0).then_some(())
    });
    assert_eq!(ended("client-gone"), 0.0);
    bed.wait_in_flight(0);
    // An error of the model server to a request that was not scheduled is one too.
    let stream = gateway.begin(PROCESS).unwrap();
    gateway.say(stream, &bare("/v1/models")).unwrap();
    destination(&hear(&mut gateway, stream));
    let before = error("ModelServerError");
    let failed = fields(&[(":status", "503")], true);
    gateway
        .say(stream, &message(Request::ResponseHeaders(failed)))
        .unwrap();
    hear(&mut gateway, stream);
    until("the model server's error to be counted", || {
        (error("ModelServerError") == before + 1.0).then_some(())
    });
}
