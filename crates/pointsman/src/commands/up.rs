//! `pointsman up`: the lab in one process.
//!
//! Gateway, proxies and engines run on threads of their own and speak real HTTP to each other over loopback,
//! so what is seen here is what a cluster shows, at the speed of this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::PossibleValuesParser;
use pointsman_core::config::presets::{LAB, LAB_NAMES};
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::scrape::{ScrapeOptions, Scraping};
use pointsman_http::{Bound, ClientOptions, Drain, FaultSwitch, Pool, ServerOptions, bind};
use pointsman_serve::door::proxy::config::{ProxyConfig, ProxyKind};
use pointsman_serve::door::proxy::serve_proxy;
use pointsman_serve::door::route::{LAB_ROUTES, Routes};
use pointsman_serve::router::Router;
use pointsman_sim::flags::SimConfig;
use pointsman_sim::server::transfers::TransferRegistry;
use pointsman_sim::server::{SimShared, serve_sim};

use crate::arguments::{LogArgs, LogStyle};
use crate::commands::gateway::{Bounds, random_seed, routes};
use crate::console::{complain, refused, say, stdout_has_colour, table, wrong_usage};
use crate::lab::faults::{Planned, Timeline, parse as parse_faults};
use crate::lab::pairs::{Backend, Pair, parse as parse_pairs};
use crate::planning::{PlanArgs, follow, in_a_line};
use crate::serving::{
    Control, Worker, listen, raise_file_limit, run_until_signal, runtime, stages, start_gateway,
};

/// The model that the lab serves.
const MODEL: &str = "Qwen/Qwen3-Coder-30B-A3B-Instruct";

const EXAMPLES: &str = "\
Examples:
  pointsman up
  pointsman up --profile proxy-performance-by-backend
  pointsman up --pairs p2p=2,fs=2 --log json --log-file decisions.log
  pointsman up --faults faults.yaml        # faults: [{at: 5s, for: 20s, target: vllm-fs-proxy, kind: down}]";

/// Flags of `pointsman up`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Scheduling profile by name.
    #[arg(long, value_name = "NAME", default_value = LAB, value_parser = PossibleValuesParser::new(LAB_NAMES))]
    profile: String,
    #[command(flatten)]
    plan: PlanArgs,
    /// How many prefill/decode pairs of each kind.
    #[arg(long, value_name = "KIND=N,...", default_value = "p2p=1,fs=1")]
    pairs: String,
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where health, metrics and decisions are served.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Gateway API HTTPRoute objects instead of the lab's A/B routes.
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Faults on a timeline.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// How much faster than real the engines run.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    /// Seed of all random choices; drawn from the system when left out.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    log: LogArgs,
}

/// One server of the lab that stands behind the gateway.
struct Part {
    name: String,
    role: &'static str,
    bound: Bound,
    faults: FaultSwitch,
}

impl Part {
    fn new(name: String, role: &'static str) -> anyhow::Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = bind(any_port, &name)?;
        Ok(Self {
            name,
            role,
            bound,
            faults: FaultSwitch::default(),
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.bound.local_addr())
    }
}

/// A pair and its three servers.
struct PairParts {
    pair: Pair,
    proxy: Part,
    prefill: Part,
    decode: Part,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(wrong_usage(anyhow!(
            "--speed needs a number above 0, found {}",
            args.speed
        )));
    }
    let limits = args.bounds.limits()?;
    let pairs = parse_pairs(&args.pairs).map_err(wrong_usage)?;
    let chosen = args.plan.choose(&args.profile)?;
    let lab_routes =
        || Routes::parse(LAB_ROUTES).map_err(|faults| refused("the lab's route file", &faults));
    let routes = routes(args.routes.as_deref())?.map_or_else(lab_routes, Ok)?;
    let planned = faults(args.faults.as_deref(), &pairs)?;
    let gateway = listen(args.listen, "gateway", "--listen HOST:PORT")?;
    let admin = listen(args.admin, "admin port", "--admin HOST:PORT")?;
    let parts = pairs
        .iter()
        .map(|&pair| {
            Ok(PairParts {
                pair,
                proxy: Part::new(pair.proxy(), "P/D proxy")?,
                prefill: Part::new(pair.prefill(), "prefill")?,
                decode: Part::new(pair.decode(), "decode")?,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let log = args.log.open(2)?;
    let (clock, membership) = (Clock::start(), Arc::new(Membership::new(256)));
    let router = Arc::new(Router::new(
        clock,
        Arc::clone(&membership),
        chosen.plan,
        routes,
        log,
        seed,
    ));
    membership.replace(&members(&parts));
    if !args.log.quiet {
        let text = banner(&args, &router, &gateway, &admin, &parts);
        // Machines read the standard output of a JSON run.
        if args.log.log == LogStyle::Json {
            complain(&text)
        } else {
            say(&text)
        }
    }
    let (stages, doors_drain, rest_drain) = stages();
    let switches: BTreeMap<String, FaultSwitch> = parts
        .iter()
        .flat_map(|p| [&p.proxy, &p.prefill, &p.decode])
        .map(|part| (part.name.clone(), part.faults.clone()))
        .collect();
    let told = Arc::clone(&router);
    let tell = move |text: &str| told.log.remark(told.clock.unix_ns(told.clock.now()), text);
    let mut timeline = Timeline::new(planned, switches);
    // Before the first request can come.
    timeline.strike(Duration::ZERO, &tell);
    let mut rest = start_engines(&parts, args.speed, seed, &rest_drain)?;
    rest.push(start_proxies(&parts, seed, &rest_drain)?);
    let doors = start_gateway(&router, gateway, 1, limits, FDS_PER_REQUEST, &doors_drain)?;
    runtime()?.block_on(async {
        let control = Control::new(rest_drain);
        control.serve_admin(&router, admin);
        router.what_ifs.plan_with(chosen.manner.planner());
        follow(&router, chosen.followed);
        let followed = Arc::clone(&router);
        let scraping = Scraping {
            membership,
            clock,
            connections: Pool::new(ClientOptions::default()),
            options: ScrapeOptions::default(),
            plan: Some(Box::new(move || followed.plan.load_full())),
            tally: Arc::clone(&router.scrapes),
        };
        tokio::spawn(scraping.run());
        tokio::spawn(timeline.play(tell.clone()));
        run_until_signal(stages, control.ready, doors, rest, tell).await
    })
}

/// Client, gateway to proxy, proxy to both engines: each connection inside the process has two ends.
const FDS_PER_REQUEST: usize = 7;

fn faults(path: Option<&std::path::Path>, pairs: &[Pair]) -> anyhow::Result<Vec<Planned>> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("cannot read {}: {e}", path.display()))?;
    let names: Vec<String> = pairs
        .iter()
        .flat_map(|p| [p.proxy(), p.prefill(), p.decode()])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    parse_faults(&text, &names).map_err(|problems| refused(&path.display().to_string(), &problems))
}

fn members(parts: &[PairParts]) -> Vec<Member> {
    let member = |p: &PairParts| Member {
        name: p.pair.candidate(),
        address: p.proxy.bound.local_addr(),
        labels: p.pair.labels(),
    };
    parts.iter().map(member).collect()
}

/// Two threads of engines: all that prefill, and all that decode.
fn start_engines(
    parts: &[PairParts],
    speed: f64,
    seed: u64,
    drain: &Drain,
) -> anyhow::Result<Vec<Worker>> {
    let registry = TransferRegistry::default();
    let mut prefills = Vec::new();
    let mut decodes = Vec::new();
    for (number, p) in parts.iter().enumerate() {
        for (part, group) in [(&p.prefill, &mut prefills), (&p.decode, &mut decodes)] {
            let connector = match p.pair.backend {
                Backend::P2p => "p2p-nccl",
                Backend::Fs => "shared-storage",
            };
            let engine_seed =
                seed.wrapping_add(2 * number as u64 + u64::from(part.role == "decode"));
            let config = SimConfig::from_flags([
                "--model",
                MODEL,
                "--role",
                part.role,
                "--kv-connector",
                connector,
                "--speed",
                &speed.to_string(),
                "--seed",
                &(engine_seed % (1 << 62)).to_string(),
            ])?;
            group.push((
                part.bound.try_clone()?,
                config,
                SimShared {
                    registry: registry.clone(),
                    faults: part.faults.clone(),
                },
            ));
        }
    }
    let start = |name: &str, group: Vec<(Bound, SimConfig, SimShared)>| {
        let drain = drain.clone();
        Worker::start(name, async move || {
            let mut serving = tokio::task::JoinSet::new();
            for (bound, config, shared) in group {
                let drain = drain.clone();
                serving.spawn(async move {
                    if let Err(error) = serve_sim(bound, config, shared, drain).await {
                        complain(&format!("error: {error}\n"));
                    }
                });
            }
            while serving.join_next().await.is_some() {}
        })
    };
    Ok(vec![start("prefill", prefills)?, start("decode", decodes)?])
}

/// One thread of proxies.
fn start_proxies(parts: &[PairParts], seed: u64, drain: &Drain) -> anyhow::Result<Worker> {
    let mut proxies = Vec::new();
    for (number, p) in parts.iter().enumerate() {
        let kind = match p.pair.backend {
            Backend::P2p => ProxyKind::P2p,
            Backend::Fs => ProxyKind::Fs,
        };
        let mut config = ProxyConfig::new(kind, &p.prefill.url(), &p.decode.url());
        config.name = p.pair.proxy();
        config.prefill_name = p.pair.in_ids(&p.pair.prefill());
        config.decode_name = p.pair.in_ids(&p.pair.decode());
        config.seed = seed ^ (number as u64 + 1) << 40;
        proxies.push((p.proxy.bound.try_clone()?, config, p.proxy.faults.clone()));
    }
    let drain = drain.clone();
    Worker::start("proxies", async move || {
        let mut serving = tokio::task::JoinSet::new();
        for (bound, config, faults) in proxies {
            let drain = drain.clone();
            serving.spawn(async move {
                let options = Arc::new(ServerOptions::default());
                if let Err(error) = serve_proxy(bound, config, options, faults, drain).await {
                    complain(&format!("error: {error}\n"));
                }
            });
        }
        while serving.join_next().await.is_some() {}
    })
}

fn banner(
    args: &Args,
    router: &Router,
    gateway: &Bound,
    admin: &Bound,
    parts: &[PairParts],
) -> String {
    let plan = router.plan.load();
    let (gateway, admin) = (
        format!("http://{}", gateway.local_addr()),
        format!("http://{}", admin.local_addr()),
    );
    let routes = args.routes.as_ref().map_or_else(
        || "x-kv-backend: nvlink|fs chooses a pair".to_owned(),
        |p| p.display().to_string(),
    );
    let mut rows = vec![
        vec![
            "gateway".to_owned(),
            "picker inside".to_owned(),
            gateway.clone(),
            routes,
        ],
        vec![
            "admin".to_owned(),
            "observe".to_owned(),
            admin.clone(),
            "live page at /, /debug/decisions, /metrics".to_owned(),
        ],
    ];
    for p in parts {
        let backend = format!("llm-d.ai/kv-backend={}", p.pair.backend.label());
        rows.push(vec![
            p.proxy.name.clone(),
            p.proxy.role.to_owned(),
            p.proxy.url(),
            backend,
        ]);
        for engine in [&p.prefill, &p.decode] {
            rows.push(vec![
                engine.name.clone(),
                engine.role.to_owned(),
                engine.url(),
                "simulated vLLM".to_owned(),
            ]);
        }
    }
    let table = table(
        &["NAME", "ROLE", "ADDRESS", "NOTE"],
        &rows,
        stdout_has_colour() && args.log.log == LogStyle::Pretty,
    );
    format!(
        "pointsman {}: the lab on this machine, {}\n\n{table}\nTry it:\n  curl -s {gateway}/v1/chat/completions -H 'content-type: application/json' \\\n    -d '{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}],\"max_tokens\":8}}'\nWatch every decision, live:\n  {admin}/\n\nCtrl-C ends it.\n\n",
        env!("CARGO_PKG_VERSION"),
        in_a_line(&plan),
    )
}
