//! `pointsman-fuzz`: searches all targets for a while, or runs one input.
//!
//! Progress goes to stderr. On stdout stands a line per target, its fields parted by tabs: name, runs, seconds, seeds,
//! new inputs, failures. Exit code 1 when something failed, 2 for wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use pointsman_fuzz::corpus;
use pointsman_fuzz::engine::{Bounds, search};
use pointsman_fuzz::failure::{UnderWay, command, keep};
use pointsman_fuzz::target::Target;
use pointsman_fuzz::targets::{ALL, named};
use pointsman_fuzz::trial::silence;

/// Throws changed inputs at every parser of foreign bytes.
#[derive(Parser)]
struct Arguments {
    /// How long, all targets together.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Only this target; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = target_of)]
    target: Vec<&'static Target>,
    /// Where the search begins; the same seed and corpus give the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after so many runs of a target, if the time has not ended it before.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    runs: u64,
    /// Longest input that is made, in bytes.
    #[arg(long, default_value_t = 8192)]
    longest: usize,
    /// Runs this input alone and shows how it fails; needs one --target.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// Lists the targets.
    #[arg(long)]
    list: bool,
}

fn target_of(name: &str) -> Result<&'static Target, String> {
    let names = || ALL.map(|target| target.name).join(", ");
    named(name).ok_or_else(|| format!("no such target; there are {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn all(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        for target in &ALL {
            println!("{}\t{}", target.name, target.what);
        }
        return Ok(true);
    }
    if let (Some(path), [target, ..]) = (&arguments.input, &arguments.target[..]) {
        let input = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        // With the panic as it comes, backtrace and all.
        (target.run)(&input);
        eprintln!(
            "fuzz: {}: {} bytes, nothing wrong",
            target.name,
            input.len()
        );
        return Ok(true);
    }
    silence();
    let every: Vec<&Target> = ALL.iter().collect();
    let targets = if arguments.target.is_empty() {
        every
    } else {
        arguments.target.clone()
    };
    let begun = Instant::now();
    let whole = Duration::from_secs(arguments.seconds);
    let mut good = true;
    for (at, target) in targets.iter().enumerate() {
        // What a target leaves of its time is the others'.
        let left = whole.saturating_sub(begun.elapsed()) / (targets.len() - at) as u32;
        let bounds = Bounds {
            time: left,
            runs: arguments.runs,
            longest: arguments.longest,
        };
        good &= one(target, arguments.seed, &bounds)?;
    }
    Ok(good)
}

/// Searches one target; whether nothing failed.
fn one(target: &Target, seed: u64, bounds: &Bounds) -> Result<bool> {
    eprintln!(
        "fuzz: {}: {}, {:.1} s",
        target.name,
        target.what,
        bounds.time.as_secs_f64()
    );
    let inputs = corpus::inputs(target)?;
    let (under_way, died) = UnderWay::open(target.name)?;
    let mut failures = 0;
    if let Some(path) = &died {
        failures += 1;
        eprintln!("fuzz: {}: an earlier run died on an input", target.name);
        eprintln!("    {}", command(target.name, path));
    }
    let watch = Watch::begin(target.name, under_way.path().to_owned());
    let begun = Instant::now();
    let seeds = inputs.into_iter().map(|input| input.bytes).collect();
    let outcome = search(target, seeds, seed, bounds, |input| {
        watch.turn();
        under_way.note(input)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    watch.end();
    under_way.close()?;
    for failure in &outcome.failures {
        failures += 1;
        let path = keep(target.name, &failure.input)?;
        eprintln!("fuzz: {} fails at {}", target.name, failure.fault.place);
        eprintln!("    {}", failure.fault.message.replace('\n', "\n    "));
        eprintln!("    input: {:?}", String::from_utf8_lossy(&failure.input));
        eprintln!("    {}", command(target.name, &path));
    }
    println!(
        "{}\t{}\t{seconds:.1}\t{}\t{}\t{failures}",
        target.name, outcome.runs, outcome.seeds, outcome.found
    );
    Ok(failures == 0)
}

/// Ends the process when one run never ends: the run itself cannot be interrupted.
struct Watch(&'static AtomicU64);

impl Watch {
    const ENDED: u64 = u64::MAX;
    /// Far beyond what a loaded machine makes of the two seconds that a run may take.
    const LONGEST: Duration = Duration::from_secs(120);

    fn begin(target: &'static str, under_way: PathBuf) -> Self {
        // One per target and process, so nothing is gained by giving it back.
        let turns: &'static AtomicU64 = Box::leak(Box::default());
        std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(Duration::from_secs(1));
                // Relaxed: only whether the number moves counts.
                match turns.load(Ordering::Relaxed) {
                    Self::ENDED => return,
                    now if now != last => (last, since) = (now, Instant::now()),
                    _ if since.elapsed() > Self::LONGEST => {
                        let kept = std::fs::read(&under_way)
                            .map_err(Into::into)
                            .and_then(|input| keep(target, &input));
                        let how = kept.map_or_else(
                            |error| format!("{error:#}"),
                            |path| command(target, &path),
                        );
                        let _ = std::fs::remove_file(&under_way);
                        eprintln!(
                            "fuzz: {target}: one run takes more than {} s\n    {how}",
                            Self::LONGEST.as_secs()
                        );
                        std::process::exit(1);
                    }
                    _ => {}
                }
            }
        });
        Self(turns)
    }

    fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn end(self) {
        self.0.store(Self::ENDED, Ordering::Relaxed);
    }
}
