//! `pointsman operator`: keeps what `SchedulerInstall`s and `SimulatorDeployment`s ask for.
//!
//! Its flags are those of the original operator, and `--watch-namespaces`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::ArgAction;
use http::{Response, StatusCode, header};
use pointsman_cluster::election::{Election, News};
use pointsman_cluster::{Client, connect, connect_to};
use pointsman_http::{Body, Drain, FaultSwitch, ServerOptions, drain, serve};
use pointsman_operator::operate::run::{LEASE, Level, Operator, Tell};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::commands::epp::selector::is_dns_label;
use crate::commands::epp::values::boolean;
use crate::console::complain;
use crate::serving::{listen, runtime, settle};

const EXAMPLES: &str = "\
Examples:
  pointsman operator                                    with the kubeconfig at hand
  pointsman operator --leader-elect                     in a cluster; see deploy/operator
  pointsman operator --watch-namespaces team-a,team-b   with Roles instead of a ClusterRole";

/// Flags of `pointsman operator`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where metrics are served; 0 for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":8080", value_parser = address)]
    metrics_bind_address: Place,
    /// Where /healthz and /readyz are served; 0 for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":8081", value_parser = address)]
    health_probe_bind_address: Place,
    /// Act only while holding the Lease sim-operator.llm-d.io.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    leader_elect: bool,
    /// The namespace of the Lease; that of this pod, or of the kubeconfig's context, where not said.
    #[arg(long, value_name = "NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// The kubeconfig; KUBECONFIG or the service account of this pod where not said.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Look at these namespaces only, with their own Roles: those of the custom resources and of all their objects.
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    watch_namespaces: Vec<String>,
    /// How often pickers and gateways are asked what they count, for the condition ExtProcEffective.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = time)]
    probe_interval: Duration,
    /// What is logged: `error` silences all but errors, `panic` those too; debug, warn or a number from 1 are taken as well.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = verbosity)]
    zap_log_level: Verbosity,
    /// How log lines look.
    #[arg(long, value_name = "ENCODER", default_value = "json", value_parser = ["json", "console"])]
    zap_encoder: String,
    /// Taken without effect, for the original's sake.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    zap_devel: bool,
    /// Taken without effect, for the original's sake.
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    zap_stacktrace_level: String,
    /// Taken without effect, for the original's sake.
    #[arg(long, value_name = "ENCODING", default_value = "rfc3339")]
    zap_time_encoding: String,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verbosity {
    All,
    Errors,
    Nothing,
}

fn verbosity(text: &str) -> Result<Verbosity, String> {
    match text {
        "debug" | "info" => Ok(Verbosity::All),
        // There is nothing between what goes on and what goes wrong.
        "warn" | "error" => Ok(Verbosity::Errors),
        "dpanic" | "panic" | "fatal" => Ok(Verbosity::Nothing),
        number if number.parse::<u8>().is_ok_and(|number| number > 0) => Ok(Verbosity::All),
        _ => Err("must be debug, info, warn, error, panic or a number from 1".to_owned()),
    }
}

/// One of `--watch-namespaces`; an empty one is left out later.
fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    match name.is_empty() || is_dns_label(name) {
        true => Ok(name.to_owned()),
        false => {
            Err("a namespace has lower case letters, digits and '-' inside, 63 at most".to_owned())
        }
    }
}

/// The namespaces to watch; none for all.
fn scope(named: &[String]) -> Vec<String> {
    let mut scope: Vec<String> = Vec::new();
    for name in named.iter().filter(|name| !name.is_empty()) {
        if !scope.contains(name) {
            scope.push(name.clone());
        }
    }
    scope
}

fn time(text: &str) -> Result<Duration, String> {
    match pointsman_core::config::duration::parse_duration(text)? {
        span if span.0 == 0 => Err("must be more than nothing, such as 15s".to_owned()),
        span => Ok(Duration::from_nanos(span.0)),
    }
}

/// Runs until a signal ends it, or the lead is lost.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tell = tell(args);
    let metrics = bound(
        args.metrics_bind_address,
        "metrics port",
        "--metrics-bind-address",
    )?;
    if let Some(bound) = &metrics {
        tell(
            Level::Info,
            &format!("metrics http://{}", bound.local_addr()),
        );
    }
    let health = bound(
        args.health_probe_bind_address,
        "health port",
        "--health-probe-bind-address",
    )?;
    runtime()?.block_on(async {
        let client = match &args.kubeconfig {
            Some(path) => connect_to(path).await?,
            None => connect().await?,
        };
        let operator = Arc::new(Operator::default());
        let standby = Arc::new(AtomicBool::new(false));
        let (starter, drained) = drain();
        tokio::spawn(settle());
        for bound in [metrics, health].into_iter().flatten() {
            serve_pages(&operator, &standby, bound, drained.clone());
        }
        let namespace = args.leader_election_namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let mut candidacy = args
            .leader_elect
            .then(|| Candidacy::stand(client.clone(), &namespace, &tell));
        let work = async {
            if let Some(candidacy) = &mut candidacy {
                // One that waits is well, and must not be restarted for it.
                standby.store(true, Ordering::Release);
                candidacy.turns(true).await;
                standby.store(false, Ordering::Release);
            }
            operator.counts.leads(true);
            tell(Level::Info, "keeping what custom resources ask for");
            let keep = operator.run(
                client,
                scope(&args.watch_namespaces),
                args.probe_interval,
                Arc::clone(&tell),
            );
            let lost = async {
                match &mut candidacy {
                    Some(candidacy) => candidacy.turns(false).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = keep => false,
                () = lost => true,
            }
        };
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let lost = tokio::select! {
            lost = work => lost,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        };
        starter.start();
        if lost {
            bail!("no longer the leader: the Lease {LEASE} is not ours any more");
        }
        if let Some(candidacy) = candidacy {
            candidacy.end().await;
        }
        tell(Level::Info, "ended");
        Ok(())
    })
}

/// Standing for the Lease by which one operator is chosen.
struct Candidacy {
    leads: watch::Receiver<bool>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidacy {
    fn stand(client: Client, namespace: &str, tell: &Tell) -> Self {
        let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
        let host = host.unwrap_or_else(|_| "pointsman".to_owned());
        let election = Election::new(client, namespace, LEASE, &host);
        let stands = format!("{} stands for the Lease {LEASE}", election.identity());
        tell(Level::Info, &stands);
        let (told, leads) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let telling = Arc::clone(tell);
        let task = tokio::spawn(election.run(
            async {
                // A sender that was dropped ends it too.
                let _ = ended.await;
            },
            move |now| {
                told.send_replace(now);
            },
            move |news, text| {
                let level = match news {
                    News::Waits => Level::Info,
                    News::Trouble => Level::Error,
                };
                telling(level, text);
            },
        ));
        Self { leads, end, task }
    }

    /// Waits until it leads, or leads no more.
    async fn turns(&mut self, to: bool) {
        let over = self.leads.wait_for(|leads| *leads == to).await.is_err();
        // An election that has ended leads nobody.
        if over && to {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the Lease up, so that the next one need not wait for its end.
    async fn end(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

fn tell(args: &Args) -> Tell {
    let json = args.zap_encoder == "json";
    let least = args.zap_log_level;
    Arc::new(move |level: Level, text: &str| {
        let said = match least {
            Verbosity::All => true,
            Verbosity::Errors => level == Level::Error,
            Verbosity::Nothing => false,
        };
        if !said {
            return;
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ts = since.map_or(0.0, |since| since.as_secs_f64());
        complain(&match json {
            true => format!(
                "{}\n",
                json!({"level": level.word(), "ts": ts, "logger": "operator", "msg": text})
            ),
            false => format!("{text}\n"),
        });
    })
}

/// Where to listen; none for nowhere.
#[derive(Clone, Copy, Debug)]
struct Place(Option<SocketAddr>);

/// An address as Go writes it: `:8080` is every address, `0` none.
fn address(text: &str) -> Result<Place, String> {
    if text == "0" || text.is_empty() {
        return Ok(Place(None));
    }
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    match full.parse() {
        Ok(address) => Ok(Place(Some(address))),
        Err(_) => Err("must be :PORT, ADDRESS:PORT or 0".to_owned()),
    }
}

fn bound(place: Place, what: &str, flag: &str) -> anyhow::Result<Option<pointsman_http::Bound>> {
    let Some(address) = place.0 else {
        return Ok(None);
    };
    listen(address, what, &format!("{flag} :PORT")).map(Some)
}

/// Both ports answer the same; which is asked for what is the custom of the field.
fn serve_pages(
    operator: &Arc<Operator>,
    standby: &Arc<AtomicBool>,
    bound: pointsman_http::Bound,
    drain: Drain,
) {
    let (operator, standby) = (Arc::clone(operator), Arc::clone(standby));
    let handler = move |request: http::Request<_>, _| {
        let answer = page(&operator, &standby, request.uri().path());
        async move { answer }
    };
    let options = Arc::new(ServerOptions {
        max_connections: 64,
        ..ServerOptions::default()
    });
    tokio::spawn(serve(
        bound,
        options,
        FaultSwitch::default(),
        drain,
        handler,
    ));
}

fn page(operator: &Operator, standby: &AtomicBool, path: &str) -> Response<Body> {
    let ready = operator.ready.load(Ordering::Acquire) || standby.load(Ordering::Acquire);
    let (status, text) = match path {
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the cluster has not told all there is\n".to_owned(),
        ),
        "/metrics" => (StatusCode::OK, operator.counts.page()),
        _ => (
            StatusCode::NOT_FOUND,
            "here are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    };
    let mut response = Response::new(Body::bytes(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
