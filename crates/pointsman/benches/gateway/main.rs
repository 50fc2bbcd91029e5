//! The gateway and the P/D proxy under load, beside the yardstick proxy and beside no proxy at all.
//!
//! ```text
//! cargo bench -p pointsman --bench gateway                 # 3 rounds of 3 s
//! cargo bench -p pointsman --bench gateway -- --quick      # 1 round of 1 s
//! cargo bench -p pointsman --bench gateway -- --help       # which peers, which scenarios, which CPUs
//! ```
//!
//! Load and mock run on one CPU, the system under test alone on another; the figure to compare is its CPU time per
//! request, and its ratio to the yardstick's in the same round. The markdown it prints is what docs/benchmarks.md holds.
//! It needs Linux, two CPUs and nothing else. A peer that does not start ends it with an error.

mod field;
mod findings;
mod scenarios;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use pointsman_bench::report::{Goal, Samples, goal_table, short};
use pointsman_bench::rounds::{Backend, Sample, race};
use pointsman_bench::{pin, roles};

use crate::field::Field;
use crate::findings::{figures, goals};
use crate::scenarios::{gateway_scenarios, proxy_scenarios};

/// Cores that others may take before latencies are spoilt.
const DISTURBED: f64 = 0.1;

#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    about = "Gateway and P/D proxy beside a minimal hyper proxy"
)]
struct Args {
    /// One round of one second
    #[arg(long)]
    quick: bool,
    /// Rounds; the peers take turns in each
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of each measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Only peers whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Only scenarios whose name contains one of these
    #[arg(long, value_delimiter = ';')]
    scenarios: Vec<String>,
    /// Profile of the gateway
    #[arg(long, default_value = "default")]
    profile: String,
    /// CPU of load and mock
    #[arg(long, default_value_t = 0)]
    load_cpu: usize,
    /// CPU of the system under test
    #[arg(long, default_value_t = 1)]
    sut_cpu: usize,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    check: bool,
    /// Write every sample and goal here
    #[arg(long)]
    json: Option<PathBuf>,
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
        println!("nothing measured; run: cargo bench -p pointsman --bench gateway");
        return Ok(true);
    }
    pin::apart(args.load_cpu, args.sut_cpu)?;
    let met = roles::runtime()?.block_on(compare(&args))?;
    Ok(met || !args.check)
}

/// Runs everything, prints the report and says whether all goals were met.
async fn compare(args: &Args) -> anyhow::Result<bool> {
    let field = Field::lay(args.sut_cpu, &args.profile)?;
    let backend = Backend::start(field.mocks[0], 4, Some(args.load_cpu)).await?;
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let seconds = args.seconds.unwrap_or(if args.quick { 1.0 } else { 3.0 });
    let window = Duration::from_secs_f64(seconds);

    let chosen = |name: &str, filters: &[String]| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let mut samples = Vec::new();
    for (mut peers, mut scenarios) in [
        (field.gateways()?, gateway_scenarios(window)),
        (field.proxies()?, proxy_scenarios(window)),
    ] {
        peers.retain(|peer| chosen(&peer.name, &args.peers));
        scenarios.retain(|scenario| chosen(&scenario.name, &args.scenarios));
        samples.extend(race(&backend, &peers, &scenarios, rounds, progress).await?);
    }
    ensure!(!samples.is_empty(), "no peer or no scenario of that name");

    let goals = goals(Samples(&samples));
    println!("Machine: {}; {rounds} rounds of {seconds} s.\n", machine());
    println!("{}", figures(Samples(&samples)).markdown());
    println!("{}", goal_table(&goals).markdown());
    let disturbed = samples
        .iter()
        .filter(|sample| sample.foreign_cores > DISTURBED)
        .count();
    if disturbed > 0 {
        println!(
            "{disturbed} of {} measurements shared their CPUs with other processes (foreign cores above {DISTURBED}): their latencies mean little.\n",
            samples.len()
        );
    }
    if let Some(file) = &args.json {
        let all = serde_json::json!({ "samples": samples, "goals": goals });
        std::fs::write(file, serde_json::to_vec_pretty(&all)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(goals.iter().all(Goal::met))
}

/// One line per measurement, so that a long run can be followed.
fn progress(sample: &Sample) {
    let cpu = sample
        .cpu_per_answer()
        .map_or_else(|| "-".to_owned(), short);
    let Sample {
        round,
        scenario,
        peer,
        outcome,
        ..
    } = sample;
    eprintln!(
        "{round} {scenario:<22} {peer:<18} {cpu:>8} µs/request {:>9.0}/s  TTFT p50 {:>8.3} p99 {:>8.3} ms  foreign {:.2}  failed {} {}",
        outcome.rate,
        outcome.ttft.p50 / 1e3,
        outcome.ttft.p99 / 1e3,
        sample.foreign_cores,
        outcome.failures(),
        outcome
            .errors
            .iter()
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
}

/// What the figures were measured on.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!("{model}, {cores} cores")
}
