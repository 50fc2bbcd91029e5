//! A mock model server that costs almost nothing: many endpoints in one thread, answers made of prepared bytes.
//!
//! It speaks HTTP/1.1 by hand over sockets and knows `POST /v1/completions` and `/v1/chat/completions` (JSON, or SSE
//! with one write per token; as many tokens as `max_tokens` says, 16 when it does not), `GET /v1/models`, `/health`,
//! `/metrics` (about 20 kB, as long as a real vLLM's, with its own requests in flight) and
//! `GET /mock/pace?ttft_us=N&itl_us=N`, which sets the pace of every endpoint. Each answer says in `x-endpoint` who
//! gave it. It does not check requests.

mod answers;
mod connection;
mod exposition;
mod pace;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::mock::connection::{Endpoint, serve};
use crate::mock::pace::Pace;

/// What to mock.
#[derive(Debug, Clone)]
pub struct MockOptions {
    /// Address of the first endpoint; the others follow on the next ports. Port 0: each on a free port of its own.
    pub listen: SocketAddr,
    /// Number of endpoints; they are named `m0`, `m1`, ...
    pub count: u16,
    /// Time from the end of the request to the first token.
    pub ttft: Duration,
    /// Time between two tokens; zero writes them as fast as the socket takes them, still one write each.
    pub itl: Duration,
    /// The name that `/v1/models` and the answers give.
    pub model: String,
}

impl Default for MockOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            count: 1,
            ttft: Duration::ZERO,
            itl: Duration::ZERO,
            model: "bench-model".to_owned(),
        }
    }
}

/// Mock endpoints that listen.
#[derive(Debug)]
pub struct Mock {
    endpoints: Vec<(TcpListener, SocketAddr)>,
    options: MockOptions,
}

impl Mock {
    /// Binds every endpoint; fails at the first port that is taken and names it.
    pub async fn bind(options: MockOptions) -> io::Result<Self> {
        let mut endpoints = Vec::new();
        for index in 0..options.count {
            let mut address = options.listen;
            if address.port() != 0 {
                let port = address.port().checked_add(index);
                address.set_port(
                    port.ok_or_else(|| io::Error::other("more endpoints than ports above"))?,
                );
            }
            let listener = TcpListener::bind(address).await.map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("mock cannot listen on {address}: {error}"),
                )
            })?;
            let bound = listener.local_addr()?;
            endpoints.push((listener, bound));
        }
        Ok(Self { endpoints, options })
    }

    /// Where the endpoints listen, in the order of their names.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().map(|(_, address)| *address).collect()
    }

    /// Serves until it is dropped. Runs on the thread that polls it.
    pub async fn run(self) {
        let pace = Rc::new(Pace::new(self.options.ttft, self.options.itl));
        let tasks = tokio::task::LocalSet::new();
        for (index, (listener, _)) in self.endpoints.into_iter().enumerate() {
            let endpoint = Rc::new(Endpoint::new(index, &self.options.model, pace.clone()));
            tasks.spawn_local(accept(listener, endpoint));
        }
        tasks.await;
    }
}

async fn accept(listener: TcpListener, endpoint: Rc<Endpoint>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(serve(stream, endpoint.clone()));
            }
            // Out of file descriptors, or the peer was gone already: the next one may be served again.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
