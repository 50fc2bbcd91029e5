//! A whole benchmark: checks first, then every run, then what is written.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, anyhow, bail};
use pointsman_bench::campaign::{INTERRUPTED, TERMINATED, measure};
use pointsman_bench::inputs::Read;
use pointsman_bench::load::{Pacing, Plan};
use pointsman_bench::preflight;
use pointsman_bench::results::{Results, Run, SCHEMA_VERSION, repeated};
use pointsman_bench::samples::now;
use pointsman_bench::scenario::{Kind, Level};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::load::{Load, plan};
use crate::bench::watching::Watching;
use crate::console::complain;
use crate::place::Place;

/// Whom to load and how to look at it.
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
}

impl Session<'_> {
    /// Runs everything. Interrupted or left by its target, it keeps what it has.
    pub(crate) async fn run(self, watching: &Watching) -> anyhow::Result<Results> {
        let base = based(self.target, self.seed).await?;
        let target = base.target;
        // Before anybody is asked, so that a file that is wrong costs no time.
        let (planned, inputs) = planned(&self.scenarios, &base)?;
        let mut levels: Vec<Level> = planned.into_iter().flatten().collect();
        warn(&inputs);
        let chat = levels.iter().any(|level| level.plan.chat);
        let model = preflight::check(target, &base.host, self.model, chat)
            .await
            .map_err(|why| anyhow!(why))?;
        for level in &mut levels {
            level.plan.model.clone_from(&model);
        }
        let mut runs = Vec::new();
        'runs: for level in &levels {
            for repetition in 1..=self.repeat {
                let name = format!("{}, run {repetition} of {}", shown(level), self.repeat);
                complain(&format!("{name}\n"));
                let tell = |text: &str| complain(&format!("{name}: {text}\n"));
                let begin = now() + level.plan.warmup.as_secs_f64();
                let load = measure(
                    level,
                    repetition as usize,
                    watching.processes(),
                    &tell,
                    told_to_end(),
                );
                let run = tokio::select! {
                    run = load => run,
                    never = watching.look_at_pods() => match never {},
                };
                watching.look_at_pods_once().await;
                let mut run = run.with_context(|| format!("{name} could not be held"))?;
                run.resources
                    .extend(watching.pods_usage(begin, begin + run.seconds));
                let partial = run.partial.clone();
                runs.push(run);
                if let Some(why) = partial {
                    complain(&format!(
                        "{name}: {why}; what was measured so far is kept\n"
                    ));
                    break 'runs;
                }
            }
        }
        Ok(Results {
            schema_version: SCHEMA_VERSION,
            measured_by: None,
            target: format!("http://{}", self.target.authority),
            model,
            seed: self.seed,
            input: inputs.first().cloned(),
            inputs: if inputs.len() > 1 { inputs } else { Vec::new() },
            spread: repeated(&runs),
            runs,
        })
    }
}

fn shown(level: &Level) -> String {
    match (level.concurrency, level.rate) {
        (Some(n), _) => format!("{}, concurrency {n}", level.scenario),
        (None, Some(rate)) => format!("{}, {rate} requests/s", level.scenario),
        (None, None) => level.scenario.clone(),
    }
}

/// The plan that those of a target begin with.
pub(crate) async fn based(target: &Place, seed: u64) -> anyhow::Result<Plan> {
    let address = target.resolve().await.map_err(|why| anyhow!(why))?;
    let pacing = Pacing::Closed { connections: 1 };
    let mut base = Plan::new(address, pacing, std::time::Duration::ZERO);
    base.host.clone_from(&target.authority);
    base.seed = seed;
    Ok(base)
}

/// The runs of each scenario, and what was read of the files that requests come from.
pub(crate) fn planned(
    scenarios: &[(String, Kind, Load)],
    base: &Plan,
) -> anyhow::Result<(Vec<Vec<Level>>, Vec<Read>)> {
    let (mut levels, mut inputs) = (Vec::new(), Vec::new());
    for (name, kind, load) in scenarios {
        let (more, read) =
            plan(load, name, *kind, base).with_context(|| format!("scenario {name}"))?;
        levels.push(more);
        inputs.extend(read.filter(|read| !inputs.contains(read)));
    }
    Ok((levels, inputs))
}

/// Tells what was left out of files.
pub(crate) fn warn(inputs: &[Read]) {
    for warning in inputs.iter().filter_map(Read::warning) {
        complain(&format!("warning: {warning}\n"));
    }
}

/// What makes a benchmark fail although it ran: nothing was answered, or it was cut short.
pub(crate) fn verdict(results: &Results) -> anyhow::Result<()> {
    for run in &results.runs {
        let told = |why: &&str| *why != INTERRUPTED && *why != TERMINATED;
        if let Some(why) = run.partial.as_deref().filter(told) {
            bail!("{} is partial: {why}", run.label());
        }
    }
    let silent = |run: &&Run| run.answers() == 0 && run.partial.is_none();
    if let Some(run) = results.runs.iter().find(silent) {
        let kinds: Vec<String> = run
            .errors
            .iter()
            .map(|(kind, n)| format!("{n} x {kind}"))
            .collect();
        let kinds = if kinds.is_empty() {
            "nothing was sent".to_owned()
        } else {
            kinds.join(", ")
        };
        bail!("{}: no request was answered whole: {kinds}", run.label());
    }
    Ok(())
}

/// The exit code of a benchmark that somebody ended before its time.
pub(crate) fn ended_by(results: &Results) -> Option<u8> {
    results
        .runs
        .iter()
        .find_map(|run| match run.partial.as_deref() {
            Some(INTERRUPTED) => Some(130),
            Some(TERMINATED) => Some(143),
            _ => None,
        })
}

/// Waits until somebody presses Ctrl-C or sends SIGTERM, and says which.
pub(crate) async fn told_to_end() -> &'static str {
    // Where a signal cannot be heard it ends us, as it ends everything; that is all right too.
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut heard) => heard.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => INTERRUPTED,
        _ = terminated => TERMINATED,
    }
}

/// Writes to the standard output; a full disk behind it is an error, a reader that left is not.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the report cannot be written to the standard output")
        }
        _ => Ok(()),
    }
}
