//! The picker over ext_proc: a load that plays the gateway's part against `pointsman epp`.
//!
//! ```text
//! cargo bench -p pointsman --bench picker                      # 3 rounds of 3 s
//! cargo bench -p pointsman --bench picker -- --quick           # 1 round of 1 s
//! cargo bench -p pointsman --bench picker -- --scenarios idle  # only some
//! cargo bench -p pointsman --bench picker -- --envoy ~/.cache/pointsman/envoy/envoy  # also through Envoy
//! ```
//!
//! An exchange is whole: request head and body, the decision, the body sent back, the answer's head and body, each
//! answered. Load and mock run on one CPU, the picker alone on another. The reference picker cannot be built from a
//! registry, so goals are its recorded figures by the ratio that is asked for, scaled by what the yardstick proxy costs on
//! this machine (17 µs where they were recorded). Linux only.

mod behind;
mod envoy;
mod field;
mod scenarios;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use pointsman_bench::load::{Pacing, Plan};
use pointsman_bench::report::{Goal, Spread, Table, goal_table, short};
use pointsman_bench::rounds::{Backend, Scenario as Race, race};
use pointsman_bench::{pin, roles};

use crate::field::{Field, Found};
use crate::scenarios::{SCENARIOS, Scenario, goals};

/// What the yardstick cost per request where the reference was measured, in microseconds.
const YARDSTICK_THERE: f64 = 17.0;

#[derive(Debug, Parser)]
#[command(name = "picker", about = "The picker over ext_proc")]
struct Args {
    /// One round of one second
    #[arg(long)]
    quick: bool,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of each measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Only scenarios whose name contains one of these
    #[arg(long, value_delimiter = ';')]
    scenarios: Vec<String>,
    /// An Envoy, to measure what the picker adds to a request through it
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// CPU of load and mock
    #[arg(long, default_value_t = 0)]
    load_cpu: usize,
    /// CPU of the picker
    #[arg(long, default_value_t = 1)]
    sut_cpu: usize,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    check: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays a role or measures; false when a goal was missed and that matters.
fn start() -> anyhow::Result<bool> {
    if roles::take()? {
        return Ok(true);
    }
    let args = Args::parse();
    if !args.bench {
        // `cargo test --all-targets` runs this file too, and a test must not measure.
        println!("nothing measured; run: cargo bench -p pointsman --bench picker");
        return Ok(true);
    }
    pin::apart(args.load_cpu, args.sut_cpu)?;
    let met = roles::runtime()?.block_on(measure(&args))?;
    Ok(met || !args.check)
}

async fn measure(args: &Args) -> anyhow::Result<bool> {
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| {
            args.scenarios.is_empty()
                || args
                    .scenarios
                    .iter()
                    .any(|part| scenario.name.contains(part))
        })
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no scenario is called like {:?}",
        args.scenarios
    );
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let seconds = args.seconds.unwrap_or(if args.quick { 1.0 } else { 3.0 });
    let window = Duration::from_secs_f64(seconds);
    let field = Field::lay(args.sut_cpu)?;
    let backend = Backend::start(
        field.mocks[0],
        field.mocks.len() as u16,
        Some(args.load_cpu),
    )
    .await
    .context("the mock")?;
    let yardstick = yardstick(&field, &backend, window).await?;
    eprintln!("yardstick: {} µs per request", short(yardstick));
    let mut found: Vec<(&str, Found)> = Vec::new();
    for round in 0..rounds {
        for scenario in &chosen {
            let one = field
                .measure(scenario, window)
                .await
                .with_context(|| format!("under {}", scenario.name))?;
            eprintln!("{round} {:<28} {one}", scenario.name);
            found.push((scenario.name, one));
        }
    }
    println!(
        "{rounds} rounds of {seconds} s; the yardstick costs {} µs per request (200 B, 32 connections).\n",
        short(yardstick)
    );
    println!("{}", figures(&chosen, &found).markdown());
    if let Some(envoy) = &args.envoy {
        let through = behind::compare(&field, envoy, rounds, window).await?;
        println!("{}", through.markdown());
    }
    let scale = yardstick / YARDSTICK_THERE;
    let goals: Vec<Goal> = goals(scale)
        .into_iter()
        .filter(|goal| chosen.iter().any(|scenario| scenario.name == goal.scenario))
        .map(|goal| Goal {
            what: format!("{}: {}", goal.scenario, goal.what),
            at_most: goal.at_most,
            found: of(&found, goal.scenario, goal.figure),
        })
        .collect();
    println!("{}", goal_table(&goals).markdown());
    Ok(goals.iter().all(Goal::met))
}

/// CPU time of the yardstick proxy per request, in microseconds.
async fn yardstick(field: &Field, backend: &Backend, window: Duration) -> anyhow::Result<f64> {
    let pacing = Pacing::Closed { connections: 32 };
    let scenario = Race {
        name: "yardstick".to_owned(),
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        plan: Plan::new(field.mocks[0], pacing, window),
    };
    let samples = race(backend, &[field.yardstick()?], &[scenario], 3, |_| {}).await?;
    Spread::of(samples.iter().filter_map(|sample| sample.cpu_per_answer()))
        .map(|spread| spread.median)
        .context("the yardstick has no figure")
}

fn of(
    found: &[(&str, Found)],
    scenario: &str,
    figure: fn(&Found) -> Option<f64>,
) -> Option<Spread> {
    let mine = found.iter().filter(|(name, _)| *name == scenario);
    Spread::of(mine.filter_map(|(_, one)| figure(one)))
}

fn figures(chosen: &[&Scenario], found: &[(&str, Found)]) -> Table {
    let mut table = Table::new([
        "load",
        "CPU µs",
        "per second",
        "decision p50 ms",
        "p99 ms",
        "cores",
        "RSS MiB before",
        "after",
        "failed",
    ]);
    for scenario in chosen {
        let figure = |figure: fn(&Found) -> Option<f64>| {
            of(found, scenario.name, figure).map_or_else(|| "-".to_owned(), |s| s.to_string())
        };
        table.row([
            scenario.name.to_owned(),
            figure(Found::cpu_micros),
            figure(|f| Some(f.rate)),
            figure(|f| f.decision_ms(0.5)),
            figure(|f| f.decision_ms(0.99)),
            figure(|f| Some(f.spent.cores)),
            figure(|f| Some(f.before_mib)),
            figure(|f| Some(f.spent.resident_mib)),
            figure(|f| Some(f.failed as f64)),
        ]);
    }
    table
}
