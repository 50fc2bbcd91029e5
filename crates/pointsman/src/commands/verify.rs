//! `pointsman verify`: proves a running gateway, alone or in a cluster, or says what is wrong with it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use pointsman_core::config::duration::parse_duration;

use crate::commands::gateway::random_seed;
use crate::console::{complain, say, stdout_has_colour};
use crate::place::Place;
use crate::serving::runtime;
use crate::verify::check::{CLUSTER, Check, POOL};
use crate::verify::judge::{all_good, judge};
use crate::verify::kube;
use crate::verify::kube::reach::Reach;
use crate::verify::kube::session::{self, Scope};
use crate::verify::kube::surroundings::Surroundings;
use crate::verify::observe::{Aim, observe};
use crate::verify::report;
use crate::verify::seen::Seen;

const EXAMPLES: &str = "\
Examples:
  pointsman verify
  pointsman verify --target http://127.0.0.1:18080 --admin http://127.0.0.1:19090
  pointsman verify -o json | jq '.checks[] | select(.ok | not)'
  POINTSMAN_TARGET=http://gateway:8080 POINTSMAN_ADMIN=http://gateway:9090 pointsman verify
  pointsman verify --kube
  pointsman verify --kube --namespace llm-d-vllm

It sends about 150 short completions and, for a few seconds, some long ones.
With --kube it reads the cluster's objects first and finds gateway, picker and candidates by itself; their ports are
forwarded through the API server, without kubectl.
Exit code: 0 every check holds, 1 one does not, 2 wrong usage, 130 interrupted.";

/// Time for everything, without a cluster and with one.
const TIME: Duration = Duration::from_secs(28);
const KUBE_TIME: Duration = Duration::from_secs(90);

/// Flags of `pointsman verify`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway, where clients connect [default: http://127.0.0.1:8080; with --kube what the Gateway's status says].
    #[arg(long, value_name = "URL")]
    target: Option<Place>,
    /// Its admin port [default: http://127.0.0.1:9090; with --kube the pickers' pods].
    #[arg(long, value_name = "URL")]
    admin: Option<Place>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Prove an installation in a cluster.
    #[arg(long)]
    kube: bool,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
    /// Time for everything; checks that were not reached by then fail [default: 28s; with --kube 90s].
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// The model that probes ask for [default: the first that a candidate lists].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

/// Flags that say which part of which cluster.
#[derive(clap::Args)]
pub(crate) struct ClusterArgs {
    /// A namespace whose pools count, repeatable; routes and pickers are followed wherever they are [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) namespace: Vec<String>,
    /// The InferencePool, if there are several: NAME or NAMESPACE/NAME.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config, the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Reach pods by their own addresses; in a pod of the cluster that is the default.
    #[arg(long)]
    pub(crate) direct: bool,
}

impl ClusterArgs {
    /// The same as the look at a cluster wants it.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            kubeconfig: self.kubeconfig.clone(),
            namespaces: self.namespace.clone(),
            pool: self.pool.clone(),
        }
    }
}

/// How the report looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(span) if span.0 > 0 => Ok(Duration::from_nanos(span.0)),
        Ok(_) => Err("use a time above 0, such as 28s".to_owned()),
        Err(message) => Err(message),
    }
}

/// Looks, judges, reports.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let watched = std::io::stderr().is_terminal();
    let tell = |text: &str| {
        if watched {
            complain(&format!("  {text}\n"));
        }
    };
    let time = args
        .timeout
        .unwrap_or(if args.kube { KUBE_TIME } else { TIME });
    let (mut seen, mut checks) = (Seen::default(), Vec::new());
    let looking = async {
        match args.kube {
            true => look_at_cluster(&args, &mut seen, &mut checks, &tell).await,
            false => look(&args, &mut seen, &tell).await,
        }
    };
    let interrupted = runtime()?.block_on(async {
        tokio::select! {
            _ = tokio::time::timeout(time, looking) => Ok(false),
            pressed = tokio::signal::ctrl_c() => pressed.map(|()| true),
        }
    })?;
    if interrupted {
        return Ok(ExitCode::from(130));
    }
    checks.extend(judge(&seen));
    let ok = all_good(&checks);
    say(&match args.output {
        Output::Table => report::text(&checks, ok, stdout_has_colour()),
        Output::Json => report::json(&checks, ok),
    });
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// A gateway whose addresses are given.
async fn look(args: &Args, seen: &mut Seen, tell: &impl Fn(&str)) {
    let local = |port: u16| Place {
        authority: format!("127.0.0.1:{port}"),
    };
    let aim = Aim {
        target: args.target.clone().unwrap_or_else(|| local(8080)),
        admins: vec![args.admin.clone().unwrap_or_else(|| local(9090))],
        model: args.model.clone(),
        run: random_seed(),
        cluster: None,
    };
    named(seen, &aim);
    observe(&aim, seen, tell).await;
}

fn named(seen: &mut Seen, aim: &Aim) {
    let admins: Vec<String> = aim
        .admins
        .iter()
        .map(|place| format!("http://{}", place.authority))
        .collect();
    seen.target = format!("http://{}", aim.target.authority);
    seen.admin = admins.join(", ");
}

/// An installation in a cluster: its objects first, then its traffic.
async fn look_at_cluster(
    args: &Args,
    seen: &mut Seen,
    checks: &mut Vec<Check>,
    tell: &impl Fn(&str),
) {
    let scope = args.cluster.scope();
    // What says nothing of an address stands for it until it is found.
    (seen.target, seen.admin) = ("in the cluster".to_owned(), "of the picker".to_owned());
    let session = match session::open(&scope, tell).await {
        Ok(session) => session,
        Err(check) => {
            seen.views = Some(Err("the cluster was not read".to_owned()));
            seen.obstacle = check.cause.clone().map(|cause| (CLUSTER, cause));
            checks.push(check);
            return;
        }
    };
    checks.push(kube::judge::cluster(&session.facts));
    let [pool] = session.pools.as_slice() else {
        checks.push(match session.pools.is_empty() {
            true => kube::judge::no_pool(&session.facts, &scope.in_words()),
            false => POOL.bad(
                format!("{} pools", session.pools.len()),
                format!("there are several pools: {}", session.choice()),
                "name one with --pool NAMESPACE/NAME",
            ),
        });
        seen.views = Some(Err("there is no one pool to look at".to_owned()));
        let cause = checks.last().and_then(|check| check.cause.clone());
        seen.obstacle = cause.map(|cause| (POOL, cause));
        return;
    };
    checks.extend(session.judged(pool));
    seen.obstacle = kube::judge::obstacle(checks);
    tell("opening ways to the gateway and the picker");
    let mut surroundings = Surroundings {
        reach: Reach::new(session.client.clone(), args.cluster.direct),
        pool: pool.clone(),
        host: None,
        facts: session.facts,
    };
    let Some(found) = surroundings.installation() else {
        return;
    };
    let host = kube::routes::host(&found);
    let target = match &args.target {
        Some(place) => Ok(place.clone()),
        None => kube::aim::gateway(&found, &surroundings.reach).await,
    };
    let admins = match &args.admin {
        Some(place) => Ok(vec![place.clone()]),
        None => kube::aim::pickers(&found, &surroundings.reach).await,
    };
    surroundings.host = host;
    let (target, admins) = match (target, admins) {
        (Ok(target), Ok(admins)) => (target, admins),
        (target, admins) => {
            let why = [target.err(), admins.err()];
            let why: Vec<String> = why.into_iter().flatten().collect();
            seen.views = Some(Err(why.join("; ")));
            return;
        }
    };
    let aim = Aim {
        target,
        admins,
        model: args.model.clone(),
        run: random_seed(),
        cluster: Some(surroundings),
    };
    named(seen, &aim);
    observe(&aim, seen, tell).await;
}
