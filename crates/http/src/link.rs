//! A socket, with a pulse that others can feel.
//!
//! The pulse says whether bytes came, whether writing is stuck, and lets the owner of the connection ask for a hard reset instead of an
//! orderly close. It adds a relaxed atomic store per read and write, nothing else.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::offence::Offence;

/// What can be felt of a socket from outside. All orderings are relaxed: the numbers are looked at from the same task, or as a hint.
#[derive(Debug, Default)]
pub struct Pulse {
    reads: AtomicU32,
    writes: AtomicU32,
    stuck: AtomicBool,
    reset: AtomicBool,
    offence: OnceLock<Offence>,
    spoiled: AtomicBool,
}

impl Pulse {
    /// How many reads brought bytes (wraps).
    pub fn reads(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many writes took bytes (wraps).
    pub fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether the last write found the socket full.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Lets the socket be reset, not closed in order, when the connection is dropped.
    pub fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Notes what the client did wrong; only the first counts.
    pub fn offend(&self, offence: Offence) {
        // Nothing follows an offence, so a second one has nobody to tell.
        let _ = self.offence.set(offence);
    }

    /// Notes that the body being read cannot be read to its end, so that nothing can follow its answer.
    pub fn spoil(&self) {
        self.spoiled.store(true, Ordering::Relaxed);
    }

    /// Whether the body being read went wrong.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed)
    }

    /// What the client did wrong.
    pub fn offence(&self) -> Option<Offence> {
        self.offence.get().copied()
    }
}

/// What a link runs over.
#[derive(Debug)]
pub enum Wire {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A connection with a pulse.
#[derive(Debug)]
pub struct Link {
    io: Wire,
    pulse: Arc<Pulse>,
}

impl Link {
    /// Wraps a connected stream.
    pub fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self::over(Wire::Plain(stream), pulse)
    }

    /// Wraps what is connected.
    pub fn over(io: Wire, pulse: Arc<Pulse>) -> Self {
        Self { io, pulse }
    }

    /// What others feel of it.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pulse
            .stuck
            .store(result.is_pending(), Ordering::Relaxed);
        if result.is_ready() {
            bump(&self.pulse.writes);
        }
        result
    }
}

/// Only the connection's own task counts, so a load and a store do; a locked addition would cost ten times as much.
fn bump(counter: &AtomicU32) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.pulse.reset.load(Ordering::Relaxed) {
            // Closing with a linger time of zero sends a reset. If that fails the close is merely orderly.
            let _ = socket2::SockRef::from(self.io.socket())
                .set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = match &mut self.io {
            Wire::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Wire::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        if result.is_ready() {
            bump(&self.pulse.reads);
        }
        result
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.io {
            Wire::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Wire::Tls(io) => Pin::new(io).poll_write(cx, buf),
        };
        self.wrote(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Wire::Plain(io) => Pin::new(io).poll_flush(cx),
            Wire::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Wire::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Wire::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Wire::Plain(io) => io.is_write_vectored(),
            Wire::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.io {
            Wire::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Wire::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        self.wrote(result)
    }
}
