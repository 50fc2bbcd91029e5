//! `pointsman verify`: proves a running gateway, or says what is wrong and what mends it.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use pointsman_core::config::duration::parse_duration;
use tokio::time::Instant;

use crate::commands::gateway::random_seed;
use crate::console::{complain, say};
use crate::remote::{AdminArgs, target};
use crate::serving::runtime;
use crate::verify::ask::Asker;
use crate::verify::judge::check::Check;
use crate::verify::judge::judge;
use crate::verify::observe::observe;
use crate::verify::report;

const EXAMPLES: &str = "\
Examples:
  pointsman verify                                   the lab, or a gateway on the usual ports
  pointsman verify --target http://gw:8080 --admin http://gw:9090
  pointsman verify -o json

It sends about 150 short requests through the gateway, one to each candidate directly, and a few long ones that it
gives up again. Exit code: 0 all good, 1 a check failed, 2 wrong usage.";

/// Flags of `pointsman verify`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway, as clients reach it.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    target: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// The model to ask for; the first one that the gateway lists when left out.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Time for everything; what is not reached by then counts as failed.
    #[arg(long, value_name = "DURATION", default_value = "28s", value_parser = duration)]
    timeout: Duration,
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

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        span if span.0 == 0 => Err("needs more than no time at all".to_owned()),
        span => Ok(Duration::from_nanos(span.0)),
    }
}

/// Looks, judges and reports.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let gateway = target(&args.target, "--target")?;
    let admin = target(&args.admin.admin, "--admin")?;
    let asker = Asker::new(
        Instant::now() + args.timeout,
        "unknown".to_owned(),
        format!("{:08x}", random_seed() as u32),
    );
    let shows_progress = std::io::stderr().is_terminal();
    let progress = move |what: &str| {
        if shows_progress {
            complain(&format!("verify: {what}\n"));
        }
    };
    let seen = runtime()?.block_on(async {
        tokio::select! {
            seen = observe(asker, &gateway, &admin, args.model.as_deref(), &progress) => seen,
            _ = tokio::signal::ctrl_c() => std::process::exit(130),
        }
    });
    let checks = match &seen.unreachable {
        Some(why) => vec![Check::bad(
            "reach",
            "gateway and admin port answer",
            why.clone(),
            why.clone(),
            "start pointsman, or name where it runs with --target and --admin",
        )],
        None => judge(&seen),
    };
    say(&match args.output {
        Output::Table => report::text(&checks),
        Output::Json => report::json(&checks),
    });
    let failed: Vec<&str> = checks.iter().filter(|c| !c.ok).map(|c| c.id).collect();
    if !failed.is_empty() {
        bail!("verify failed: {}", failed.join(", "));
    }
    Ok(())
}
