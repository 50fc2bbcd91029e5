//! `pointsman verify`: proves a running gateway, or says what is wrong with it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use pointsman_core::config::duration::parse_duration;

use crate::commands::gateway::random_seed;
use crate::console::{complain, say, stdout_has_colour};
use crate::place::Place;
use crate::serving::runtime;
use crate::verify::judge::{all_good, judge};
use crate::verify::observe::{Aim, observe};
use crate::verify::report;
use crate::verify::seen::Seen;

const EXAMPLES: &str = "\
Examples:
  pointsman verify
  pointsman verify --target http://127.0.0.1:18080 --admin http://127.0.0.1:19090
  pointsman verify -o json | jq '.checks[] | select(.ok | not)'
  POINTSMAN_TARGET=http://gateway:8080 POINTSMAN_ADMIN=http://gateway:9090 pointsman verify

It sends about 150 short completions and, for a few seconds, some long ones.
Exit code: 0 every check holds, 1 one does not, 2 wrong usage, 130 interrupted.";

/// Flags of `pointsman verify`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway, where clients connect.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    target: Place,
    /// Its admin port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    admin: Place,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
    /// Time for everything; checks that were not reached by then fail.
    #[arg(long, value_name = "TIME", default_value = "28s", value_parser = time)]
    timeout: Duration,
    /// The model that probes ask for [default: the first that a candidate lists].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
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
    let mut seen = Seen {
        target: args.target.authority.clone(),
        admin: args.admin.authority.clone(),
        ..Seen::default()
    };
    let aim = Aim {
        target: args.target,
        admin: args.admin,
        model: args.model,
        run: random_seed(),
    };
    let watched = std::io::stderr().is_terminal();
    let tell = |text: &str| {
        if watched {
            complain(&format!("  {text}\n"));
        }
    };
    let interrupted = runtime()?.block_on(async {
        tokio::select! {
            _ = tokio::time::timeout(args.timeout, observe(&aim, &mut seen, tell)) => Ok(false),
            pressed = tokio::signal::ctrl_c() => pressed.map(|()| true),
        }
    })?;
    if interrupted {
        return Ok(ExitCode::from(130));
    }
    let checks = judge(&seen);
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
