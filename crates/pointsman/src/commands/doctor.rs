//! `pointsman doctor`: finds what is wrong with an installation and says what mends it; it sends no request to a model.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::commands::verify::ClusterArgs;
use crate::console::{complain, say, stdout_has_colour};
use crate::doctor::machine::Machine;
use crate::doctor::{cluster, machine};
use crate::place::Place;
use crate::serving::runtime;
use crate::verify::report;

const EXAMPLES: &str = "\
Examples:
  pointsman doctor --kube
  pointsman doctor --kube --namespace llm-d-vllm -o json
  pointsman doctor --config-file epp-config.yaml      this machine: configuration, ports, what runs

With --kube: the objects around every InferencePool, the picker's rights, its own watches, the engines' pages, the clock.
It sends no request to a model; pointsman verify --kube does, and proves the traffic.
Exit code: 0 nothing is wrong, 1 something is, 2 wrong usage, 130 interrupted.";

/// Flags of `pointsman doctor`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Look at a cluster; without it at this machine.
    #[arg(long)]
    kube: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// A configuration (EndpointPickerConfig) to look at.
    #[arg(long, value_name = "FILE", conflicts_with = "kube")]
    config_file: Option<PathBuf>,
    /// Where the gateway listens, or is to.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        conflicts_with = "kube"
    )]
    target: Place,
    /// Where its admin port is, or is to be.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        conflicts_with = "kube"
    )]
    admin: Place,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// How the report looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// Looks and reports.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let watched = std::io::stderr().is_terminal();
    let tell = |text: &str| {
        if watched {
            complain(&format!("  {text}\n"));
        }
    };
    let looking = async {
        if args.kube {
            return cluster::look(&args.cluster.scope(), args.cluster.direct, &tell).await;
        }
        let machine = Machine {
            target: &args.target,
            admin: &args.admin,
            config: args.config_file.as_deref(),
        };
        machine::look(&machine).await
    };
    let checks = runtime()?.block_on(async {
        tokio::select! {
            checks = looking => Ok(Some(checks)),
            pressed = tokio::signal::ctrl_c() => pressed.map(|()| None),
        }
    })?;
    let Some(checks) = checks else {
        return Ok(ExitCode::from(130));
    };
    let ok = checks.iter().all(|check| check.ok);
    say(&match args.output {
        Output::Table => report::text(&checks, ok, stdout_has_colour()),
        Output::Json => report::json(&checks, ok),
    });
    Ok(ExitCode::from(u8::from(!ok)))
}
