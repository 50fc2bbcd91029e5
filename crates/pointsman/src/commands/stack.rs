//! `pointsman stack`: the model-server side of the lab, printed or applied.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use pointsman_cluster::{connect, connect_to};
use pointsman_operator::desired::child::Child;
use pointsman_operator::render::text;
use pointsman_operator::stack::apply::{How, Outcome, apply};
use pointsman_operator::stack::objects;
use pointsman_operator::stack::settings::{Part, Settings, Workload, defaults};
use pointsman_operator::stack::volume::Source;

use crate::commands::crds::Output;
use crate::console::{complain, say};
use crate::lab::pairs;
use crate::serving::runtime;

const EXAMPLES: &str = "\
Examples:
  pointsman stack render | less
  pointsman stack apply --simulated                      the whole lab in a cluster without GPUs
  pointsman stack apply --model-volume nfs:files.example:/models --gpu-product NVIDIA-H100-80GB-HBM3
  pointsman stack apply --dry-run=server                 the cluster checks everything and keeps nothing
  pointsman stack render --preset p2p-same-node --pairs p2p=4 --profile proxy-performance-by-backend
  pointsman stack apply --preset simulator               a SimulatorDeployment of this image behind a picker

The picker, the gateway and the route to the pool are made by the operator, out of the SchedulerInstall that is
rendered here; without one in the cluster leave it out with --parts servers,proxies,pool,routes.";

/// Flags of `pointsman stack`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print the objects.
    #[command(after_help = EXAMPLES)]
    Render(Box<RenderArgs>),
    /// Write the objects into a cluster by server-side apply.
    #[command(after_help = EXAMPLES)]
    Apply(Box<ApplyArgs>),
}

#[derive(clap::Args)]
struct RenderArgs {
    /// How the objects are printed.
    #[arg(short = 'o', long, value_enum, default_value = "yaml")]
    output: Output,
    #[command(flatten)]
    values: Values,
}

#[derive(clap::Args)]
struct ApplyArgs {
    /// The kubeconfig; KUBECONFIG or the service account of this pod where not said.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// `server`: the cluster checks everything and keeps nothing.
    #[arg(long, value_enum, value_name = "WHERE")]
    dry_run: Option<DryRun>,
    /// Take over fields that others have set.
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    values: Values,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum DryRun {
    Server,
}

/// What the set is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Preset {
    /// A pair of each kind on one node, and a route that chooses between them by header.
    AbSameNode,
    /// The pair that moves KV over NVLink.
    P2pSameNode,
    /// The pair that moves KV through a file system.
    FsSameNode,
    /// A SimulatorDeployment of this image instead of pairs.
    Simulator,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum PartName {
    Servers,
    Proxies,
    Pool,
    Routes,
    Install,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Servers => Self::Servers,
            PartName::Proxies => Self::Proxies,
            PartName::Pool => Self::Pool,
            PartName::Routes => Self::Routes,
            PartName::Install => Self::Install,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum WorkloadName {
    Pods,
    Deployments,
}

/// Everything that can be another way.
#[derive(clap::Args)]
struct Values {
    /// What the set is.
    #[arg(long, value_enum, default_value = "ab-same-node")]
    preset: Preset,
    /// No GPUs: simulated servers, and this image everywhere.
    #[arg(long)]
    simulated: bool,
    /// What is made of it.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "servers,proxies,pool,routes,install"
    )]
    parts: Vec<PartName>,
    /// How many pairs of each kind [default: one of each that the preset has].
    #[arg(long, value_name = "KIND=COUNT,…")]
    pairs: Option<String>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    way: Way,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Where")]
struct Places {
    /// Where servers, proxies and pool are [default: llm-d-vllm; llm-d-sim for the preset simulator].
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Where picker, gateway and routes are.
    #[arg(long, value_name = "NAME", default_value = defaults::SCHEDULER_NAMESPACE)]
    scheduler_namespace: String,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Servers and proxies")]
struct Servers {
    /// The model.
    #[arg(long, default_value = defaults::MODEL)]
    model: String,
    /// The servers' image.
    #[arg(long, default_value = defaults::IMAGE)]
    image: String,
    /// The image of the proxies, and of everything that is simulated.
    #[arg(long, value_name = "IMAGE", default_value = defaults::POINTSMAN_IMAGE)]
    pointsman_image: String,
    /// What servers run as: pods as in the lab, or deployments, which take changes.
    #[arg(long, value_enum, default_value = "pods")]
    workload: WorkloadName,
    /// GPUs of a server, which share its tensors.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    gpus: u32,
    /// The nodes' label nvidia.com/gpu.product; empty for any.
    #[arg(long, value_name = "PRODUCT", default_value = defaults::GPU_PRODUCT)]
    gpu_product: String,
    /// Further labels of the nodes that servers run on.
    #[arg(long, value_name = "LABEL=VALUE", value_delimiter = ',', value_parser = label)]
    node_selector: Vec<(String, String)>,
    /// Share of a GPU's memory that a server takes.
    #[arg(long, value_name = "SHARE", default_value = defaults::GPU_MEMORY)]
    gpu_memory_utilization: String,
    /// Tokens of prompt and answer together.
    #[arg(long, value_name = "TOKENS", default_value_t = defaults::MAX_MODEL_LEN)]
    max_model_len: u32,
    /// How tool calls are read out of answers; empty for not at all.
    #[arg(long, value_name = "PARSER", default_value = defaults::TOOL_CALL_PARSER)]
    tool_call_parser: String,
    /// A further argument of every server, such as --server-arg=--max-num-seqs=64; may be given several times.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    server_arg: Vec<String>,
    /// Where models are kept: nfs:SERVER:/PATH, pvc:NAME, host:/PATH, or empty (each server fetches its own).
    #[arg(long, value_name = "VOLUME", default_value = "empty", value_parser = volume)]
    model_volume: Source,
    /// A Secret whose key `token` lets servers fetch the model.
    #[arg(long, value_name = "NAME")]
    hf_token_secret: Option<String>,
    /// Where KV that goes through a file system is kept: host:/PATH or pvc:NAME of a claim that several pods may write.
    #[arg(long, value_name = "VOLUME", default_value = defaults::KV_VOLUME, value_parser = volume)]
    kv_volume: Source,
    /// The servers' port.
    #[arg(long, default_value_t = defaults::PORT)]
    port: u16,
    /// The port on which servers hand over KV.
    #[arg(long, value_name = "PORT", default_value_t = defaults::KV_PORT)]
    kv_port: u16,
    /// The candidates' port [default: 8080 for proxies, 8200 for simulators].
    #[arg(long, value_name = "PORT")]
    proxy_port: Option<u16>,
    /// Servers of each stage of a SimulatorDeployment.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    replicas: u32,
    /// The SimulatorDeployment's name.
    #[arg(long, value_name = "NAME", default_value = defaults::SIMULATOR)]
    simulator: String,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Pool, routes, picker")]
struct Way {
    /// The pool's name [default: vllm-proxy-performance; gaie-inference-scheduling for the preset simulator].
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// What a gateway does while no picker answers.
    #[arg(long, default_value = "FailClose", value_parser = ["FailOpen", "FailClose"])]
    failure_mode: String,
    /// The name of the route by header.
    #[arg(long, value_name = "NAME", default_value = defaults::AB_ROUTE)]
    ab_route: String,
    /// The header that it looks at.
    #[arg(long, value_name = "HEADER", default_value = defaults::AB_HEADER)]
    ab_header: String,
    /// The SchedulerInstall's name.
    #[arg(long, value_name = "NAME", default_value = defaults::INSTALL)]
    install: String,
    /// How the picker picks [default: proxy-performance; default for the preset simulator].
    #[arg(long, value_name = "PROFILE", value_parser = pointsman_core::config::presets::LAB_NAMES)]
    profile: Option<String>,
    /// The picker's name.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "gaie-inference-scheduling-epp"
    )]
    epp: String,
    /// The picker's image [default: the SchedulerInstall's own; with --simulated that of --pointsman-image].
    #[arg(long, value_name = "IMAGE")]
    epp_image: Option<String>,
    /// The picker's port.
    #[arg(long, value_name = "PORT", default_value_t = 9002)]
    epp_port: u16,
    /// The Service in front of the candidates.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "gaie-inference-scheduling-proxy"
    )]
    proxy_service: String,
    /// The Gateway's name.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "infra-inference-scheduling-inference-gateway"
    )]
    gateway: String,
    /// Its class.
    #[arg(long, value_name = "CLASS", default_value = "istio")]
    gateway_class: String,
    /// The port on which it listens.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    gateway_port: u16,
    /// How the gateway is told to ask the picker; Legacy is the lab's, and does not make its choice count.
    #[arg(long, default_value = "Auto", value_parser = ["Auto", "FullDuplex", "Legacy"])]
    envoy_filter: String,
    /// How Istio balances over the Service in front of the candidates; none for no DestinationRule.
    #[arg(long, default_value = "ROUND_ROBIN", value_parser = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "LEAST_CONN", "none"])]
    destination_rule: String,
    /// Requests that may wait for a connection there.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    max_pending_requests: u32,
    /// Requests that a connection serves there.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    max_requests_per_connection: u32,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is no label; give LABEL=VALUE"))
}

fn volume(text: &str) -> Result<Source, String> {
    Source::parse(text).map_err(|error| error.to_string())
}

/// Prints or applies.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let values = match &args.what {
        What::Render(args) => &args.values,
        What::Apply(args) => &args.values,
    };
    let all = match values.settings() {
        Ok(settings) => objects(&settings),
        Err(why) => {
            complain(&format!("error: {why}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    match args.what {
        What::Render(args) => {
            let all = all.iter().map(|child| (&child.value, child.note));
            say(&text(all, args.output.into()));
        }
        What::Apply(args) => write(&args, &all)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(args: &ApplyArgs, all: &[Child]) -> anyhow::Result<()> {
    let how = How {
        dry: args.dry_run.is_some(),
        force: args.force_conflicts,
    };
    let outcomes = runtime()?.block_on(async {
        let client = match &args.kubeconfig {
            Some(path) => connect_to(path).await?,
            None => connect().await?,
        };
        let told = |child: &Child, outcome: &Outcome| say(&line(child, outcome, how.dry));
        anyhow::Ok(apply(&client, all, how, told).await)
    })?;
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|one| is(one)).count();
    let refused = count(|one| matches!(one, Outcome::Refused(_)));
    if refused > 0 {
        bail!("{refused} of {} objects were refused", outcomes.len());
    }
    let unseen = count(|one| *one == Outcome::NotChecked);
    if unseen > 0 {
        say(&format!(
            "{unseen} of {} objects could not be checked, since their namespace is not there yet: make it, and run this again for a whole check\n",
            outcomes.len()
        ));
    } else if how.dry {
        say(&format!("all {} objects are taken\n", outcomes.len()));
    }
    Ok(())
}

fn line(child: &Child, outcome: &Outcome, dry: bool) -> String {
    let place = match child.namespace.as_str() {
        "" => child.name.clone(),
        namespace => format!("{namespace}/{}", child.name),
    };
    let said = match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "as it should be",
        Outcome::NotChecked => "not checked",
        Outcome::Refused(why) => {
            return format!("{} {place}: refused: {why}\n", child.kind.kind);
        }
    };
    let dry = if dry { " (dry run)" } else { "" };
    format!("{} {place}: {said}{dry}\n", child.kind.kind)
}

impl Values {
    fn settings(&self) -> Result<Settings, String> {
        let (servers, way) = (&self.servers, &self.way);
        let base = match self.preset {
            Preset::Simulator => Settings::of_simulator(),
            _ => Settings::default(),
        };
        let (p2p_pairs, fs_pairs) = self.counts()?;
        let mut node_selector = servers.node_selector.clone();
        if !servers.gpu_product.is_empty() {
            node_selector.insert(
                0,
                (
                    "nvidia.com/gpu.product".to_owned(),
                    servers.gpu_product.clone(),
                ),
            );
        }
        let settings = Settings {
            parts: self.parts.iter().copied().map(Part::from).collect(),
            p2p_pairs,
            fs_pairs,
            simulated: self.simulated || base.simulated,
            namespace: self.places.namespace.clone().unwrap_or(base.namespace),
            scheduler_namespace: self.places.scheduler_namespace.clone(),
            model: servers.model.clone(),
            image: servers.image.clone(),
            pointsman_image: servers.pointsman_image.clone(),
            workload: match servers.workload {
                WorkloadName::Pods => Workload::Pods,
                WorkloadName::Deployments => Workload::Deployments,
            },
            gpus: servers.gpus,
            node_selector,
            gpu_memory: servers.gpu_memory_utilization.clone(),
            max_model_len: servers.max_model_len,
            tool_call_parser: servers.tool_call_parser.clone(),
            server_args: servers.server_arg.clone(),
            model_volume: servers.model_volume.clone(),
            token_secret: servers.hf_token_secret.clone(),
            kv_volume: servers.kv_volume.clone(),
            port: servers.port,
            kv_port: servers.kv_port,
            proxy_port: servers.proxy_port.unwrap_or(base.proxy_port),
            replicas: servers.replicas,
            simulator: servers.simulator.clone(),
            pool: way.pool.clone().unwrap_or(base.pool),
            failure_mode: way.failure_mode.clone(),
            ab_route: way.ab_route.clone(),
            ab_header: way.ab_header.clone(),
            install: way.install.clone(),
            profile: way.profile.clone().unwrap_or(base.profile),
            epp: way.epp.clone(),
            epp_image: way.epp_image.clone(),
            epp_port: way.epp_port,
            proxy_service: way.proxy_service.clone(),
            gateway: way.gateway.clone(),
            gateway_class: way.gateway_class.clone(),
            gateway_port: way.gateway_port,
            filter_mode: way.envoy_filter.clone(),
            balancing: match way.destination_rule.as_str() {
                "none" => String::new(),
                rule => rule.to_owned(),
            },
            max_pending: way.max_pending_requests,
            max_per_connection: way.max_requests_per_connection,
            ..base
        };
        settings.check()?;
        Ok(settings)
    }

    /// Pairs over NVLink and through a file system.
    fn counts(&self) -> Result<(u32, u32), String> {
        let Some(text) = &self.pairs else {
            return Ok(match self.preset {
                Preset::AbSameNode => (1, 1),
                Preset::P2pSameNode => (1, 0),
                Preset::FsSameNode => (0, 1),
                Preset::Simulator => (0, 0),
            });
        };
        let all = pairs::parse(text).map_err(|why| why.to_string())?;
        let of = |backend| all.iter().filter(|pair| pair.backend == backend).count() as u32;
        let (p2p, fs) = (of(pairs::Backend::P2p), of(pairs::Backend::Fs));
        match self.preset {
            Preset::Simulator => Err(
                "--pairs is for pairs, and --preset simulator has none: --replicas says how many servers a stage has".to_owned(),
            ),
            Preset::P2pSameNode if fs > 0 => Err(foreign("p2p-same-node", "fs")),
            Preset::FsSameNode if p2p > 0 => Err(foreign("fs-same-node", "p2p")),
            _ => Ok((p2p, fs)),
        }
    }
}

/// Pairs that a preset does not have were asked for.
fn foreign(preset: &str, kind: &str) -> String {
    format!(
        "--preset {preset} has no {kind} pairs: leave {kind} out of --pairs, or take --preset ab-same-node"
    )
}
