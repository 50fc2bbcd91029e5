//! `pointsman gateway`: the gateway with the picker inside, for your own backends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use pointsman_core::config::presets::BALANCED;
use pointsman_core::config::presets::NAMES;
use pointsman_core::rng::splitmix;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::discovery::file::EndpointsFile;
use pointsman_feeds::membership::Membership;
use pointsman_feeds::scrape::{ScrapeOptions, Scraping};
use pointsman_http::{ClientOptions, Pool};
use pointsman_serve::door::limits::GatewayLimits;
use pointsman_serve::door::route::Routes;
use pointsman_serve::router::Router;

use crate::arguments::LogArgs;
use crate::console::{complain, refused};
use crate::findings::refusal;
use crate::planning::{PlanArgs, follow, in_a_line};
use crate::serving::{
    Control, listen, raise_file_limit, run_until_signal, runtime, stages, start_gateway,
};
use crate::traces;

/// Endpoints that a pool can hold.
pub(crate) const POOL_CAPACITY: usize = 16_384;

const EXAMPLES: &str = "\
Examples:
  pointsman gateway --endpoints pool.yaml
  pointsman gateway --endpoints pool.yaml --listen 0.0.0.0:8080 --profile proxy-performance --log json -v 2

An endpoints file:
  endpoints:
  - {name: worker-0, address: 10.0.0.7, port: \"8000\", labels: {llm-d.ai/kv-backend: nvlink}}";

/// Flags of `pointsman gateway`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where health, metrics and decisions are served; keep it private.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Scheduling profile by name [default: balanced].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    profile: Option<String>,
    #[command(flatten)]
    plan: PlanArgs,
    /// The endpoints to route to; read again when it changes.
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Gateway API HTTPRoute objects; without it everything goes to the picker.
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Worker threads; 0 means one per CPU.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Time between two scrapes of an endpoint's metrics, in milliseconds; 0 switches scraping off.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    scrape_interval: u64,
    /// Seed of all random choices; drawn from the system when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// 0: problems only; 1: decisions; 2: every score.
    #[arg(short = 'v', long = "verbosity", default_value_t = 0)]
    verbosity: u8,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    log: LogArgs,
}

/// Bounds of the gateway, shared with `up`.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Bounds {
    /// Largest request body in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    max_body: usize,
    /// Longest wait for the head of an answer, in seconds, per attempt.
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    first_byte_timeout: f64,
    /// Longest pause within an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    idle_timeout: f64,
}

impl Bounds {
    /// The bounds as the gateway takes them.
    pub(crate) fn limits(&self) -> anyhow::Result<GatewayLimits> {
        let seconds = |value: f64, flag: &str| match Duration::try_from_secs_f64(value) {
            Ok(time) if !time.is_zero() => Ok(time),
            _ => bail!("{flag} needs a number of seconds above 0, found {value}"),
        };
        Ok(GatewayLimits {
            max_body: self.max_body,
            first_byte: seconds(self.first_byte_timeout, "--first-byte-timeout")?,
            answer_idle: seconds(self.idle_timeout, "--idle-timeout")?,
            ..GatewayLimits::default()
        })
    }
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let limits = args.bounds.limits()?;
    let profile = args.profile.as_deref().unwrap_or(BALANCED);
    let chosen = args.plan.choose(profile)?;
    let routes = routes(args.routes.as_deref())?.unwrap_or_else(Routes::all_to_pool);
    let discovery = chosen.plan.discovery.clone();
    let (path, watch) = match (&args.endpoints, &discovery) {
        (Some(path), _) => (path.as_path(), true),
        (None, Some(found)) => (std::path::Path::new(&found.path), found.watch),
        (None, None) => bail!(
            "no endpoints to route to; name a file with --endpoints FILE (see --help for its format), or give the configuration a dataLayer.discovery"
        ),
    };
    let mut file = EndpointsFile::open(path)
        .map_err(|faults| refusal(&path.display().to_string(), "", &faults))?;
    let gateway = listen(args.listen, "gateway", "--listen HOST:PORT")?;
    let admin = listen(args.admin, "admin port", "--admin HOST:PORT")?;
    let (clock, membership) = (Clock::start(), Arc::new(Membership::new(POOL_CAPACITY)));
    let log = args.log.open(args.verbosity)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let router = Arc::new(Router::new(
        clock,
        Arc::clone(&membership),
        chosen.plan,
        routes,
        log,
        seed,
    ));
    let tracer = traces::tracer()?;
    let (stages, doors_drain, rest_drain) = stages();
    runtime()?.block_on(async {
        traces::start(&router, tracer);
        let unknown = file.apply(&membership).await;
        for host in unknown {
            complain(&format!(
                "warning: {}: '{host}' does not resolve yet\n",
                path.display()
            ));
        }
        let shown = gateway.local_addr();
        let workers = match args.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let doors = start_gateway(&router, gateway, workers, limits, 2, &doors_drain)?;
        let control = Control::new(rest_drain);
        let admin_shown = admin.local_addr();
        control.serve_admin(&router, admin);
        router.what_ifs.plan_with(chosen.manner.planner());
        follow(&router, chosen.followed);
        let told = Arc::clone(&router);
        let tell = move |text: &str| told.log.remark(told.clock.unix_ns(told.clock.now()), text);
        let watching = Arc::clone(&router);
        let watched = Arc::clone(&membership);
        if watch {
            tokio::spawn(file.watch(watched, Duration::from_secs(1), move |text| {
                watching
                    .log
                    .remark(watching.clock.unix_ns(watching.clock.now()), &text);
            }));
        }
        if args.scrape_interval > 0 {
            let options = ScrapeOptions {
                interval: Duration::from_millis(args.scrape_interval),
                ..ScrapeOptions::default()
            };
            let followed = Arc::clone(&router);
            let scraping = Scraping {
                membership: Arc::clone(&membership),
                clock,
                connections: Pool::new(ClientOptions::default()),
                options,
                plan: Some(Box::new(move || followed.plan.load_full())),
                tally: Arc::clone(&router.scrapes),
            };
            tokio::spawn(scraping.run());
        }
        tell(&format!(
            "gateway http://{shown}, admin http://{admin_shown}, {}, {} endpoints",
            in_a_line(&router.plan.load()),
            membership.snapshot().len()
        ));
        run_until_signal(stages, control.ready, doors, Vec::new(), tell).await
    })
}

/// The routes of a file, if one is named.
pub(crate) fn routes(path: Option<&std::path::Path>) -> anyhow::Result<Option<Routes>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("cannot read {}: {e}", path.display()))?;
    Routes::parse(&text)
        .map(Some)
        .map_err(|faults| refused(&path.display().to_string(), &faults))
}

/// A seed that differs from run to run.
pub(crate) fn random_seed() -> u64 {
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let mut state = time.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    splitmix(&mut state)
}
