//! A bound listening socket: it has a name, it can be shared by workers, and it can be closed and opened again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

const BACKLOG: i32 = 4096;

/// When a silent peer is asked whether it is still there, how often, and how many times in vain. A host that vanishes closes
/// nothing: without this, the requests of its connections would count in flight for ever.
const SILENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(10);
const IN_VAIN: u32 = 3;

/// The address could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for {name}: {source}")]
pub struct BindError {
    /// What was to listen there.
    pub name: String,
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// A listening socket with the name of what listens.
#[derive(Debug)]
pub struct Bound {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    addr: SocketAddr,
    /// None while closed.
    listener: Mutex<Option<TcpListener>>,
}

/// Takes an address: `SO_REUSEADDR`, a backlog of 4096, peers that vanished are noticed. Port 0 takes a free one, see [`Bound::local_addr`].
///
/// # Errors
/// [`BindError`], with the name in its text.
pub fn bind(addr: SocketAddr, name: &str) -> Result<Bound, BindError> {
    let fail = |source| BindError {
        name: name.to_owned(),
        addr,
        source,
    };
    let listener = open(addr).map_err(fail)?;
    let addr = listener.local_addr().map_err(fail)?;
    Ok(Bound {
        shared: Arc::new(Shared {
            name: name.to_owned(),
            addr,
            listener: Mutex::new(Some(listener)),
        }),
    })
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit it from the socket that accepts them.
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(SILENCE)
            .with_interval(AGAIN)
            .with_retries(IN_VAIN),
    )?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How many connections a server may hold so that each can have one upstream connection too, from this process's limit of open files.
pub fn connection_budget() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    (limit.saturating_sub(32) / 2).clamp(4, 10_000)
}

impl Bound {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// The name it was bound with.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The same socket for another worker; all accept from one queue.
    ///
    /// # Errors
    /// None today; the signature leaves room for a socket per worker.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            shared: Arc::clone(&self.shared),
        })
    }

    /// A listener on the current runtime. Opens the socket again when it was closed.
    pub(crate) fn listen(&self) -> io::Result<tokio::net::TcpListener> {
        let mut listener = self.shared.listener.lock();
        let own = match &*listener {
            Some(open) => open.try_clone()?,
            None => listener.insert(open(self.shared.addr)?).try_clone()?,
        };
        tokio::net::TcpListener::from_std(own)
    }

    /// Closes the socket for all workers; each must also drop its own listener before connections are refused.
    pub(crate) fn close(&self) {
        *self.shared.listener.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_peer_that_vanishes_is_noticed() {
        let bound = bind(([127, 0, 0, 1], 0).into(), "test").unwrap();
        let listener = bound.listen().unwrap();
        let _client = std::net::TcpStream::connect(bound.local_addr()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), AGAIN);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), IN_VAIN);
    }
}
