//! A server's socket that lets only clean requests through to the parser.
//!
//! The bytes are looked at as they arrive. The bytes of an HTTP/1.1 head are held until the head is whole and good; in the place of a bad
//! one the parser gets a request of our own ([`STANDS_FOR_REFUSED`]), which is answered in its turn with the refusal, so that answers keep
//! their order. A body that goes wrong becomes a read error. An HTTP/2 client that makes work for nothing is cut off (`calm.rs`). Whatever
//! such a client still sends is thrown away, for a moment also after the answer, since a close with unread bytes would destroy it.
//!
//! The cost is one pass over heads and frame headers. Bytes are read into the parser's own buffer and taken back out of it only where they
//! have to wait, so a body is never copied.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::calm::Calm;
use crate::framing::Framing;
use crate::link::Link;
use crate::offence::Offence;

/// The method of the request that stands for a refused one; no client's request with it gets here.
pub(crate) const STANDS_FOR_REFUSED: &str = "-";
const STAND_IN: &[u8] = b"- / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

const SCRATCH: usize = 64 * 1024;
/// How long, and how much, an offender is listened to after its answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

thread_local! {
    // One for all connections of a worker: bytes stay in it only during a read.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Which HTTP is looked at.
#[derive(Debug)]
enum Eye {
    Http1(Framing),
    Http2(Calm),
}

/// What the parser still gets.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// What the client sends.
    Client,
    /// A read error.
    Error(&'static str),
    /// Nothing.
    Silence,
}

/// A [`Link`] to a client, looked through.
#[derive(Debug)]
pub struct Guarded {
    link: Link,
    eye: Eye,
    turn: Turn,
    /// Bytes of a head that is not whole, and how many of them have been seen.
    held: Vec<u8>,
    seen: usize,
    /// Bytes that may pass and have not been taken.
    ready: Vec<u8>,
    taken: usize,
    linger: Option<Pin<Box<Sleep>>>,
    thrown: usize,
}

impl Guarded {
    /// Guards an HTTP/1.1 connection.
    pub fn http1(link: Link, framing: Framing) -> Self {
        Self::new(link, Eye::Http1(framing))
    }

    /// Guards an HTTP/2 connection whose client may make so much work without a request.
    pub fn http2(link: Link, allowance: f64) -> Self {
        Self::new(link, Eye::Http2(Calm::new(allowance, Instant::now())))
    }

    fn new(link: Link, eye: Eye) -> Self {
        Self {
            link,
            eye,
            turn: Turn::Client,
            held: Vec::new(),
            seen: 0,
            ready: Vec::new(),
            taken: 0,
            linger: None,
            thrown: 0,
        }
    }

    /// Hands over what may pass.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.ready[self.taken..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.taken += len;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
    }

    /// Sorts the bytes of `buf` from `before` on into those that pass now, which stay, those that are held, and those
    /// that never pass.
    fn sort(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buf.filled()[before..];
        match &mut self.eye {
            Eye::Http2(calm) => {
                if let Err(good) = calm.inspect(bytes, Instant::now()) {
                    buf.set_filled(before + good);
                    self.ready = calm.poison();
                    self.turn = Turn::Silence;
                }
            }
            Eye::Http1(framing) if self.held.is_empty() => {
                let step = framing.inspect(bytes);
                match step.offence {
                    None => {
                        self.held.extend_from_slice(&bytes[step.pass..]);
                        self.seen = step.seen - step.pass;
                    }
                    Some(offence) => self.refuse(offence),
                }
                buf.set_filled(before + step.pass);
            }
            Eye::Http1(framing) => {
                self.held.extend_from_slice(bytes);
                buf.set_filled(before);
                let step = framing.inspect(&self.held[self.seen..]);
                if step.pass > 0 {
                    let rest = self.held.split_off(self.seen + step.pass);
                    self.ready = std::mem::replace(&mut self.held, rest);
                    self.seen = step.seen - step.pass;
                } else {
                    self.seen += step.seen;
                }
                if let Some(offence) = step.offence {
                    self.refuse(offence);
                }
            }
        }
    }

    fn refuse(&mut self, offence: Offence) {
        let in_head = matches!(&self.eye, Eye::Http1(framing) if framing.is_in_head());
        self.held = Vec::new();
        if in_head {
            self.link.pulse().offend(offence);
            self.ready.extend_from_slice(STAND_IN);
            self.turn = Turn::Silence;
        } else {
            self.link.pulse().spoil();
            self.turn = Turn::Error(offence.text);
        }
    }

    /// Reads and throws away; ready at the end of what the client sends, or when it has sent too much.
    fn poll_throw_away(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ROOM.with_borrow_mut(|room| {
            while self.thrown < LINGER_BYTES {
                match ready!(poll_into(&mut self.link, room, cx)) {
                    Ok(len) if len > 0 => self.thrown += len,
                    _ => break,
                }
            }
            Poll::Ready(())
        })
    }
}

fn poll_into(link: &mut Link, room: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut read = ReadBuf::new(room);
    ready!(Pin::new(link).poll_read(cx, &mut read))?;
    Poll::Ready(Ok(read.filled().len()))
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.taken < this.ready.len() {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match this.turn {
                Turn::Client => {}
                Turn::Error(text) => {
                    this.turn = Turn::Silence;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Turn::Silence => {
                    // A client that leaves, or floods, meanwhile ends the connection as it would have without the offence.
                    ready!(this.poll_throw_away(cx));
                    return Poll::Ready(Ok(()));
                }
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.link).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.sort(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.link).poll_shutdown(cx))?;
        if self.turn == Turn::Client {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let over = this
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)))
            .as_mut()
            .poll(cx);
        if over.is_pending() {
            ready!(this.poll_throw_away(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write_vectored(cx, bufs)
    }
}
