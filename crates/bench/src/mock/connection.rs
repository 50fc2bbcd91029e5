//! One connection of the mock: request, answer, request, ... until either side ends it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::alarm::Alarm;
use crate::chunks::Chunks;
use crate::head::{Framing, Head};
use crate::mock::answers::{Call, Prepared, Wish, plain};
use crate::mock::exposition::{gauges, padding};
use crate::mock::pace::Pace;

/// A head longer than this is not one.
const HEAD_LIMIT: usize = 64 * 1024;

/// What the connections of one endpoint share.
pub(crate) struct Endpoint {
    name: String,
    model: String,
    completion: Prepared,
    chat: Prepared,
    padding: String,
    running: Cell<u32>,
    pace: Rc<Pace>,
}

impl Endpoint {
    pub(crate) fn new(index: usize, model: &str, pace: Rc<Pace>) -> Self {
        let name = format!("m{index}");
        Self {
            completion: Prepared::new(Call::Completion, &name, model),
            chat: Prepared::new(Call::Chat, &name, model),
            padding: padding(model),
            running: Cell::new(0),
            model: model.to_owned(),
            name,
            pace,
        }
    }
}

/// A request in flight, until it is dropped.
struct Running<'a>(&'a Cell<u32>);

impl<'a> Running<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What to answer, free of the buffer the request lies in.
enum Asked {
    Tokens(Call, Wish, usize),
    Models,
    Health,
    Metrics,
    Paced(bool),
    Unknown,
}

/// Serves a connection to its end; errors end it too, for the peer is the one that is measured.
pub(crate) async fn serve(stream: TcpStream, endpoint: Rc<Endpoint>) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream,
        buffer: Vec::with_capacity(8192),
        out: Vec::with_capacity(1024),
        alarm: None,
    };
    while let Ok(true) = connection.exchange(&endpoint).await {}
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    out: Vec<u8>,
    alarm: Option<Alarm>,
}

impl Connection {
    /// Answers one request; false when the connection has ended or should.
    async fn exchange(&mut self, endpoint: &Endpoint) -> io::Result<bool> {
        let (framing, head_len, close, expects_continue) = loop {
            if let Some(head) = Head::read(&self.buffer) {
                break (head.framing, head.len, head.close, head.expects_continue);
            }
            if self.buffer.len() > HEAD_LIMIT || self.stream.read_buf(&mut self.buffer).await? == 0
            {
                return Ok(false);
            }
        };
        if expects_continue {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
        }
        let (asked, used) = match framing {
            Framing::Chunked => self.read_chunked(head_len, endpoint).await?,
            Framing::Length(length) => {
                let total = head_len.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                self.buffer
                    .reserve_exact(total.min(64 << 20).saturating_sub(self.buffer.len()));
                while self.buffer.len() < total {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Ok(false);
                    }
                }
                let body = &self.buffer[head_len..total];
                (asked(&self.buffer, body, endpoint), total)
            }
            Framing::Unsaid => (asked(&self.buffer, b"", endpoint), head_len),
        };
        if used >= self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..used);
        }
        self.answer(asked, endpoint).await?;
        Ok(!close)
    }

    /// Reads a chunked body; the request and how many bytes of the buffer were its.
    async fn read_chunked(
        &mut self,
        head_len: usize,
        endpoint: &Endpoint,
    ) -> io::Result<(Asked, usize)> {
        let (mut chunks, mut body, mut used) = (Chunks::new(), Vec::new(), head_len);
        loop {
            used += chunks
                .feed(&self.buffer[used..], |bytes| body.extend_from_slice(bytes))
                .map_err(|_| io::Error::other("request body is not chunked"))?;
            if chunks.done() {
                return Ok((asked(&self.buffer, &body, endpoint), used));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn answer(&mut self, asked: Asked, endpoint: &Endpoint) -> io::Result<()> {
        let name = endpoint.name.as_str();
        let json = "application/json";
        self.out.clear();
        match asked {
            Asked::Tokens(call, wish, prompt_bytes) => {
                let _running = Running::new(&endpoint.running);
                let prepared = match call {
                    Call::Completion => &endpoint.completion,
                    Call::Chat => &endpoint.chat,
                };
                if wish.stream {
                    return self
                        .stream_tokens(prepared, wish.tokens, &endpoint.pace)
                        .await;
                }
                let rest = endpoint.pace.itl() * wish.tokens.saturating_sub(1);
                self.wait(Instant::now() + endpoint.pace.ttft() + rest)
                    .await?;
                prepared.json(wish.tokens, prompt_bytes, &mut self.out);
            }
            Asked::Models => {
                let body = format!(
                    "{{\"object\":\"list\",\"data\":[{{\"id\":\"{}\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"mock\"}}]}}",
                    endpoint.model
                );
                plain("200 OK", json, name, body.as_bytes(), &mut self.out);
            }
            Asked::Health => plain("200 OK", "text/plain", name, b"", &mut self.out),
            Asked::Metrics => {
                let mut page = gauges(&endpoint.model, endpoint.running.get());
                page.push_str(&endpoint.padding);
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                plain("200 OK", kind, name, page.as_bytes(), &mut self.out);
            }
            Asked::Paced(true) => plain("200 OK", json, name, b"{}", &mut self.out),
            Asked::Paced(false) => plain(
                "400 Bad Request",
                "text/plain",
                name,
                b"the mock knows ttft_us=N and itl_us=N\n",
                &mut self.out,
            ),
            Asked::Unknown => plain(
                "404 Not Found",
                "text/plain",
                name,
                b"the mock has no such path\n",
                &mut self.out,
            ),
        }
        self.stream.write_all(&self.out).await
    }

    /// One write per token; `[DONE]` goes with the last one.
    async fn stream_tokens(
        &mut self,
        prepared: &Prepared,
        tokens: u32,
        pace: &Pace,
    ) -> io::Result<()> {
        let first = Instant::now() + pace.ttft();
        let itl = pace.itl();
        self.wait(first).await?;
        self.out.extend_from_slice(&prepared.stream_head);
        for index in 0..tokens {
            if index > 0 {
                if itl.is_zero() {
                    // Lets the other streams write theirs, so that a reader does not find several tokens at once.
                    tokio::task::yield_now().await;
                } else {
                    // A grain of a millisecond is fine between tokens, and by far the cheapest timer.
                    tokio::time::sleep_until((first + itl * index).into()).await;
                }
            }
            self.out.extend_from_slice(&prepared.token);
            if index + 1 < tokens {
                self.stream.write_all(&self.out).await?;
                self.out.clear();
            }
        }
        self.out.extend_from_slice(&prepared.done);
        self.stream.write_all(&self.out).await
    }

    async fn wait(&mut self, until: Instant) -> io::Result<()> {
        if until <= Instant::now() {
            return Ok(());
        }
        if self.alarm.is_none() {
            self.alarm = Some(Alarm::new()?);
        }
        match &self.alarm {
            Some(alarm) => alarm.until(until).await,
            None => Ok(()),
        }
    }
}

/// What the request at the start of `buffer` wants.
fn asked(buffer: &[u8], body: &[u8], endpoint: &Endpoint) -> Asked {
    let line = &buffer[..memchr::memchr(b'\r', buffer).unwrap_or(0)];
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"POST"), Some(b"/v1/completions")) => {
            Asked::Tokens(Call::Completion, Wish::read(body), body.len())
        }
        (Some(b"POST"), Some(b"/v1/chat/completions")) => {
            Asked::Tokens(Call::Chat, Wish::read(body), body.len())
        }
        (Some(b"GET"), Some(b"/v1/models")) => Asked::Models,
        (Some(b"GET"), Some(b"/health")) => Asked::Health,
        (Some(b"GET"), Some(b"/metrics")) => Asked::Metrics,
        (Some(b"GET"), Some(path)) => match path.strip_prefix(b"/mock/pace?") {
            Some(query) => {
                Asked::Paced(std::str::from_utf8(query).is_ok_and(|query| endpoint.pace.set(query)))
            }
            None => Asked::Unknown,
        },
        _ => Asked::Unknown,
    }
}
