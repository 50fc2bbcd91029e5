//! `pointsman bench guidellm`: the same scenarios with GuideLLM as the client, and its report in our document.
//!
//! GuideLLM gets our prompts and our arrival times as a file, so it needs no tokenizer and asks nobody but the target.

mod arguments;
mod child;
mod environment;

pub(crate) use environment::{find, install};

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use pointsman_bench::foreign;
use pointsman_bench::load::{Plan, rows};
use pointsman_bench::preflight;
use pointsman_bench::results::{Results, Run, SCHEMA_VERSION, repeated};
use pointsman_bench::scenario::{Kind, Level};

use crate::bench::load::Load;
use crate::bench::session::{based, planned, warn};
use crate::bench::watching::Watching;
use crate::console::complain;
use crate::place::Place;

/// What is to be run, and against whom.
pub(crate) struct Session<'a> {
    /// The gateway.
    pub(crate) target: &'a Place,
    /// The model; `None`: the first that the target lists.
    pub(crate) model: Option<&'a str>,
    /// Seed of prompts and arrivals.
    pub(crate) seed: u64,
    /// How often each run is made.
    pub(crate) repeat: u32,
    /// What is to be run.
    pub(crate) scenarios: Vec<(String, Kind, Load)>,
    /// Which GuideLLM.
    pub(crate) program: &'a Path,
    /// Where GuideLLM's own reports go, where somebody wants them.
    pub(crate) keep: Option<&'a Path>,
}

impl Session<'_> {
    /// Checks the target, then runs GuideLLM once for each scenario and repetition.
    pub(crate) async fn run(self, watching: &Watching) -> anyhow::Result<Results> {
        let base = based(self.target, self.seed).await?;
        let (planned, inputs) = planned(&self.scenarios, &base)?;
        warn(&inputs);
        let chat = planned.iter().flatten().any(|level| level.plan.chat);
        let model = preflight::check(base.target, &base.host, self.model, chat)
            .await
            .map_err(|why| anyhow!(why))?;
        let mut results = Results {
            schema_version: SCHEMA_VERSION,
            measured_by: None,
            target: format!("http://{}", self.target.authority),
            model,
            seed: self.seed,
            input: inputs.first().cloned(),
            inputs: if inputs.len() > 1 { inputs } else { Vec::new() },
            runs: Vec::new(),
            spread: Vec::new(),
        };
        let runs = self.scenarios.iter().zip(&planned);
        let runs = runs.flat_map(|run| (1..=self.repeat).map(move |repetition| (run, repetition)));
        for (number, (((name, kind, _), levels), repetition)) in (1..).zip(runs) {
            complain(&format!(
                "{name} by GuideLLM, run {repetition} of {}\n",
                self.repeat
            ));
            let one = One {
                name,
                kind: *kind,
                levels,
                number,
            };
            if !self.once(&one, &mut results, watching).await? {
                break;
            }
        }
        foreign::number(&mut results.runs);
        results.spread = repeated(&results.runs);
        Ok(results)
    }

    /// Runs GuideLLM, and once more if it gets stuck.
    async fn tried(
        &self,
        arguments: &[String],
        folder: &Path,
        span: std::time::Duration,
    ) -> anyhow::Result<child::Ended> {
        for more in [true, false] {
            let ended = child::run(
                self.program,
                arguments,
                &self.target.authority,
                folder,
                span,
            )
            .await?;
            if ended != child::Ended::Stuck {
                return Ok(ended);
            }
            if more {
                complain(
                    "GuideLLM says nothing any more; it was stopped, and is started once more\n",
                );
            }
        }
        bail!(
            "GuideLLM got stuck twice; with fewer processes of its own it may not: set GUIDELLM__MAX_WORKER_PROCESSES=1"
        )
    }

    /// One run of GuideLLM over all levels. Gives whether there should be another one.
    async fn once(
        &self,
        one: &One<'_>,
        results: &mut Results,
        watching: &Watching,
    ) -> anyhow::Result<bool> {
        let levels = one.levels;
        let Some(first) = levels.first() else {
            bail!("there is nothing to run");
        };
        let scratch = Scratch::new()?;
        let data = scratch.0.join("requests.jsonl");
        let report = scratch.0.join("report.json");
        let mut plan = first.plan.clone();
        plan.model.clone_from(&results.model);
        let count = written(&data, &plan)?;
        let wanted = arguments::Wanted {
            target: &results.target,
            model: &results.model,
            kind: one.kind,
            levels,
            data: &data,
            rows: count,
            report: &report,
        };
        let arguments = arguments::of(&wanted);
        let span = (plan.warmup + plan.window) * u32::try_from(levels.len()).unwrap_or(1);
        let ended = self.tried(&arguments, &scratch.0, span).await?;
        if let child::Ended::Told(why) = ended {
            complain(&format!("{why}; GuideLLM writes no report then\n"));
            results.runs.push(nothing(first, why));
            return Ok(false);
        }
        let text = fs::read_to_string(&report)
            .context("GuideLLM ended well and left no report; is its version 0.7 or newer?")?;
        if let Some(folder) = self.keep {
            keep(folder, one.number, &text)?;
        }
        let found = foreign::read(&text, None)
            .map_err(|why| anyhow!("what GuideLLM wrote cannot be used: it {why}"))?;
        results.measured_by = found.measured_by;
        watching.look_at_pods_once().await;
        let windows = windows(&text);
        for (at, mut run) in found.runs.into_iter().enumerate() {
            one.name.clone_into(&mut run.scenario);
            if let Some(level) = levels.get(at) {
                run.concurrency = level.concurrency;
                run.rate = level.rate;
            }
            if let Some((begin, end)) = windows.get(at) {
                run.resources = watching.usage(*begin, *end);
            }
            results.runs.push(run);
        }
        Ok(true)
    }
}

/// One run of GuideLLM.
struct One<'a> {
    /// The scenario's name, and of which kind it is.
    name: &'a str,
    kind: Kind,
    levels: &'a [Level],
    /// Which run of all, from 1.
    number: u32,
}

fn written(data: &Path, plan: &Plan) -> anyhow::Result<usize> {
    let file =
        fs::File::create(data).with_context(|| format!("{} cannot be written", data.display()))?;
    let mut out = std::io::BufWriter::new(file);
    rows::write(plan, &mut out)
        .and_then(|count| std::io::Write::flush(&mut out).map(|()| count))
        .with_context(|| format!("{} cannot be written", data.display()))
}

fn keep(folder: &Path, number: u32, text: &str) -> anyhow::Result<()> {
    let path = folder.join(format!("guidellm-{number}.json"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// When each benchmark of a report was measured, in seconds since 1970.
fn windows(text: &str) -> Vec<(f64, f64)> {
    let report: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let listed = report["benchmarks"].as_array().into_iter().flatten();
    let window = |benchmark: &serde_json::Value| {
        let at = |key: &str| benchmark[key].as_f64().unwrap_or_default();
        (at("start_time"), at("end_time"))
    };
    listed.map(window).collect()
}

/// A run of which nothing is known.
fn nothing(level: &Level, why: &str) -> Run {
    let mut run = Run::new(
        level,
        1,
        &pointsman_bench::load::Outcome::default(),
        Vec::new(),
    );
    run.partial = Some(why.to_owned());
    run
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("pointsman-guidellm-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
