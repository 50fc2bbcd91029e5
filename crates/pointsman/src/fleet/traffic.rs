//! What arrives: made-up scenarios and recorded traces, the fleets they come to, and how much of them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use pointsman_bench::inputs::{Read, trace};
use pointsman_bench::load::{BYTES_PER_TOKEN, Prompt};

use pointsman_core::time::Span;
use pointsman_sim::fleet::Fleet;
use pointsman_sim::fleet::config::{FleetConfig, Member};
use pointsman_sim::fleet::host::ROLE;
use pointsman_sim::fleet::router::BuiltIn;
use pointsman_sim::fleet::scenario::Scenario;
use pointsman_sim::fleet::trace::{Ask, BLOCK_TOKENS, Trace};
use pointsman_sim::fleet::traffic::Traffic;

use crate::fleet::engines;
use crate::fleet::wanted::Wanted;

/// Requests of a made-up run where nothing says how many.
const REQUESTS: usize = 4_000;

/// The fleet of a trace where nothing says which.
const ENGINES: &str = "4xh100";

/// The least that clients of a trace bound their answers by: a trace says how long answers were, not what clients
/// allowed.
const ALLOWED: u32 = 2_048;

/// Most engines on which the oracle says what a load of 100 % is.
const ORACLES: usize = 32;

/// Seed and requests of the trace that says so.
const CAPACITY: (u64, usize) = (0, 3_000);

/// Tokens of a block of a recorded trace come as so many blocks of the fleet.
fn parts(block_bytes: usize) -> usize {
    (block_bytes / BYTES_PER_TOKEN / BLOCK_TOKENS as usize).max(1)
}

/// Where requests come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// Drawn anew for each seed.
    MadeUp(Traffic),
    /// The same for every seed.
    Recorded(Arc<Trace>),
}

/// Traffic under one load on one fleet.
#[derive(Clone)]
pub(crate) struct Load {
    /// What it is called in headings.
    pub(crate) heading: String,
    /// Where its requests come from.
    pub(crate) origin: Origin,
    /// How many there are.
    pub(crate) requests: usize,
    /// How many come per second.
    pub(crate) rate: f64,
    /// Who stands behind the router.
    pub(crate) members: Vec<Member>,
}

impl Load {
    /// The requests that a seed gives.
    pub(crate) fn trace(&self, seed: u64) -> Arc<Trace> {
        match &self.origin {
            Origin::MadeUp(traffic) => Arc::new(traffic.trace(seed, self.requests)),
            Origin::Recorded(trace) => Arc::clone(trace),
        }
    }
}

/// Refuses what makes no sense whatever the traces hold.
pub(crate) fn check(wanted: &Wanted) -> anyhow::Result<()> {
    for name in &wanted.scenarios {
        if !Scenario::NAMES.contains(&name.as_str()) {
            bail!(
                "--scenario {name}: there are {}",
                Scenario::NAMES.join(", ")
            );
        }
    }
    for (flag, list) in [
        ("load", &wanted.load),
        ("rate", &wanted.rate),
        ("trace-speed", &wanted.trace_speed),
    ] {
        if let Some(bad) = list.iter().find(|n| !n.is_finite() || **n <= 0.0) {
            bail!("--{flag} takes numbers above 0, not {bad}");
        }
    }
    if wanted.requests == Some(0) {
        bail!("--requests takes a number above 0");
    }
    engines::members(&wanted.engines).map(drop)
}

/// Every load that is wanted, and what was read of the traces.
pub(crate) fn loads(wanted: &Wanted) -> anyhow::Result<(Vec<Load>, Vec<Read>)> {
    check(wanted)?;
    if !wanted.trace_speed.is_empty() && wanted.traces.is_empty() {
        bail!(
            "--trace-speed is for a --trace, and there is none; for made-up traffic say --load or --rate"
        );
    }
    let names = match (wanted.scenarios.is_empty(), wanted.traces.is_empty()) {
        (true, true) => vec![Scenario::NAMES[0].to_owned()],
        _ => wanted.scenarios.clone(),
    };
    let given = engines::members(&wanted.engines)?;
    let mut loads = Vec::new();
    for name in &names {
        loads.extend(made_up(name, wanted, &given)?);
    }
    let mut inputs = Vec::new();
    for file in &wanted.traces {
        let (more, read) = recorded(file, wanted, &given)?;
        loads.extend(more);
        inputs.push(read);
    }
    Ok((loads, inputs))
}

fn made_up(name: &str, wanted: &Wanted, given: &[Member]) -> anyhow::Result<Vec<Load>> {
    let Some(scenario) = Scenario::by_name(name) else {
        bail!(
            "--scenario {name}: there are {}",
            Scenario::NAMES.join(", ")
        );
    };
    if name == "hetero" && !given.is_empty() {
        bail!(
            "--scenario hetero is a fleet of its own; with --engine write shared, and :slow=3 behind the slow engines"
        );
    }
    let members = match given {
        [] => scenario.fleet(BuiltIn::Random.into(), 0).members,
        given => given.to_vec(),
    };
    let base = Load {
        heading: name.to_owned(),
        origin: Origin::MadeUp(scenario.traffic),
        requests: wanted.requests.unwrap_or(REQUESTS).max(1),
        rate: 1.0,
        members: renamed(members),
    };
    let default = [80.0];
    let load = match (wanted.load.is_empty(), wanted.rate.is_empty()) {
        (true, true) => &default[..],
        _ => &wanted.load,
    };
    let sample = scenario.traffic.trace(CAPACITY.0, CAPACITY.1);
    by_load(&base, load, &wanted.rate, &sample)
}

/// Names without the fleet's own prefix.
fn renamed(mut members: Vec<Member>) -> Vec<Member> {
    for member in &mut members {
        if let Some((_, name)) = member.name.split_once('/') {
            member.name = name.to_owned();
        }
    }
    members
}

fn by_load(base: &Load, load: &[f64], rates: &[f64], sample: &Trace) -> anyhow::Result<Vec<Load>> {
    let mut loads = Vec::new();
    if !load.is_empty() {
        let full = capacity(&base.members, sample);
        if !full.is_finite() || full <= 0.0 {
            bail!(
                "{}: this fleet takes none of these requests; give it more KV blocks",
                base.heading
            );
        }
        loads.extend(load.iter().map(|percent| Load {
            heading: format!("{} at {percent} %", base.heading),
            rate: full * percent / 100.0,
            ..base.clone()
        }));
    }
    loads.extend(rates.iter().map(|rate| Load {
        heading: format!("{} at {rate}/s", base.heading),
        rate: *rate,
        ..base.clone()
    }));
    Ok(loads)
}

/// Requests per second that are a load of 100 %: the rate at which they end when there is always one more for a slot
/// that comes free, and the oracle picks; on large fleets, and where prefill and decode are apart, whoever has least
/// to do.
fn capacity(members: &[Member], sample: &Trace) -> f64 {
    let apart = |member: &Member| member.prefill.is_some() || member.labels.get(ROLE).is_some();
    let apart = members.iter().any(apart);
    let rule = match apart || members.len() > ORACLES {
        true => BuiltIn::LeastInFlight,
        false => BuiltIn::Oracle,
    };
    let slots: u64 = members
        .iter()
        .map(|member| u64::from(member.engine.max_running))
        .sum();
    // No more than there are requests to keep up.
    let slots = slots.min(sample.asks().len() as u64 / 4);
    Fleet::new(config(members, CAPACITY.0, rule)).sustain(sample, slots)
}

fn config(members: &[Member], seed: u64, rule: BuiltIn) -> FleetConfig {
    FleetConfig {
        members: members.to_vec(),
        router: rule.into(),
        seed,
        scrape: Some(Span::from_millis(200)),
        faults: Vec::new(),
        samples: false,
    }
}

fn recorded(file: &Path, wanted: &Wanted, given: &[Member]) -> anyhow::Result<(Vec<Load>, Read)> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    let found = trace(&shown, &String::from_utf8_lossy(&bytes), 1.0);
    if found.asks.is_empty() {
        let why = found
            .read
            .warning()
            .unwrap_or_else(|| format!("{shown} is empty"));
        bail!("there is no request in {shown}: {why}");
    }
    let most = wanted
        .requests
        .unwrap_or(usize::MAX)
        .clamp(1, found.asks.len());
    let last = found.arrivals[most - 1].as_secs_f64();
    // A trace of one moment has no speed; its requests come one a second.
    let own_rate = if last > 0.0 { most as f64 / last } else { 1.0 };
    let mut played = Trace::default();
    let mut before = 0.0;
    for (ask, at) in found.asks.iter().zip(&found.arrivals).take(most) {
        let Prompt::Blocks { ids, bytes, block } = &ask.prompt else {
            continue;
        };
        let at = at.as_secs_f64() * own_rate;
        let output = ask.max_tokens.unwrap_or(1);
        let tokens = (bytes / BYTES_PER_TOKEN) as u32;
        let parts = parts(*block) as u64;
        let fine = ids
            .iter()
            .flat_map(|id| (0..parts).map(move |part| id.wrapping_mul(parts).wrapping_add(part)));
        let ids: Vec<u64> = fine.collect();
        played.push(
            at - before,
            Ask::new(tokens, output, output.max(ALLOWED)),
            &ids,
        );
        before = at;
    }
    let members = match given {
        [] => engines::members(&[ENGINES.to_owned()])?,
        given => given.to_vec(),
    };
    let name = file
        .file_stem()
        .map_or_else(|| shown.clone(), |stem| stem.to_string_lossy().into_owned());
    let base = Load {
        heading: name,
        origin: Origin::Recorded(Arc::new(played.clone())),
        requests: most,
        rate: own_rate,
        members,
    };
    let default = [1.0];
    let speeds = match (&wanted.load[..], &wanted.rate[..], &wanted.trace_speed[..]) {
        ([], [], []) => &default[..],
        (_, _, speeds) => speeds,
    };
    let mut loads = by_load(&base, &wanted.load, &wanted.rate, &played)?;
    loads.extend(speeds.iter().map(|speed| Load {
        heading: format!("{} at speed {speed}", base.heading),
        rate: own_rate * speed,
        ..base.clone()
    }));
    Ok((loads, found.read))
}
