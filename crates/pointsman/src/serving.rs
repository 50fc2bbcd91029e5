//! Threads, runtimes and signals: how doors are started and brought to a good end.
//!
//! Each gateway worker is a thread with a runtime of its own, which accepts from the shared listening socket and
//! keeps its own connections, table and ring. Control work (admin, scraping, discovery, signals) runs on the main thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use pointsman_http::{
    Bound, ClientOptions, Drain, DrainStarter, FaultSwitch, Peer, ServerOptions, Tls, bind, drain,
    serve,
};
use pointsman_serve::admin::guard::Guard;
use pointsman_serve::admin::server::{Admin, handle as answer_admin};
use pointsman_serve::admission::keeper::keep;
use pointsman_serve::door::extproc::settings::Settings;
use pointsman_serve::door::extproc::{self, server_options};
use pointsman_serve::door::gateway::handle;
use pointsman_serve::door::limits::GatewayLimits;
use pointsman_serve::readiness::Readiness;
use pointsman_serve::router::Router;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Longest time that answers under way are given to end after the first signal.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Time from readiness until what only the start needed is given back: first scrapes and health checks are over by then.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A runtime for one thread.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

/// Listens on `address`, or says plainly which flag (written with its value) changes it.
pub(crate) fn listen(address: SocketAddr, what: &str, flag: &str) -> anyhow::Result<Bound> {
    bind(address, what).map_err(|error| match error.source.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("the {what} cannot listen on {address}: the port is in use; choose another with {flag}")
        }
        _ => anyhow!("the {what} cannot listen on {address}: {}; choose another address with {flag}", error.source),
    })
}

/// A thread that runs until it is drained.
pub(crate) struct Worker {
    thread: JoinHandle<()>,
}

impl Worker {
    /// Runs `work` on a thread with its own runtime.
    pub(crate) fn start<F>(name: &str, work: F) -> anyhow::Result<Self>
    where
        F: AsyncFnOnce() + Send + 'static,
    {
        let runtime = runtime()?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(work()))
            .with_context(|| format!("cannot start the thread '{name}'"))?;
        Ok(Self { thread })
    }

    /// Whether it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts the gateway's workers on one socket, and the one that says who is let in.
pub(crate) fn start_gateway(
    router: &Arc<Router>,
    bound: Bound,
    workers: usize,
    limits: GatewayLimits,
    fds_per_request: usize,
    drain: &Drain,
) -> anyhow::Result<Vec<Worker>> {
    let budget = connection_budget(fds_per_request) / workers;
    let options = Arc::new(ServerOptions {
        max_connections: budget.max(4),
        ..ServerOptions::default()
    });
    let client = ClientOptions {
        max_idle_per_host: budget.clamp(4, 1024),
        ..ClientOptions::default()
    };
    let keeper = keeper(router, drain);
    (0..workers)
        .map(|number| {
            let lane = router.add_lane(workers, client.clone());
            let (bound, options, drain) = (bound.try_clone()?, Arc::clone(&options), drain.clone());
            Worker::start(&format!("gateway-{number}"), async move || {
                let handler = move |request, peer| handle(Arc::clone(&lane), limits, request, peer);
                serve(bound, options, FaultSwitch::default(), drain, handler).await;
            })
        })
        .chain([keeper])
        .collect()
}

/// The thread that says who is let in.
fn keeper(router: &Arc<Router>, drain: &Drain) -> anyhow::Result<Worker> {
    let (router, drain) = (Arc::clone(router), drain.clone());
    Worker::start("admission", async move || keep(router, drain).await)
}

/// Starts the picker's workers on one socket, and the one that says who is let in. With `health` the health service is
/// there too.
pub(crate) fn start_extproc(
    router: &Arc<Router>,
    bound: Bound,
    workers: usize,
    settings: &Arc<Settings>,
    health: Option<&Readiness>,
    tls: Option<&Tls>,
    drain: &Drain,
) -> anyhow::Result<Vec<Worker>> {
    let options = Arc::new(ServerOptions {
        max_connections: (connection_budget(2) / workers).max(4),
        tls: tls.cloned(),
        ..server_options()
    });
    (0..workers)
        .map(|number| {
            let lane = router.add_lane(workers, ClientOptions::default());
            let (bound, options, drain) = (bound.try_clone()?, Arc::clone(&options), drain.clone());
            let (settings, health) = (Arc::clone(settings), health.cloned());
            Worker::start(&format!("epp-{number}"), async move || {
                let handler = move |request, _| {
                    let (lane, settings) = (Arc::clone(&lane), Arc::clone(&settings));
                    extproc::handle(lane, settings, health.clone(), request)
                };
                serve(bound, options, FaultSwitch::default(), drain, handler).await;
            })
        })
        .chain([keeper(router, drain)])
        .collect()
}

/// Client connections that can be served when each needs `per_request` file descriptors in this process.
pub(crate) fn connection_budget(per_request: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(1 << 20, |limit| limit as usize);
    (limit.saturating_sub(32) / per_request).clamp(4, 10_000)
}

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// The admin port and readiness.
pub(crate) struct Control {
    /// Whether new requests are welcome.
    pub(crate) ready: Readiness,
    drain: Drain,
}

impl Control {
    /// Control over what `drain` ends.
    pub(crate) fn new(drain: Drain) -> Self {
        Self {
            ready: Readiness::default(),
            drain,
        }
    }

    /// Serves the health service of gRPC on the current runtime.
    pub(crate) fn serve_health(&self, bound: Bound) {
        let ready = self.ready.clone();
        let handler = move |request, _| extproc::handle_health(ready.clone(), request);
        // Whoever asks comes again soon; the places are for those who do.
        let options = Arc::new(ServerOptions {
            max_connections: 64,
            keep_alive_idle: ServerOptions::default().keep_alive_idle,
            ..server_options()
        });
        tokio::spawn(serve(
            bound,
            options,
            FaultSwitch::default(),
            self.drain.clone(),
            handler,
        ));
    }

    /// Serves the admin port on the current runtime, and lets the plan's plugins do what they do between requests.
    pub(crate) fn serve_admin(&self, router: &Arc<Router>, bound: Bound) {
        self.serve_admin_over(router, bound, None, None);
    }

    /// The same, over TLS if there is any, and to those alone whom the guard lets in.
    pub(crate) fn serve_admin_over(
        &self,
        router: &Arc<Router>,
        bound: Bound,
        tls: Option<&Tls>,
        guard: Option<Guard>,
    ) {
        tokio::spawn(pointsman_serve::upkeep::keep_up(Arc::clone(router)));
        let admin = Admin {
            router: Arc::clone(router),
            ready: self.ready.clone(),
            guard,
        };
        let options = Arc::new(ServerOptions {
            max_connections: 64,
            tls: tls.cloned(),
            ..ServerOptions::default()
        });
        let handler =
            move |request, peer: Peer| answer_admin(admin.clone(), peer.addr.ip(), request);
        tokio::spawn(serve(
            bound,
            options,
            FaultSwitch::default(),
            self.drain.clone(),
            handler,
        ));
    }
}

/// Starters of everything that is drained, in the order of draining.
pub(crate) struct Stages {
    /// The doors that clients use.
    pub(crate) doors: DrainStarter,
    /// What stands behind the doors; drained when the doors are empty.
    pub(crate) rest: DrainStarter,
}

/// Two drains: doors first, then the rest.
pub(crate) fn stages() -> (Stages, Drain, Drain) {
    let ((doors, for_doors), (rest, for_rest)) = (drain(), drain());
    (Stages { doors, rest }, for_doors, for_rest)
}

/// The time between "not ready any more" and the drain, in which others notice and go elsewhere.
pub(crate) struct Window {
    /// Its length.
    pub(crate) longest: Duration,
    /// Whether nobody is being served.
    pub(crate) is_idle: Box<dyn Fn() -> bool>,
}

impl Window {
    /// Waits for its end, or until nobody has been served for half of it: gateways that look for whether we are ready
    /// every ten seconds have seen by then that we are not.
    async fn pass(&self) {
        let (look, most) = (Duration::from_millis(20), self.longest / 2);
        let over = tokio::time::sleep(self.longest);
        let idle = async {
            let mut since = tokio::time::Instant::now();
            while since.elapsed() < most {
                tokio::time::sleep(look).await;
                if !(self.is_idle)() {
                    since = tokio::time::Instant::now();
                }
            }
        };
        tokio::select! {
            () = over => {}
            () = idle => {}
        }
    }
}

/// Waits for the first signal, then drains: readiness off, doors, the rest. A second signal ends at once.
pub(crate) async fn run_until_signal(
    stages: Stages,
    ready: Readiness,
    doors: Vec<Worker>,
    rest: Vec<Worker>,
    tell: impl Fn(&str),
) -> anyhow::Result<()> {
    run_with_window(stages, ready, doors, rest, tell, None).await
}

/// The same; between readiness and doors the window of a termination passes. Whoever interrupts does not want to wait for it.
pub(crate) async fn run_with_window(
    stages: Stages,
    ready: Readiness,
    doors: Vec<Worker>,
    rest: Vec<Worker>,
    tell: impl Fn(&str),
    window: Option<Window>,
) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    ready.serving.store(true, Ordering::Release);
    tokio::spawn(settle());
    let window = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => window,
    };
    ready.serving.store(false, Ordering::Release);
    if let Some(window) = window {
        let longest = window.longest.as_secs_f64();
        tell(&format!(
            "not ready any more: streams are served for up to {longest} s, so that gateways can go elsewhere"
        ));
        tokio::select! {
            () = window.pass() => {}
            _ = interrupt.recv() => std::process::exit(130),
            _ = terminate.recv() => std::process::exit(130),
        }
    }
    tell("draining: no new connections, answers under way are finished (again to end at once)");
    let ended = async {
        stages.doors.start();
        all_ended(&doors).await;
        stages.rest.start();
        all_ended(&rest).await;
    };
    tokio::select! {
        done = tokio::time::timeout(DRAIN_TIMEOUT, ended) => {
            tell(if done.is_ok() { "all answers finished" } else { "some answers were cut: the drain time is over" });
            Ok(())
        }
        _ = interrupt.recv() => std::process::exit(130),
        _ = terminate.recv() => std::process::exit(130),
    }
}

/// Gives back what only the start needed, once the start is over.
pub(crate) async fn settle() {
    tokio::time::sleep(SETTLED_AFTER).await;
    // Only memory is at stake: where the kernel does not go along, all works on.
    let _ = pointsman_pages::release();
}

async fn all_ended(workers: &[Worker]) {
    while workers.iter().any(|worker| !worker.is_finished()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
