//! The flags that shape a load, and the plan that they make.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pointsman_bench::inputs::{Read, Requests, prompts, trace};
use pointsman_bench::load::{Ask, Pacing, Plan, Work};
use pointsman_bench::scenario::{Kind, Level, Shape, levels};
use pointsman_core::config::duration::parse_duration;

/// What a load is made of; the flags of a scenario, and the fields of a scenario file.
#[derive(Clone, PartialEq, Debug, clap::Args)]
pub(crate) struct Load {
    /// Length of each run, warm-up included.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) duration: Duration,
    /// The part of it that is not measured [default: a tenth, at most 5s].
    #[arg(long, value_name = "TIME", value_parser = time_or_none)]
    pub(crate) warmup: Option<Duration>,
    /// Requests in flight, a run for each number (throughput) [default: 1,8,32].
    #[arg(long, value_name = "N,N…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: Vec<u32>,
    /// Start requests at this rate, whatever the answers do (open loop); for a sweep: on average [sweep: 20].
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Requests that an open loop may have in flight; more wait, and their clock runs.
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_in_flight: u32,
    /// Length of made-up prompts in bytes; of what each turn adds, with --turns.
    #[arg(long, value_name = "BYTES", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) prompt_bytes: u32,
    /// Bytes at the beginning of made-up prompts that several have in common.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    pub(crate) shared_prefix: u32,
    /// How many such beginnings there are.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) prefix_groups: u32,
    /// Turns of each conversation; every turn repeats what was said before it.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) turns: u32,
    /// Take prompts from a file: a JSON object with prompt or messages on each line.
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    pub(crate) prompts: Option<PathBuf>,
    /// Take requests from a trace in Mooncake's format; a sweep starts them when the trace says.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Play a trace so many times as fast.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = positive)]
    pub(crate) trace_speed: f64,
    /// Tokens of each answer; at most so many where a file says its own number [default: 32].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_tokens: Option<u32>,
    /// Ask for chats, not completions.
    #[arg(long)]
    pub(crate) chat: bool,
    /// Ask for whole answers, not streams.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Longest time for one request.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) timeout: Duration,
}

/// Requests in flight of a throughput where nothing says how many.
const LEVELS: [u32; 3] = [1, 8, 32];
/// Tokens of an answer where nothing says how many.
const TOKENS: u32 = 32;

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_none(text) {
        Ok(span) if span.is_zero() => Err("use a time above 0, such as 30s".to_owned()),
        other => other,
    }
}

fn time_or_none(text: &str) -> Result<Duration, String> {
    parse_duration(text).map(|span| Duration::from_nanos(span.0))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("use a number above 0, at most a million".to_owned()),
    }
}

impl Load {
    fn warmup(&self) -> Duration {
        self.warmup
            .unwrap_or_else(|| (self.duration / 10).min(Duration::from_secs(5)))
    }

    /// Refuses flags that contradict each other, or that this kind of load would leave out.
    pub(crate) fn check(&self, kind: Kind) -> anyhow::Result<()> {
        if self.warmup() >= self.duration {
            bail!(
                "the warm-up of {:?} leaves nothing of a duration of {:?}; make one shorter or the other longer",
                self.warmup(),
                self.duration
            );
        }
        if !self.concurrency.is_empty() && kind != Kind::Throughput {
            bail!("a {} takes no --concurrency; throughput does", kind.name());
        }
        if !self.concurrency.is_empty() && self.rate.is_some() {
            bail!(
                "--rate starts requests whatever is in flight, --concurrency when one has ended; give one of them"
            );
        }
        let from_file = match (&self.prompts, &self.trace) {
            (Some(_), _) => "--prompts",
            (None, Some(_)) => "--trace",
            (None, None) => "",
        };
        for (flag, given) in [
            ("--turns", self.turns > 1),
            ("--shared-prefix", self.shared_prefix > 0),
        ] {
            if given && !from_file.is_empty() {
                bail!(
                    "{from_file} says what is asked, and {flag} is for made-up prompts; give one of them"
                );
            }
        }
        if self.trace.is_none() && self.trace_speed != 1.0 {
            bail!("--trace-speed is for a --trace, and there is none");
        }
        if kind == Kind::Sweep && self.trace.is_some() && self.rate.is_some() {
            bail!(
                "a sweep starts requests when the --trace says; leave --rate out, or play the trace faster with --trace-speed"
            );
        }
        Ok(())
    }
}

/// The runs of a scenario, and what was read of the file that its requests come from.
pub(crate) fn plan(
    load: &Load,
    name: &str,
    kind: Kind,
    base: &Plan,
) -> anyhow::Result<(Vec<Level>, Option<Read>)> {
    let warmup = load.warmup();
    let levels_wanted = match &load.concurrency[..] {
        [] => &LEVELS[..],
        given => given,
    };
    let mut plan = Plan {
        warmup,
        window: load.duration - warmup,
        timeout: load.timeout,
        stream: !load.no_stream,
        chat: load.chat,
        max_tokens: load.max_tokens.unwrap_or(TOKENS),
        pacing: Pacing::Closed { connections: 1 },
        ..base.clone()
    };
    let requests = match (&load.prompts, &load.trace) {
        (Some(file), _) => Some(read(file, prompts)?),
        (None, Some(file)) => Some(read(file, |name, text| {
            trace(name, text, load.trace_speed)
        })?),
        (None, None) => None,
    };
    plan.work = match &requests {
        Some(requests) => Work::Given(capped(&requests.asks, load.max_tokens)),
        None => made_up(load),
    };
    let arrivals = requests
        .as_ref()
        .map(|requests| &requests.arrivals)
        .filter(|at| !at.is_empty());
    let shape = Shape {
        concurrency: levels_wanted.iter().map(|n| *n as usize).collect(),
        rate: load.rate,
        connections: load.max_in_flight as usize,
        arrivals: arrivals.map(|at| at.as_slice().into()),
    };
    Ok((
        levels(name, kind, &shape, &plan),
        requests.map(|requests| requests.read),
    ))
}

fn made_up(load: &Load) -> Work {
    let (prefix, own) = (load.shared_prefix as usize, load.prompt_bytes as usize);
    if load.turns > 1 {
        Work::Conversations {
            shared: prefix,
            turns: load.turns as usize,
            turn: own,
        }
    } else if prefix > 0 {
        Work::SharedPrefix {
            prefix,
            groups: load.prefix_groups as usize,
            own,
        }
    } else {
        Work::Unique { bytes: own }
    }
}

fn capped(asks: &[Ask], most: Option<u32>) -> Arc<[Ask]> {
    let one = |ask: &Ask| Ask {
        max_tokens: match (ask.max_tokens, most) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, _) => own,
        },
        ..ask.clone()
    };
    asks.iter().map(one).collect()
}

fn read(file: &Path, parse: impl Fn(&str, &str) -> Requests) -> anyhow::Result<Requests> {
    let bytes =
        std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let name = file.display().to_string();
    let requests = parse(&name, &String::from_utf8_lossy(&bytes));
    if requests.asks.is_empty() {
        let why = requests
            .read
            .warning()
            .unwrap_or_else(|| format!("{name} is empty"));
        bail!("there is no request in {name}: {why}");
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bench::file::usual;

    #[test]
    fn what_a_load_would_leave_out_is_refused() {
        let refused = |kind, change: fn(&mut Load)| {
            let mut load = usual().unwrap();
            change(&mut load);
            load.check(kind).map_err(|why| why.to_string())
        };
        let trace = |load: &mut Load| load.trace = Some(PathBuf::from("t.jsonl"));
        assert_eq!(refused(Kind::Sweep, trace), Ok(()));
        assert_eq!(refused(Kind::Steady, |load| load.rate = Some(3.0)), Ok(()));
        for (kind, change, words) in [
            (
                Kind::Steady,
                (|load| load.concurrency = vec![4]) as fn(&mut Load),
                "takes no --concurrency",
            ),
            (
                Kind::Throughput,
                |load| (load.concurrency, load.rate) = (vec![4], Some(1.0)),
                "give one of them",
            ),
            (
                Kind::Sweep,
                |load| (load.trace, load.rate) = (Some(PathBuf::from("t")), Some(1.0)),
                "leave --rate out",
            ),
            (
                Kind::Steady,
                |load| (load.trace, load.turns) = (Some(PathBuf::from("t")), 2),
                "--turns is for made-up prompts",
            ),
            (Kind::Sweep, |load| load.trace_speed = 2.0, "there is none"),
            (
                Kind::Steady,
                |load| load.warmup = Some(load.duration),
                "leaves nothing",
            ),
        ] {
            let told = refused(kind, change).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
