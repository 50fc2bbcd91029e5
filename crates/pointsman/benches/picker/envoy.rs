//! The gateway's part: one connection, a stream per exchange.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request as HttpRequest;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_bench::resources::{Spent, Watch};
use pointsman_wire::extproc::grpc::{Deframer, Outbox};
use pointsman_wire::extproc::messages::{
    HeaderMap, HeaderValue, HttpBody, HttpHeaders, Mutation, PartResponse, ProcessingRequest,
    ProcessingResponse, Request, Response,
};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::scenarios::Scenario;

/// Size of the pieces in which a body comes.
const PIECE: usize = 16 << 10;

/// Before the window.
const WARM_UP: Duration = Duration::from_millis(700);

/// Longest time for one exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// Groups of prompts that begin alike.
const GROUPS: u64 = 16;

const EVENT: &[u8] = b"data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"text\":\" token\",\"logprobs\":null,\"finish_reason\":null}]}\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";
const ANSWER: &[u8] = b"{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"text\":\" token token token token\",\"logprobs\":null,\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":8,\"total_tokens\":58}}";

/// What a run found.
pub(crate) struct Drive {
    /// That ended well inside the window.
    pub(crate) exchanges: u64,
    /// In the whole run.
    pub(crate) failed: u64,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// From the head to the decision, nanoseconds.
    pub(crate) decisions: Histogram<u64>,
    /// What the picker used inside the window.
    pub(crate) spent: Spent,
    /// One of the failures.
    pub(crate) why: Option<String>,
}

/// What all exchanges of a run share.
struct Run {
    scenario: Scenario,
    words: Vec<u8>,
    tally: RefCell<Tally>,
}

struct Tally {
    number: u64,
    counting: bool,
    exchanges: u64,
    failed: u64,
    decisions: Histogram<u64>,
    why: Option<String>,
}

impl Run {
    fn new(scenario: &Scenario) -> anyhow::Result<Self> {
        Ok(Self {
            scenario: *scenario,
            words: words(scenario.prompt + scenario.shared + (1 << 20)),
            tally: RefCell::new(Tally {
                number: 0,
                counting: false,
                exchanges: 0,
                failed: 0,
                // Up to the longest exchange there can be.
                decisions: Histogram::new_with_max(PATIENCE.as_nanos() as u64, 3)?,
                why: None,
            }),
        })
    }

    /// The next request's body.
    fn body(&self) -> Bytes {
        let mut tally = self.tally.borrow_mut();
        tally.number += 1;
        let random = mixed(tally.number);
        let Scenario { prompt, shared, .. } = self.scenario;
        let text = |at: u64, len: usize| {
            let at = at as usize % (self.words.len() - len);
            &self.words[at..at + len]
        };
        let mut body = Vec::with_capacity(prompt + shared + 128);
        body.extend_from_slice(b"{\"model\":\"bench-model\",\"prompt\":\"");
        body.extend_from_slice(text(random % GROUPS * 7919, shared));
        body.extend_from_slice(format!("{random:016x} ").as_bytes());
        body.extend_from_slice(text(random >> 7, prompt.saturating_sub(17)));
        let stream = self.scenario.pieces > 0;
        body.extend_from_slice(format!("\",\"max_tokens\":8,\"stream\":{stream}}}").as_bytes());
        body.into()
    }
}

/// Splitmix64.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Lower-case words, at least so many bytes.
fn words(bytes: usize) -> Vec<u8> {
    let mut words = Vec::with_capacity(bytes + 16);
    let mut seed = 0;
    while words.len() < bytes {
        seed += 1;
        let random = mixed(seed);
        let letters = 2 + random % 8;
        words.extend((0..letters).map(|n| b'a' + ((random >> (8 + n * 5)) % 26) as u8));
        words.push(b' ');
    }
    words
}

/// One exchange, to see whether the picker decides.
pub(crate) async fn once(picker: SocketAddr, scenario: &Scenario) -> anyhow::Result<()> {
    let small = Scenario {
        prompt: 64,
        shared: 0,
        pieces: 0,
        ..*scenario
    };
    let run = Run::new(&small)?;
    let connection = connect(picker).await?;
    exchange(&run, connection, Instant::now()).await
}

/// Loads the picker and watches its process inside the window.
pub(crate) async fn drive(
    picker: SocketAddr,
    scenario: &Scenario,
    window: Duration,
    pid: u32,
) -> anyhow::Result<Drive> {
    let run = Rc::new(Run::new(scenario)?);
    let connection = connect(picker).await?;
    let tasks = tokio::task::LocalSet::new();
    let spent = tasks
        .run_until(async {
            let loops = start(&run, &connection);
            tokio::time::sleep(WARM_UP).await;
            run.tally.borrow_mut().counting = true;
            let watch = Watch::begin(pid)?;
            let began = Instant::now();
            tokio::time::sleep(window).await;
            let spent = watch.end()?;
            run.tally.borrow_mut().counting = false;
            loops.iter().for_each(|task| task.abort());
            anyhow::Ok((spent, began.elapsed().as_secs_f64()))
        })
        .await?;
    let tally = run.tally.borrow();
    Ok(Drive {
        exchanges: tally.exchanges,
        failed: tally.failed,
        seconds: spent.1,
        decisions: tally.decisions.clone(),
        spent: spent.0,
        why: tally.why.clone(),
    })
}

/// The tasks that keep exchanges going.
fn start(run: &Rc<Run>, connection: &SendRequest<Said>) -> Vec<tokio::task::JoinHandle<()>> {
    let (run, connection) = (Rc::clone(run), connection.clone());
    if let Some(rate) = run.scenario.rate {
        return vec![tokio::task::spawn_local(at_a_rate(run, connection, rate))];
    }
    (0..run.scenario.streams)
        .map(|_| {
            let (run, connection) = (Rc::clone(&run), connection.clone());
            tokio::task::spawn_local(async move {
                loop {
                    counted(&run, connection.clone(), Instant::now()).await;
                }
            })
        })
        .collect()
}

async fn at_a_rate(run: Rc<Run>, connection: SendRequest<Said>, rate: f64) {
    let began = Instant::now();
    let Ok(alarm) = pointsman_bench::alarm::Alarm::new() else {
        return;
    };
    for number in 1.. {
        let due = began + Duration::from_secs_f64(f64::from(number) / rate);
        if alarm.until(due).await.is_err() {
            return;
        }
        let (run, connection) = (Rc::clone(&run), connection.clone());
        tokio::task::spawn_local(async move { counted(&run, connection, due).await });
    }
}

/// One exchange, and what came of it.
async fn counted(run: &Run, connection: SendRequest<Said>, began: Instant) {
    let result = tokio::time::timeout(PATIENCE, exchange(run, connection, began)).await;
    let mut tally = run.tally.borrow_mut();
    let why = match result {
        Ok(Ok(())) => {
            tally.exchanges += u64::from(tally.counting);
            return;
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("no end within {PATIENCE:?}"),
    };
    tally.failed += 1;
    tally.why.get_or_insert(why);
}

async fn connect(picker: SocketAddr) -> anyhow::Result<SendRequest<Said>> {
    let stream = TcpStream::connect(picker).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What the gateway says on a stream.
struct Said {
    pieces: UnboundedReceiver<Bytes>,
}

impl Body for Said {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces
            .poll_recv(task)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A stream from the gateway's side.
struct Stream {
    say: UnboundedSender<Bytes>,
    heard: Incoming,
    deframer: Deframer,
}

impl Stream {
    async fn next(&mut self) -> anyhow::Result<Option<Response>> {
        loop {
            if let Some(message) = self.deframer.take().map_err(|fault| anyhow!("{fault}"))? {
                let response = ProcessingResponse::decode(message)?.response;
                if let Some(Response::Immediate(refusal)) = &response {
                    let status = refusal.status.as_ref().map_or(0, |status| status.code);
                    bail!("refused with {status}");
                }
                return Ok(response);
            }
            let frame = std::future::poll_fn(|task| Pin::new(&mut self.heard).poll_frame(task));
            let Some(frame) = frame.await else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.deframer.feed(data);
            }
        }
    }

    fn tell(&self, request: Request) {
        tell(&self.say, request);
    }
}

fn tell(say: &UnboundedSender<Bytes>, request: Request) {
    let mut out = Outbox::default();
    out.message(&ProcessingRequest {
        request: Some(request),
        ..ProcessingRequest::default()
    });
    while let Some(piece) = out.take() {
        // A stream that has ended takes nothing more, and says so when it is read.
        let _ = say.send(piece);
    }
}

fn head(headers: Vec<HeaderValue>) -> HttpHeaders {
    HttpHeaders {
        headers: Some(HeaderMap { headers }),
        end_of_stream: false,
    }
}

/// A whole exchange.
async fn exchange(
    run: &Run,
    mut connection: SendRequest<Said>,
    began: Instant,
) -> anyhow::Result<()> {
    let body = run.body();
    let (say, pieces) = unbounded_channel();
    let request =
        HttpRequest::post("http://picker/envoy.service.ext_proc.v3.ExternalProcessor/Process")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Said { pieces })?;
    tell(
        &say,
        Request::RequestHeaders(head(request_headers(run, &body))),
    );
    let mut sent = 0;
    while sent < body.len() {
        let end = (sent + PIECE).min(body.len());
        tell(
            &say,
            Request::RequestBody(HttpBody {
                body: body.slice(sent..end),
                end_of_stream: end == body.len(),
            }),
        );
        sent = end;
    }
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let mut stream = Stream {
        say,
        heard: response.into_body(),
        deframer: Deframer::new(64 << 20, false),
    };
    decided(run, &mut stream, began).await?;
    returned(&mut stream, body.len()).await?;
    answered(run, &mut stream).await
}

fn request_headers(run: &Run, body: &Bytes) -> Vec<HeaderValue> {
    let id = format!("{:032x}", mixed(run.tally.borrow().number | 1 << 63));
    vec![
        HeaderValue::new(":authority", "bench.local"),
        HeaderValue::new(":method", "POST"),
        HeaderValue::new(":scheme", "http"),
        HeaderValue::new(":path", "/v1/completions"),
        HeaderValue::new("user-agent", "bench"),
        HeaderValue::new("accept", "*/*"),
        HeaderValue::new("content-type", "application/json"),
        HeaderValue::new("content-length", body.len().to_string()),
        HeaderValue::new("x-forwarded-for", "127.0.0.1"),
        HeaderValue::new("x-forwarded-proto", "http"),
        HeaderValue::new("x-request-id", id),
    ]
}

/// The answer to the request's head names the endpoint.
async fn decided(run: &Run, stream: &mut Stream, began: Instant) -> anyhow::Result<()> {
    let Some(Response::RequestHeaders(part)) = stream.next().await? else {
        bail!("no answer to the request's head");
    };
    let names = |part: PartResponse| {
        let set = part.response?.header_mutation?.set_headers;
        set.into_iter()
            .filter_map(|option| option.header)
            .find(|header| &header.key[..] == b"x-gateway-destination-endpoint")
    };
    names(part).context("no endpoint in the answer")?;
    let mut tally = run.tally.borrow_mut();
    if tally.counting {
        let nanos = began.elapsed().as_nanos() as u64;
        tally.decisions.saturating_record(nanos);
    }
    Ok(())
}

/// The request's body comes back whole.
async fn returned(stream: &mut Stream, bytes: usize) -> anyhow::Result<()> {
    let mut back = 0;
    loop {
        let Some(Response::RequestBody(part)) = stream.next().await? else {
            bail!("the body did not come back");
        };
        let mutation = part.response.and_then(|common| common.body_mutation);
        let Some(Mutation::Streamed(piece)) = mutation.and_then(|body| body.mutation) else {
            bail!("a piece of the body is none");
        };
        back += piece.body.len();
        if piece.end_of_stream {
            break;
        }
    }
    if back != bytes {
        bail!("{back} of {bytes} bytes came back");
    }
    Ok(())
}

/// The engine's answer passes, each part before the next, and the stream ends.
async fn answered(run: &Run, stream: &mut Stream) -> anyhow::Result<()> {
    let pieces = run.scenario.pieces;
    let kind = if pieces > 0 {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    stream.tell(Request::ResponseHeaders(head(vec![
        HeaderValue::new(":status", "200"),
        HeaderValue::new("content-type", kind),
        HeaderValue::new("date", "Sat, 21 Nov 2026 05:00:00 GMT"),
    ])));
    let Some(Response::ResponseHeaders(_)) = stream.next().await? else {
        bail!("no answer to the head of the answer");
    };
    for piece in 1..=pieces.max(1) {
        let body = match pieces {
            0 => ANSWER,
            _ if piece == pieces => DONE,
            _ => EVENT,
        };
        stream.tell(Request::ResponseBody(HttpBody {
            body: Bytes::from_static(body),
            end_of_stream: piece == pieces.max(1),
        }));
        let Some(Response::ResponseBody(_)) = stream.next().await? else {
            bail!("no answer to the body of the answer");
        };
    }
    // Nothing more is said; whatever is still under way is read to its end.
    let (ended, _) = unbounded_channel();
    stream.say = ended;
    while stream.next().await?.is_some() {}
    Ok(())
}
