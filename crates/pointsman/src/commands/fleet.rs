//! `pointsman fleet`: policies against each other in virtual time.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use pointsman_bench::results::study::{AXES, axis};
use pointsman_core::time::Span;

use crate::bench::{session, written};
use crate::console::{complain, wrong_usage};
use crate::fleet::faults::{faults, notice, time};
use crate::fleet::outcome::document;
use crate::fleet::play::Study;
use crate::fleet::policies::policies;
use crate::fleet::save::mooncake;
use crate::fleet::sweep::swept;
use crate::fleet::traffic::{Load, loads};
use crate::fleet::wanted::Wanted;
use crate::fleet::{faults, sweep, traffic};

const EXAMPLES: &str = "\
Examples:
  pointsman fleet                                              four policies on shared prompts, eight engines
  pointsman fleet --policy mine.yaml,balanced --trace conversation_trace.jsonl --trace-speed 1,2,4 --html report.html
  pointsman fleet --engine 8xh100,8xl40s --scenario multi-turn --load 50,80,95
  pointsman fleet --engine 4xh100:pair=p2p,4xh100:pair=fs --fault pair-0:down@20s+30s
  pointsman fleet --policy default --sweep weight=prefix-cache-scorer:0,0.5,1,2 --svg front.svg
  pointsman fleet study.yaml -o json

The picker is the real one; clocks, sockets and engines are simulated. One seed gives the same bytes each time.
Exit code: 0 done, 1 a file or a policy is refused or a policy served nothing, 2 wrong usage.";

/// Policies where none is named.
const POLICIES: [&str; 4] = ["balanced", "default", "proxy-performance", "random"];

/// Flags of `pointsman fleet`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A YAML file with the plural of these flags as fields; flags take the place of its fields.
    file: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// Write a report with pictures into one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the picture of trade-offs as SVG; with several loads each has its number in the name.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the requests of the first load and seed as a trace in Mooncake's format, for other tools.
    #[arg(long, value_name = "FILE")]
    save_trace: Option<PathBuf>,
    /// How the results look.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// How results look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The table in Markdown.
    Markdown,
    /// One JSON document.
    Json,
}

/// Plays what was asked for.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    check(&args).map_err(wrong_usage)?;
    let wanted = match &args.file {
        Some(file) => args.wanted.clone().or_file(file)?,
        None => args.wanted.clone(),
    };
    let axes = axes(&wanted.axes)?;
    let (loads, inputs) = loads(&wanted)?;
    session::warn(&inputs);
    let study = study(&wanted, loads)?;
    if let Some(path) = &args.save_trace {
        let trace = study.loads[0].trace(study.seeds[0]);
        write(path, &mooncake(&trace, study.loads[0].rate))?;
    }
    // Before the work, so that it is not lost to a wrong name.
    for path in args.html.iter().chain(&args.svg) {
        written::writable(path)?;
    }
    let outcome = study.play()?;
    let (speed, cores) = outcome.speed;
    complain(&format!(
        "{speed:.0} simulated requests a second on {cores} processors\n"
    ));
    let found = document(&study, &outcome.played, inputs, &wanted.faults, axes);
    session::print(&match args.output {
        Output::Table => found.text(),
        Output::Markdown => found.markdown(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&found)?),
    })?;
    if let Some(path) = &args.html {
        write(path, &found.page())?;
    }
    if let Some(path) = &args.svg {
        let pictures = found.pictures();
        for (number, (_, picture)) in (1..).zip(&pictures) {
            let numbered = match pictures.len() {
                1 => path.clone(),
                _ => numbered(path, number),
            };
            write(&numbered, picture)?;
        }
    }
    if let Some(cell) = found.cells.iter().find(|cell| cell.served == 0) {
        bail!("{}, {}: nothing was served", cell.traffic, cell.policy);
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses flags that make no sense by themselves; what a study file says is refused when it is read.
fn check(args: &Args) -> anyhow::Result<()> {
    let flags = &args.wanted;
    axes(&flags.axes)?;
    traffic::check(flags)?;
    if args.file.is_none() && !flags.trace_speed.is_empty() && flags.traces.is_empty() {
        bail!("--trace-speed is for a --trace, and there is none");
    }
    faults::check(&flags.faults)?;
    sweep::check(&flags.sweep)?;
    notice(flags.notice.as_deref())?;
    seeds(flags)?;
    scrape(flags).map(drop)
}

/// The first seed, and how many.
fn seeds(wanted: &Wanted) -> anyhow::Result<(u64, u64)> {
    let (seed, repeat) = (wanted.seed.unwrap_or(7), wanted.repeat.unwrap_or(3));
    if !(1..=1_000).contains(&repeat) {
        bail!("--repeat takes a number from 1 to 1000, not {repeat}");
    }
    Ok((seed, repeat))
}

fn scrape(wanted: &Wanted) -> anyhow::Result<Span> {
    let scrape = match wanted.scrape_interval.as_deref() {
        None => time("200ms")?,
        Some(text) => time(text).context("--scrape-interval")?,
    };
    if scrape.0 == 0 {
        bail!("--scrape-interval must be above 0");
    }
    Ok(scrape)
}

fn study(wanted: &Wanted, loads: Vec<Load>) -> anyhow::Result<Study> {
    let default = POLICIES.map(str::to_owned);
    let names = match &wanted.policies[..] {
        [] => &default[..],
        names => names,
    };
    let (seed, repeat) = seeds(wanted)?;
    let scrape = scrape(wanted)?;
    let noticed = notice(wanted.notice.as_deref())?;
    let faults = loads
        .iter()
        .map(|load| faults(&wanted.faults, &load.members, noticed));
    Ok(Study {
        faults: faults.collect::<anyhow::Result<_>>()?,
        loads,
        policies: swept(policies(names)?, &wanted.sweep)?,
        seeds: (0..repeat).map(|n| seed.wrapping_add(n)).collect(),
        scrape,
    })
}

fn axes(names: &[String]) -> anyhow::Result<(String, String)> {
    let known = || AXES.map(|axis| axis.0).join(", ");
    if let Some(bad) = names.iter().find(|name| axis(name).is_none()) {
        bail!("--axes {bad}: there are {}", known());
    }
    match names {
        [] => Ok(("ttft.p95".to_owned(), "cached".to_owned())),
        [x, y] => Ok((x.clone(), y.clone())),
        _ => bail!("--axes takes two of {}", known()),
    }
}

fn numbered(path: &std::path::Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.svg"))
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    written::write(path, text)?;
    complain(&format!("written: {}\n", path.display()));
    Ok(())
}
