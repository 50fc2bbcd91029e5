//! One keep-alive connection of the load client: a request out, an answer in, one at a time.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::chunks::Chunks;
use crate::head::{Framing, Head};
use crate::load::answer::{Answer, Failure, Tokens};
use crate::load::body::Body;
use crate::load::tally::Tally;

/// Bytes read at once, and the longest head.
const READ: usize = 16 * 1024;

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(READ),
        })
    }

    /// Sends a request and reads its answer. Tokens that come while `tally` is open are marked so.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        stream: bool,
        tally: &RefCell<Tally>,
    ) -> Result<Answer, Failure> {
        self.buffer.clear();
        let sent = self.stream.write_all(request).await;
        sent.map_err(|error| Failure::from(error).unheard())?;
        let (status, framing, close, head_len, endpoint) = loop {
            let heard = !self.buffer.is_empty();
            let filled = self.fill("the connection ended before the answer").await;
            filled.map_err(|failure| if heard { failure } else { failure.unheard() })?;
            if let Some(head) = Head::read(&self.buffer) {
                let status = head
                    .status()
                    .ok_or_else(|| Failure::protocol("not an HTTP/1 answer"))?;
                if status == 100 {
                    let len = head.len;
                    self.buffer.drain(..len);
                    continue;
                }
                let endpoint = head.endpoint.unwrap_or_default().to_vec();
                break (status, head.framing, head.close, head.len, endpoint);
            }
            if self.buffer.len() >= READ {
                return Err(Failure::protocol("the head is too long"));
            }
        };
        let mut body = Body::new(framing, status, stream && status == 200);
        let mut first = None;
        let mut tokens = Tokens::default();
        let mut start = head_len;
        loop {
            let (bytes, arrived) = (body.bytes, body.arrived());
            body.take(&self.buffer[start..])?;
            if body.bytes > bytes {
                let now = Instant::now();
                first.get_or_insert(now);
                if body.events.is_some() {
                    let open = tally.borrow().is_open();
                    tokens.arrived(body.arrived() - arrived, now, open);
                }
            }
            if body.done() {
                break;
            }
            self.buffer.clear();
            start = 0;
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if framing == Framing::Unsaid {
                    break;
                }
                return Err(Failure::protocol("the connection ended inside the answer"));
            }
        }
        // The end of a chunked body may come alone, after its last payload.
        let last = Instant::now();
        tokens.told = body.usage();
        Ok(Answer {
            status,
            tokens,
            streamed: body.events.is_some(),
            told_error: body.events.as_ref().is_some_and(|events| events.told_error),
            complete: body.complete(),
            close: close || framing == Framing::Unsaid,
            endpoint,
            first: first.unwrap_or(last),
            last,
            beginning: body.beginning,
        })
    }

    async fn fill(&mut self, at_end: &str) -> Result<(), Failure> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(Failure::protocol(at_end));
        }
        Ok(())
    }
}

/// Sends one request on a connection of its own and collects the answer.
pub(crate) async fn once(target: SocketAddr, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut connection = Connection::open(target).await?;
    connection.stream.write_all(request).await?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed answer");
    let buffer = &mut connection.buffer;
    loop {
        let ended = connection.stream.read_buf(buffer).await? == 0;
        if let Some(head) = Head::read(buffer) {
            let status = head.status().ok_or_else(malformed)?;
            let rest = &buffer[head.len..];
            let mut body = Vec::new();
            let whole = match head.framing {
                Framing::Length(length) => {
                    body.extend_from_slice(rest);
                    rest.len() as u64 >= length
                }
                Framing::Chunked => {
                    let mut chunks = Chunks::new();
                    chunks
                        .feed(rest, |piece| body.extend_from_slice(piece))
                        .map_err(|_| malformed())?;
                    chunks.done()
                }
                Framing::Unsaid => {
                    body.extend_from_slice(rest);
                    ended
                }
            };
            if whole {
                return Ok((status, body));
            }
        }
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
