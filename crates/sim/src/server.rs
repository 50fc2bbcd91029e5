//! One simulated model server: the engine behind vLLM's HTTP interface, in real time.
//!
//! The way of a request: read and checked ([`ask`]), length planned ([`answer_text`]), KV of another
//! server looked up ([`transfers`], [`peer`]), each choice into the engine ([`host`]), answered whole ([`answer`]) or
//! as a stream ([`answer_body`]). When the client leaves, the answer is dropped and with it the
//! request's seat, which aborts it in the engine.
//!
//! Not here: logprobs, KV events.

pub mod tokens;

pub mod answer_text;

pub mod api_error;

pub mod ask;

pub mod answer;

pub mod progress;

pub mod transfers;

pub mod peer;

pub mod histogram;

pub mod metrics;

pub mod fake;

pub mod chance;

pub mod adapters;

pub mod mishap;

pub mod embeddings;

pub mod host;

pub mod tools;

pub mod arguments;

pub mod tool_calls;

pub mod lane;

pub mod answer_body;

pub mod timeline;

pub mod admin;

pub mod desk;

mod handoff;

pub mod generate;

pub mod responses;

pub mod routes;

use std::sync::Arc;

use parking_lot::Mutex;
use pointsman_http::{Bound, ClientOptions, Drain, FaultSwitch, Pool, ServerOptions, serve};

use crate::flags::SimConfig;
use crate::server::desk::Desk;
use crate::server::host::Host;
use crate::server::transfers::TransferRegistry;
use crate::settings::{Settings, fault::SettingsError};

/// What simulated servers of one process share.
#[derive(Clone, Debug, Default)]
pub struct SimShared {
    /// Computed prompts: give the servers of a pair the same one.
    pub registry: TransferRegistry,
    /// The switch for this server's faults; one of its own for each.
    pub faults: FaultSwitch,
}

/// A simulated model server, ready to serve.
#[derive(Clone, Debug)]
pub struct Sim {
    host: Arc<Host>,
    max_connections: usize,
}

impl Sim {
    /// A server with these flags; its engine's time starts now.
    pub fn new(config: &SimConfig, shared: SimShared) -> Result<Self, SettingsError> {
        let settings = Settings::resolve(config)?;
        let host = Host::new(settings, shared.faults, shared.registry);
        Ok(Self {
            host: Arc::new(host),
            max_connections: ServerOptions::default().max_connections,
        })
    }

    /// Bounds the connections that are open at once.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Serves until drained. Dropping the future ends everything at once.
    pub async fn serve(self, bound: Bound, drain: Drain) {
        let options = ServerOptions {
            max_connections: self.max_connections,
            ..ServerOptions::default()
        };
        let desk = Arc::new(Desk {
            host: Arc::clone(&self.host),
            pool: Pool::new(ClientOptions::default()),
            port: bound.local_addr().port(),
            vocabulary: Mutex::default(),
        });
        let handler = move |request, peer| {
            let desk = Arc::clone(&desk);
            async move { routes::answer(desk, request, peer).await }
        };
        tokio::select! {
            () = serve(bound, Arc::new(options), self.host.faults.clone(), drain, handler) => {}
            () = self.host.run() => {}
        }
    }
}

/// Runs one server until drained: [`Sim::new`] and [`Sim::serve`] in one.
pub async fn serve_sim(
    bound: Bound,
    config: SimConfig,
    shared: SimShared,
    drain: Drain,
) -> Result<(), SettingsError> {
    Sim::new(&config, shared)?.serve(bound, drain).await;
    Ok(())
}
