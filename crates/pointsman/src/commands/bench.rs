//! `pointsman bench`: load on a gateway, what it did with it, and such results side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Subcommand, ValueEnum};
use pointsman_bench::results::{Results, compare::compare, page::page, text::text};
use pointsman_bench::scenario::Kind;

use pointsman_bench::processes::find;

use crate::bench::load::Load;
use crate::bench::watching::{self, Pods, Watching};
use crate::bench::{file, guidellm, import, session, written};
use crate::console::{complain, wrong_usage};
use crate::place::Place;
use crate::serving::runtime;

const EXAMPLES: &str = "\
Examples:
  pointsman bench steady --duration 20s
  pointsman bench throughput --concurrency 1,8,32 --process pointsman --html report.html
  pointsman bench sweep --rate 40 -o json > a.json
  pointsman bench sweep --trace conversation_trace.jsonl --trace-speed 4
  pointsman bench steady --rate 10 --turns 6 --shared-prefix 2000
  pointsman bench run scenarios.yaml --repeat 3 -o json > b.json
  pointsman bench compare a.json b.json
  pointsman bench guidellm throughput --concurrency 1,8 the same load by GuideLLM, in the same report
  pointsman bench guidellm run scenarios.yaml           the scenarios of a file, likewise
  pointsman bench import benchmarks.json --html r.html  what GuideLLM or aiperf wrote, in our report

Progress goes to the standard error.
Exit code: 0 measured, 1 not or only in part, 2 wrong usage, 130 interrupted, 143 told to end
(what was measured is kept).";

/// Flags of `pointsman bench`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One request after another, or evenly at a rate: what an answer costs without a crowd.
    #[command(after_help = EXAMPLES)]
    Steady(Scenario),
    /// As many requests at once as each level says: how much gets through.
    #[command(after_help = EXAMPLES)]
    Throughput(Scenario),
    /// Irregular arrivals, bursts between calm stretches, or those of a trace.
    #[command(after_help = EXAMPLES)]
    Sweep(Scenario),
    /// The scenarios of a file.
    #[command(after_help = EXAMPLES)]
    Run(FromFile),
    /// Two results side by side, or more.
    #[command(after_help = EXAMPLES)]
    Compare(Compare),
    /// One of the scenarios with GuideLLM as the client; it is installed if it is not there.
    #[command(after_help = EXAMPLES)]
    Guidellm(GuideLlm),
    /// What GuideLLM (--output kind=json) or aiperf (profile_export_aiperf.json) wrote, as a result of ours.
    #[command(after_help = EXAMPLES)]
    Import(Import),
}

#[derive(clap::Args)]
struct Scenario {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct FromFile {
    /// A YAML file with a list of scenarios.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Compare {
    /// What bench printed with -o json, two times or more; all are compared with the first.
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// How the comparison looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct GuideLlm {
    /// The scenario.
    #[arg(value_enum, required_unless_present = "install")]
    scenario: Option<Named>,
    /// With run: a YAML file with a list of scenarios, which then take no flags.
    #[arg(value_name = "FILE", required_if_eq("scenario", "run"))]
    file: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    common: Common,
    /// GuideLLM's program [default: the one on the PATH, else one of our own in the user's cache].
    #[arg(long, value_name = "PROGRAM")]
    guidellm: Option<PathBuf>,
    /// Keep the reports that GuideLLM writes in this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Only install GuideLLM into the user's cache, and print where its program is.
    #[arg(long)]
    install: bool,
}

/// A scenario by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Named {
    /// One request after another, or evenly at a rate.
    Steady,
    /// As many requests at once as each level says.
    Throughput,
    /// Irregular arrivals.
    Sweep,
    /// The scenarios of a file.
    Run,
}

impl GuideLlm {
    /// What is to be run.
    fn scenarios(&self, scenario: Named) -> anyhow::Result<Vec<(String, Kind, Load)>> {
        let kind = match scenario {
            Named::Steady => Kind::Steady,
            Named::Throughput => Kind::Throughput,
            Named::Sweep => Kind::Sweep,
            Named::Run => {
                let Some(path) = &self.file else {
                    return Err(wrong_usage(anyhow!("run needs a file of scenarios")));
                };
                if self.load != file::usual()? {
                    return Err(wrong_usage(anyhow!(
                        "with run the file says what the load is; write there what the flags say"
                    )));
                }
                return file::read(path);
            }
        };
        if let Some(path) = &self.file {
            return Err(wrong_usage(anyhow!(
                "{} takes no file; for the scenarios of {} write run",
                kind.name(),
                path.display()
            )));
        }
        self.load.check(kind).map_err(wrong_usage)?;
        Ok(vec![(kind.name().to_owned(), kind, self.load.clone())])
    }
}

#[derive(clap::Args)]
struct Import {
    /// Reports of GuideLLM or aiperf; several become one result, which all must have the same target.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// How results look.
#[derive(clap::Args)]
struct Form {
    /// Write a report with plots into one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How the results look.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// What all loads have in common.
#[derive(clap::Args)]
struct Common {
    /// The gateway, where clients connect.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    target: Place,
    /// The model to ask for [default: the first that the target lists].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Seed of prompts and arrivals.
    #[arg(long, value_name = "N", default_value = "7")]
    seed: u64,
    /// Make each run so often, and report the spread.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Watch CPU and memory of a process of this machine; may be given several times.
    #[arg(long = "process", value_name = "NAME=PID|NAME", value_parser = process)]
    processes: Vec<String>,
    /// Watch CPU and memory of pods by the cluster's metrics API; may be given several times.
    #[arg(long, value_name = "NAME=NAMESPACE/SELECTOR", value_parser = watching::pods)]
    pods: Vec<Pods>,
    /// Kubeconfig for --pods [default: KUBECONFIG, ~/.kube/config, or the pod's service account].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// How results look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// Runs what was asked for.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let one = |kind: Kind, scenario: Scenario| {
        scenario.load.check(kind).map_err(wrong_usage)?;
        load(
            vec![(kind.name().to_owned(), kind, scenario.load)],
            &scenario.common,
        )
    };
    match args.what {
        What::Steady(scenario) => one(Kind::Steady, scenario),
        What::Throughput(scenario) => one(Kind::Throughput, scenario),
        What::Sweep(scenario) => one(Kind::Sweep, scenario),
        What::Run(from) => load(file::read(&from.file)?, &from.common),
        What::Compare(files) => {
            let documents: anyhow::Result<Vec<Results>> =
                files.files.iter().map(|file| document(file)).collect();
            let found = compare(&documents?).map_err(|why| anyhow!(why))?;
            session::print(&match files.output {
                Output::Table => found.text(),
                Output::Json => json(&found)?,
            })?;
            Ok(ExitCode::SUCCESS)
        }
        What::Guidellm(args) => guided(&args),
        What::Import(args) => measured(&args.form, || import::read(&args.files)),
    }
}

fn load(scenarios: Vec<(String, Kind, Load)>, common: &Common) -> anyhow::Result<ExitCode> {
    measured(&common.form, || {
        let session = session::Session {
            target: &common.target,
            model: common.model.as_deref(),
            seed: common.seed,
            repeat: common.repeat,
            scenarios,
        };
        runtime()?.block_on(async {
            let watching = watching(common).await?;
            session.run(&watching).await
        })
    })
}

fn guided(args: &GuideLlm) -> anyhow::Result<ExitCode> {
    let (false, Some(scenario)) = (args.install, args.scenario) else {
        let program = guidellm::install()?;
        session::print(&format!("{}\n", program.path.display()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let common = &args.common;
    let scenarios = args.scenarios(scenario)?;
    measured(&common.form, || {
        let program = guidellm::find(args.guidellm.as_deref())?;
        complain(&format!(
            "GuideLLM {}: {}\n",
            program.version,
            program.path.display()
        ));
        let session = guidellm::Session {
            target: &common.target,
            model: common.model.as_deref(),
            seed: common.seed,
            repeat: common.repeat,
            scenarios,
            program: &program.path,
            keep: args.keep.as_deref(),
        };
        runtime()?.block_on(async {
            let watching = watching(common).await?;
            tokio::select! {
                results = session.run(&watching) => results,
                never = watching.look() => match never {},
            }
        })
    })
}

/// The form of `--process`; whether there is such a process is seen when the run begins.
fn process(text: &str) -> Result<String, String> {
    let (name, wanted) = text.split_once('=').unwrap_or((text, text));
    if name.is_empty() || wanted.is_empty() {
        return Err("write NAME=PID or the name of a program".to_owned());
    }
    Ok(text.to_owned())
}

async fn watching(common: &Common) -> anyhow::Result<Watching> {
    let found: Result<_, String> = common.processes.iter().map(|text| find(text)).collect();
    let processes = found.map_err(|why| anyhow!(why))?;
    Watching::new(processes, &common.pods, common.kubeconfig.as_deref()).await
}

/// Measures, and tells what was found in every form that is asked for.
fn measured(
    form: &Form,
    measure: impl FnOnce() -> anyhow::Result<Results>,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = &form.html {
        written::writable(path)?;
    }
    let results = measure()?;
    // Printed first: what cannot be written to a file is still seen.
    let printed = session::print(&match form.output {
        Output::Table => text(&results),
        Output::Json => json(&results)?,
    });
    if let Some(path) = &form.html {
        written::write(path, &page(&results))?;
        complain(&format!("report: {}\n", path.display()));
    }
    printed?;
    session::verdict(&results)?;
    Ok(session::ended_by(&results).map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A document that bench wrote.
fn document(path: &Path) -> anyhow::Result<Results> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{shown} is no result of pointsman bench -o json"))
}
