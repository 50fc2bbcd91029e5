//! `pointsman epp`: the endpoint picker that a gateway asks over gRPC (ext_proc).
//!
//! Its flags are those of the reference ([`flags`]). Endpoints come from a Kubernetes cluster ([`cluster`]), or from a
//! file.

mod cluster;
mod flags;
mod metric_names;
pub(crate) mod selector;
pub(crate) mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use pointsman_core::contract::staleness::Policy;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::discovery::file::EndpointsFile;
use pointsman_feeds::discovery::kubernetes::Wanted;
use pointsman_feeds::membership::Membership;
use pointsman_feeds::scrape::{ScrapeOptions, Scraping};
use pointsman_http::{Bound, ClientOptions, Pool, Tls};
use pointsman_serve::door::extproc::settings::Settings;
use pointsman_serve::door::route::Routes;
use pointsman_serve::record::log::Log;
use pointsman_serve::router::Router;

use crate::arguments::{LogArgs, LogStyle};
use crate::certificates::{Allowed, Files};
use crate::commands::epp::flags::Encoder;
use crate::commands::gateway::{POOL_CAPACITY, random_seed};
use crate::console::complain;
use crate::findings::{line_of, refusal};
use crate::planning::{Chosen, Manner, follow, in_a_line};
use crate::serving::{
    Control, Window, listen, raise_file_limit, run_with_window, runtime, stages, start_extproc,
};
use crate::traces;

pub(crate) use crate::commands::epp::flags::Args;

/// What is in force when no configuration is given: the reference's own.
const BUILT_IN: &str = "\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
";

/// The shortest time between two readings that the reference takes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Said where --metrics-endpoint-auth, which is on by default, has nobody to ask.
const UNGUARDED: &str = "metrics: whoever reaches the port may read it: endpoints come from a file, so there is no API server \
     for --metrics-endpoint-auth to ask; --metrics-client-ca-file asks for a certificate instead";

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    check(&args)?;
    let settings = Arc::new(settings(&args)?);
    let chosen = chosen(&args)?;
    let source = source(&args, &chosen)?;
    let (tls, certificate) = tls(&args)?;
    let metrics_tls = metrics_tls(&args)?;
    let port = |port, what, flag| listen(SocketAddr::new(args.bind, port), what, flag);
    let door = port(args.grpc_port, "ext_proc port", "--grpc-port PORT")?;
    let health = port(
        args.grpc_health_port,
        "health port",
        "--grpc-health-port PORT",
    )?;
    let admin = port(args.metrics_port, "metrics port", "--metrics-port PORT")?;
    let (clock, membership) = (Clock::start(), Arc::new(Membership::new(POOL_CAPACITY)));
    let router = Arc::new(Router::new(
        clock,
        Arc::clone(&membership),
        chosen.plan,
        Routes::all_to_pool(),
        log(&args)?,
        args.seed.unwrap_or_else(random_seed),
    ));
    router.name_pool(&args.pool());
    router.call_fresh(args.metrics_staleness_threshold);
    let workers = match args.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let tracer = match args.tracing {
        true => traces::tracer()?,
        false => None,
    };
    let (stages, doors_drain, rest_drain) = stages();
    runtime()?.block_on(async {
        let shown = [&door, &health, &admin].map(Bound::local_addr);
        let mut control = Control::new(rest_drain);
        let told = Arc::clone(&router);
        let tell = move |text: &str| told.log.remark(told.clock.unix_ns(told.clock.now()), text);
        let ties = match source {
            Source::File(found) => {
                found.start(&membership, tell.clone()).await;
                if args.metrics_endpoint_auth != Some(false) {
                    tell(UNGUARDED);
                }
                cluster::Ties::default()
            }
            Source::Cluster(wanted) => {
                cluster::start(&args, wanted, &router, &mut control, tell.clone()).await?
            }
        };
        let on_door = args.health_checking.then_some(&control.ready);
        let doors = start_extproc(
            &router,
            door,
            workers,
            &settings,
            on_door,
            tls.as_ref(),
            &doors_drain,
        )?;
        control.serve_health(health);
        let admin_tls = metrics_tls.as_ref().map(|(tls, _)| tls);
        control.serve_admin_over(&router, admin, admin_tls, ties.guard);
        router.what_ifs.plan_with(chosen.manner.planner());
        follow(&router, chosen.followed);
        if let (Some(folder), Some(tls)) = (certificate, tls) {
            let telling = tell.clone();
            tokio::spawn(folder.follow(tls, move |text| telling(text)));
        }
        let scheme = if metrics_tls.is_some() {
            "https"
        } else {
            "http"
        };
        if let Some((tls, files)) = metrics_tls {
            let telling = tell.clone();
            tokio::spawn(files.follow(tls, move |text| telling(text)));
        }
        traces::start(&router, tracer);
        scrape(&router, clock, args.refresh_metrics_interval);
        tell(&format!(
            "ext_proc {}, health {}, metrics {scheme}://{}, {}, {} endpoints",
            shown[0],
            shown[1],
            shown[2],
            in_a_line(&router.plan.load()),
            membership.snapshot().len()
        ));
        let window = Window {
            longest: args.drain_timeout,
            is_idle: Box::new(move || settings.open_streams() == 0),
        };
        run_with_window(stages, control.ready, doors, Vec::new(), tell, Some(window)).await?;
        if let Some(candidacy) = ties.candidacy {
            candidacy.end().await;
        }
        Ok(())
    })
}

/// Refuses what cannot be followed, and says what is taken without effect.
fn check(args: &Args) -> anyhow::Result<()> {
    if args.config_file.is_some() && !args.config_text.is_empty() {
        bail!("both the \"config-file\" and \"config-text\" flags cannot be set at the same time");
    }
    if !args.pool_name.is_empty() && !args.endpoint_selector.is_empty() {
        bail!("pool-name and endpoint-selector exclude each other; give one of them");
    }
    if !args.endpoint_selector.is_empty() && !(1..=8).contains(&args.endpoint_target_ports.len()) {
        bail!("flag \"endpoint-target-ports\" should have length from 1 to 8");
    }
    if let Err(why) = selector::check(&args.endpoint_selector) {
        bail!(
            "invalid endpoint-selector {:?}: {why}",
            args.endpoint_selector
        );
    }
    for (name, size) in [
        ("grpc-max-recv-msg-size", args.grpc_max_recv_msg_size),
        ("grpc-max-send-msg-size", args.grpc_max_send_msg_size),
        ("max-body", args.max_body),
    ] {
        if size < 0 {
            bail!("{name} must be non-negative, got {size}");
        }
    }
    let versions = [
        "",
        "VersionTLS10",
        "VersionTLS11",
        "VersionTLS12",
        "VersionTLS13",
    ];
    if !versions.contains(&args.tls_min_version.as_str()) {
        bail!(
            "invalid tls-min-version {:?}; use VersionTLS12 or VersionTLS13",
            args.tls_min_version
        );
    }
    let (cert, ca) = (&args.metrics_cert_dir, &args.metrics_client_ca_file);
    if cert.is_empty() && !ca.is_empty() {
        bail!(
            "--metrics-client-ca-file needs TLS on the metrics port; name its certificate with --metrics-cert-dir"
        );
    }
    if !cert.is_empty() && ca.is_empty() && args.metrics_endpoint_auth == Some(false) {
        bail!(
            "--metrics-cert-dir without --metrics-client-ca-file and without --metrics-endpoint-auth lets everybody in; give one of them"
        );
    }
    if args.tls_client_ca.is_some() && !args.secure_serving {
        bail!("--tls-client-ca needs TLS on the ext_proc port; leave out --secure-serving=false");
    }
    if args.tls_client_ca.is_none() && !args.tls_client_ids.is_empty() {
        bail!(
            "--tls-client-ids needs certificates to look at; name their authority with --tls-client-ca"
        );
    }
    for (flag, plugin) in args.metric_names.deprecated() {
        complain(&format!(
            "warning: {flag} is deprecated, the reference's second generation refuses it; write it in the parameters of {plugin}\n"
        ));
    }
    if !args.tls_cipher_suites.is_empty() {
        complain(
            "warning: --tls-cipher-suites has no effect: the suites are those that are safe\n",
        );
    }
    if args.refresh_metrics_interval < SHORTEST_INTERVAL {
        complain("warning: --refresh-metrics-interval is below 50ms and counts as 50ms\n");
    }
    Ok(())
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    settings.error_format = args.error_format.into();
    settings.emit_scores = args.emit_endpoint_scores;
    settings.subset_hint = !args.disable_endpoint_subset_filter;
    settings.stream_metrics = args.enable_grpc_stream_metrics;
    settings.max_body = usize::try_from(args.max_body)?;
    if args.grpc_max_recv_msg_size > 0 {
        settings.max_message = usize::try_from(args.grpc_max_recv_msg_size)?;
    }
    Ok(settings)
}

/// The plan that the flags ask for.
fn chosen(args: &Args) -> anyhow::Result<Chosen> {
    let names = args.metric_names.clone();
    let manner = Manner {
        compat: args.compat.into(),
        legacy_flag: args.metric_names.given(),
        staleness: Policy::Use,
        experimental: args.allow_experimental_plugins,
        adjust: Some(Arc::new(move |plan| names.put_into(plan))),
    };
    let refused = |why| anyhow!("failed to load the configuration - {why}");
    if let Some(path) = &args.config_file {
        return manner.plan_of_file(path).map_err(refused);
    }
    let plan = match args.config_text.as_str() {
        "" => manner.plan_of_ours(BUILT_IN, "built in"),
        text => manner.plan_of(text, "--config-text"),
    };
    Ok(Chosen {
        plan: plan.map_err(refused)?,
        followed: None,
        manner,
    })
}

/// Where the endpoints come from.
enum Source {
    /// A file.
    File(Endpoints),
    /// The API server.
    Cluster(Wanted),
}

/// An endpoints file that was read.
struct Endpoints {
    path: PathBuf,
    file: EndpointsFile,
    watched: bool,
}

impl Endpoints {
    fn open(path: &Path, watched: bool) -> anyhow::Result<Self> {
        let (file, left_out) = EndpointsFile::open_leniently(path)
            .map_err(|faults| refusal(&path.display().to_string(), "", &faults))?;
        for fault in left_out {
            let fault = line_of(&path.display().to_string(), &fault);
            complain(&format!("warning: left out: {fault}\n"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            watched,
        })
    }

    async fn start(
        mut self,
        membership: &Arc<Membership>,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) {
        for host in self.file.apply(membership).await {
            let path = self.path.display();
            complain(&format!("warning: {path}: '{host}' does not resolve yet\n"));
        }
        if self.watched {
            let pool = Arc::clone(membership);
            let every = Duration::from_secs(1);
            tokio::spawn(self.file.watch(pool, every, move |text| tell(&text)));
        }
    }
}

/// The source that the flags ask for; a file goes before the cluster.
fn source(args: &Args, chosen: &Chosen) -> anyhow::Result<Source> {
    let file = match (&args.endpoints, &chosen.plan.discovery) {
        (Some(path), _) => Some((path.clone(), true)),
        (None, Some(found)) => Some((PathBuf::from(&found.path), found.watch)),
        (None, None) => None,
    };
    if let Some((path, watched)) = file {
        if args.ha_enable_leader_election {
            complain(
                "warning: --ha-enable-leader-election has no effect with endpoints from a file\n",
            );
        }
        return Ok(Source::File(Endpoints::open(&path, watched)?));
    }
    if !args.pool_name.is_empty() {
        return Ok(Source::Cluster(Wanted::Pool {
            group: args.pool_group.clone(),
            name: args.pool_name.clone(),
        }));
    }
    if args.endpoint_selector.is_empty() {
        bail!(
            "either pool-name or endpoint-selector must be set, or a file of endpoints: --endpoints FILE, or dataLayer.discovery in the configuration"
        );
    }
    let mut ports = args.endpoint_target_ports.clone();
    let mut seen = std::collections::BTreeSet::new();
    ports.retain(|port| seen.insert(*port));
    Ok(Source::Cluster(Wanted::Selector {
        labels: args.endpoint_selector.clone(),
        ports,
    }))
}

/// TLS of the ext_proc port, and the files of its credentials if they are followed.
fn tls(args: &Args) -> anyhow::Result<(Option<Tls>, Option<Files>)> {
    if !args.secure_serving {
        return Ok((None, None));
    }
    let folder = Some(Path::new(&args.cert_path)).filter(|_| !args.cert_path.is_empty());
    let allowed = Allowed {
        authorities: args.tls_client_ca.clone(),
        ids: args.tls_client_ids.clone(),
    };
    let files = Files::open(folder, &allowed)?;
    let tls = files.tls(args.tls_min_version == "VersionTLS13")?;
    Ok((Some(tls), args.enable_cert_reload.then_some(files)))
}

/// TLS of the metrics port, if flags ask for it, and the files that it follows.
fn metrics_tls(args: &Args) -> anyhow::Result<Option<(Tls, Files)>> {
    if args.metrics_cert_dir.is_empty() {
        return Ok(None);
    }
    let ca = &args.metrics_client_ca_file;
    let allowed = Allowed {
        authorities: (!ca.is_empty()).then(|| ca.into()),
        ids: Vec::new(),
    };
    let files = Files::open(Some(Path::new(&args.metrics_cert_dir)), &allowed)?;
    let tls = files.tls(args.tls_min_version == "VersionTLS13")?;
    Ok(Some((tls, files)))
}

fn log(args: &Args) -> anyhow::Result<Log> {
    let level = match args.zap_log_level.as_str() {
        "" => args.v,
        "error" | "panic" => 0,
        "info" => args.v,
        "debug" => args.v.max(2),
        other => match other.parse() {
            Ok(level) => level,
            Err(_) => bail!("zap-log-level is '{other}'; use error, info, debug or a number"),
        },
    };
    let style = match args.zap_encoder {
        Encoder::Console => LogStyle::Pretty,
        Encoder::Json => LogStyle::Json,
    };
    let to = LogArgs {
        log: style,
        log_file: args.log_file.clone(),
        quiet: args.quiet,
    };
    to.open(level)
}

fn scrape(router: &Arc<Router>, clock: Clock, interval: Duration) {
    let followed = Arc::clone(router);
    let scraping = Scraping {
        membership: Arc::clone(&router.membership),
        clock,
        connections: Pool::new(ClientOptions::default()),
        options: ScrapeOptions {
            interval: interval.max(SHORTEST_INTERVAL),
            ..ScrapeOptions::default()
        },
        plan: Some(Box::new(move || followed.plan.load_full())),
        tally: Arc::clone(&router.scrapes),
    };
    tokio::spawn(scraping.run());
}
