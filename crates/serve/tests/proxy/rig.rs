//! Engines that record what they are sent, a proxy in front of two of them, and bounded waiting.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use pointsman_http::{
    Body, ClientOptions, DrainStarter, FaultSwitch, Pool, ServerOptions, bind, collect, drain,
    serve,
};
use pointsman_serve::door::proxy::Proxy;
use pointsman_serve::door::proxy::config::{EngineAddress, ProxyConfig, ProxyKind};
use pointsman_serve::door::proxy::tally::TallyView;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Fails the test instead of hanging; no test asserts that anything is fast.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("did not happen within a minute")
}

/// A request as an engine saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// How an engine behaves.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Answers with this status and body.
    Answer(u16, &'static str),
    /// Reads the request and never answers.
    Silent,
    /// Answers with an event stream whose pieces the test sends.
    Stream,
    /// Like `Stream`, of another content type.
    Plain,
    /// Answers after a pause.
    After(Duration),
    /// Answers 200 at once with the first half of this body, and with the rest after the pause.
    Slowly(Duration, &'static str),
    /// An event stream that is there whole.
    Events(&'static str),
    /// Behaves in these ways one after another; the last one stays.
    Turns(&'static [Self]),
}

/// An engine.
pub(crate) struct Engine {
    pub(crate) addr: SocketAddr,
    pub(crate) faults: FaultSwitch,
    seen: Arc<Mutex<Vec<Seen>>>,
    alive: Arc<()>,
    streams: Arc<Mutex<Vec<pointsman_http::BodySender>>>,
    _drain: DrainStarter,
}

impl Engine {
    pub(crate) fn start(manner: Manner) -> Self {
        let bound = bind("127.0.0.1:0".parse().unwrap(), "engine").unwrap();
        let addr = bound.local_addr();
        let (starter, drained) = drain();
        let faults = FaultSwitch::default();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let streams: Arc<Mutex<Vec<pointsman_http::BodySender>>> = Arc::default();
        let alive = Arc::new(());
        let (seen_too, streams_too, alive_too) =
            (Arc::clone(&seen), Arc::clone(&streams), Arc::clone(&alive));
        let handler = move |request: Request<Incoming>, _| {
            let (seen, streams, being) = (
                Arc::clone(&seen_too),
                Arc::clone(&streams_too),
                Arc::clone(&alive_too),
            );
            let manner = manner.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = collect(body, usize::MAX, Duration::from_secs(50))
                    .await
                    .unwrap();
                seen.lock().unwrap().push(Seen {
                    method: parts.method,
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body: String::from_utf8(body.joined().into_owned()).unwrap(),
                });
                let turn = seen.lock().unwrap().len() - 1;
                let manner = match manner {
                    Manner::Turns(turns) => turns[turn.min(turns.len() - 1)].clone(),
                    other => other,
                };
                match manner {
                    Manner::Answer(status, text) => Response::builder()
                        .status(status)
                        .header("x-engine", "yes")
                        .body(Body::bytes(text))
                        .unwrap(),
                    Manner::After(pause) => {
                        tokio::time::sleep(pause).await;
                        Response::new(Body::bytes("late"))
                    }
                    Manner::Slowly(pause, text) => {
                        let (sender, body) = Body::channel(4);
                        tokio::spawn(async move {
                            let (now, later) = text.split_at(text.len() / 2);
                            let _ = sender.send(now).await;
                            tokio::select! {
                                () = tokio::time::sleep(pause) => {}
                                () = sender.closed() => drop(being),
                            }
                            let _ = sender.send(later).await;
                            sender.finish();
                        });
                        Response::new(body)
                    }
                    Manner::Events(text) => Response::builder()
                        .header("content-type", "text/event-stream")
                        .body(Body::bytes(text))
                        .unwrap(),
                    Manner::Turns(_) => unreachable!("turns do not nest"),
                    Manner::Silent => {
                        let _being = being;
                        std::future::pending().await
                    }
                    Manner::Stream | Manner::Plain => {
                        let (sender, body) = Body::channel(4);
                        streams.lock().unwrap().push(sender);
                        let kind = if matches!(manner, Manner::Stream) {
                            "text/event-stream"
                        } else {
                            "application/json"
                        };
                        Response::builder()
                            .header("content-type", kind)
                            .body(body)
                            .unwrap()
                    }
                }
            }
        };
        tokio::spawn(serve(
            bound,
            Arc::new(ServerOptions::default()),
            faults.clone(),
            drained,
            handler,
        ));
        Self {
            addr,
            faults,
            seen,
            alive,
            streams,
            _drain: starter,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a request has come, and returns it.
    pub(crate) async fn first(&self) -> Seen {
        soon(async {
            loop {
                if let Some(seen) = self.seen().first() {
                    return seen.clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// What it was asked to generate, health checks and the like left out.
    pub(crate) fn generations(&self) -> Vec<Seen> {
        let all = self.seen().into_iter();
        all.filter(|seen| seen.method == Method::POST).collect()
    }

    /// Waits until a stream has been started, and takes its sender.
    pub(crate) async fn stream(&self) -> pointsman_http::BodySender {
        soon(async {
            loop {
                if let Some(sender) = self.streams.lock().unwrap().pop() {
                    return sender;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Waits until no silent request is held any more.
    pub(crate) async fn is_left(&self) {
        soon(async {
            // One is held here, one by the handler itself.
            while Arc::strong_count(&self.alive) > 2 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Seen {
    /// Its request id.
    pub(crate) fn id(&self) -> String {
        self.headers["x-request-id"].to_str().unwrap().to_owned()
    }

    /// Its body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A URL at which nothing listens.
pub(crate) fn nowhere() -> String {
    let addr = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    format!("http://{addr}")
}

/// A proxy.
pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    pub(crate) faults: FaultSwitch,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
    proxy: Proxy,
    pool: Pool,
    _drain: DrainStarter,
}

pub(crate) fn config(prefill: &str, decode: &str) -> ProxyConfig {
    let mut config = ProxyConfig::new(ProxyKind::Fs, prefill, decode);
    config.prefill_name = "vllm-prefill-fs".to_owned();
    config.decode_name = "vllm-decode-fs".to_owned();
    config
}

/// The same pair under another dialect.
pub(crate) fn spoken(kind: ProxyKind, prefill: &str, decode: &str) -> ProxyConfig {
    let mut config = ProxyConfig::new(kind, prefill, decode);
    config.prefill_name = "p".to_owned();
    config.decode_name = "d".to_owned();
    config
}

/// A further engine of this name.
pub(crate) fn more(url: &str, name: &str) -> EngineAddress {
    EngineAddress {
        url: url.to_owned(),
        name: name.to_owned(),
    }
}

impl Front {
    pub(crate) fn start(prefill: &str, decode: &str) -> Self {
        Self::with(config(prefill, decode))
    }

    pub(crate) fn with(mut config: ProxyConfig) -> Self {
        let bound = bind("127.0.0.1:0".parse().unwrap(), "proxy").unwrap();
        let addr = bound.local_addr();
        let (starter, drained) = drain();
        let faults = FaultSwitch::default();
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&warnings);
        config.on_warning = Some(Arc::new(move |line| {
            heard.lock().unwrap().push(line.to_owned())
        }));
        let proxy = Proxy::new(config, faults.clone()).unwrap();
        let serving = proxy.clone();
        let handler = move |request, peer| {
            let proxy = serving.clone();
            async move { proxy.handle(request, peer).await }
        };
        tokio::spawn(serve(
            bound,
            Arc::new(ServerOptions::default()),
            faults.clone(),
            drained,
            handler,
        ));
        Self {
            addr,
            faults,
            warnings,
            proxy,
            pool: Pool::new(ClientOptions::default()),
            _drain: starter,
        }
    }

    pub(crate) fn tally(&self) -> TallyView {
        self.proxy.tally().view()
    }

    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: &str,
    ) -> (Response<()>, String) {
        let request = request
            .header("host", "front")
            .body(Body::bytes(body.to_owned()))
            .unwrap();
        let (parts, body) = soon(self.pool.send(self.addr, request))
            .await
            .unwrap()
            .into_parts();
        let frames = soon(collect(body, usize::MAX, Duration::from_secs(50)))
            .await
            .unwrap();
        (
            Response::from_parts(parts, ()),
            String::from_utf8(frames.joined().into_owned()).unwrap(),
        )
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (Response<()>, String) {
        self.send(
            Request::post(path).header("content-type", "application/json"),
            body,
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> (Response<()>, String) {
        self.send(Request::get(path), "").await
    }

    /// A connection on which a chat request was sent, nothing read.
    pub(crate) async fn raw_chat(&self, body: &str) -> Raw {
        self.raw(body, "").await
    }

    /// The same; the request is part of this trace.
    pub(crate) async fn raw_traced(&self, body: &str, parent: &str) -> Raw {
        self.raw(body, &format!("traceparent: {parent}\r\n")).await
    }

    async fn raw(&self, body: &str, fields: &str) -> Raw {
        let mut raw = Raw(soon(TcpStream::connect(self.addr)).await.unwrap());
        raw.write(&format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        raw
    }
}

/// A client that writes and reads bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn write(&mut self, text: &str) {
        soon(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(end) {
            let mut piece = [0; 4096];
            let len = soon(self.0.read(&mut piece)).await.unwrap();
            assert_ne!(len, 0, "closed after {seen:?}");
            seen.push_str(std::str::from_utf8(&piece[..len]).unwrap());
        }
        seen
    }

    /// Reads to the end; the second value says whether the end was an orderly close.
    pub(crate) async fn read_to_end(&mut self) -> (String, bool) {
        let mut seen = String::new();
        loop {
            let mut piece = [0; 4096];
            match soon(self.0.read(&mut piece)).await {
                Ok(0) => return (seen, true),
                Ok(len) => seen.push_str(std::str::from_utf8(&piece[..len]).unwrap()),
                Err(_) => return (seen, false),
            }
        }
    }
}

/// The members of an error body.
#[track_caller]
pub(crate) fn error_code(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    let error = value["error"].as_object().unwrap();
    let mut members: Vec<_> = error.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["code", "message", "param", "type"], "{body}");
    error["code"].as_str().unwrap().to_owned()
}
