//! Peers side by side: every scenario with every peer, round after round.
//!
//! Within a scenario the peers follow one another at once, in turning order, each in a fresh process, so that what
//! disturbs the machine for a minute disturbs all of them and a ratio within the round holds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::children::{Child, Launch};
use crate::load::{Edge, Outcome, Plan, get, run};
use crate::resources::{Machine, Spent, Watch};

/// Longest time a peer has to become ready.
const READY: Duration = Duration::from_secs(20);

/// A system under test.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name in reports.
    pub name: String,
    /// How to start it; `None` for load straight to the mock.
    pub launch: Option<Launch>,
    /// Where it listens.
    pub target: SocketAddr,
}

/// A kind of load.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// The mock's time to the first token.
    pub ttft: Duration,
    /// The mock's time between tokens.
    pub itl: Duration,
    /// The load; its target is replaced by the peer's.
    pub plan: Plan,
}

/// One peer under one load, once.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Number of the round, from 0.
    pub round: usize,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the peer.
    pub peer: String,
    /// What the client saw.
    pub outcome: Outcome,
    /// What the peer used; `None` for load straight to the mock.
    pub spent: Option<Spent>,
    /// Its resident memory before the load, in MiB.
    pub idle_mib: Option<f64>,
    /// CPU time of mock and load in the window, in nanoseconds: the same work under every peer, so it tells how fast the
    /// machine was.
    pub load_nanos: u64,
    /// Cores that processes outside the measurement took meanwhile; above 0.1 its latencies mean little.
    pub foreign_cores: f64,
}

impl Sample {
    /// CPU time of the peer per answer, in microseconds.
    #[must_use]
    pub fn cpu_per_answer(&self) -> Option<f64> {
        self.cpu_per(self.outcome.answers)
    }

    /// CPU time of the peer per streamed token, in microseconds.
    #[must_use]
    pub fn cpu_per_token(&self) -> Option<f64> {
        self.cpu_per(self.outcome.tokens)
    }

    fn cpu_per(&self, count: u64) -> Option<f64> {
        let spent = self.spent?;
        (count > 0).then(|| spent.cpu_nanos as f64 / 1e3 / count as f64)
    }
}

/// The mock that all peers have behind them.
#[derive(Debug)]
pub struct Backend {
    child: Child,
    first: SocketAddr,
}

impl Backend {
    /// Starts `count` mock endpoints on consecutive ports from `first` on and waits until they answer.
    pub async fn start(first: SocketAddr, count: u16, cpu: Option<usize>) -> anyhow::Result<Self> {
        let args = [
            "mock".to_owned(),
            format!("--listen={first}"),
            format!("--count={count}"),
        ];
        let mut launch = Launch::role("mock", args)?;
        launch.cpu = cpu;
        let mut child = Child::start(&launch)?;
        child.ready(first, "bench-model", READY).await?;
        Ok(Self { child, first })
    }

    async fn pace(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let path = format!(
            "/mock/pace?ttft_us={}&itl_us={}",
            scenario.ttft.as_micros(),
            scenario.itl.as_micros()
        );
        let (status, _) = get(self.first, &path)
            .await
            .context("the mock does not answer")?;
        ensure!(status == 200, "the mock answers {status} to {path}");
        Ok(())
    }
}

/// Runs all of it and hands every sample to `progress` as it comes. A peer that does not start, answers nothing or dies
/// under the load ends the whole run with an error that shows what it said: nothing is left out.
pub async fn race(
    backend: &Backend,
    peers: &[Peer],
    scenarios: &[Scenario],
    rounds: usize,
    mut progress: impl FnMut(&Sample),
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        for scenario in scenarios {
            backend.pace(scenario).await?;
            for turn in 0..peers.len() {
                let peer = &peers[(turn + round) % peers.len()];
                let sample = measure(backend, peer, scenario, round)
                    .await
                    .with_context(|| format!("{} under {}", peer.name, scenario.name))?;
                progress(&sample);
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

async fn measure(
    backend: &Backend,
    peer: &Peer,
    scenario: &Scenario,
    round: usize,
) -> anyhow::Result<Sample> {
    let mut child = peer.launch.as_ref().map(Child::start).transpose()?;
    let mut idle_mib = None;
    if let Some(child) = &mut child {
        let model = &scenario.plan.model;
        child.ready(peer.target, model, READY).await?;
        let idle = Watch::begin(child.pid()).and_then(|watch| watch.end());
        idle_mib = idle.ok().map(|spent| spent.resident_mib);
    }
    let mut pids = vec![backend.child.pid(), std::process::id()];
    pids.extend(child.as_ref().map(Child::pid));
    let plan = Plan {
        target: peer.target,
        ..scenario.plan.clone()
    };

    let mut watches = Vec::new();
    let mut machine = None;
    let mut spent = Vec::new();
    let mut foreign_cores = Ok(0.0);
    let outcome = run(&plan, |edge| match edge {
        Edge::Begin => {
            machine = Some(Machine::begin());
            watches = pids.iter().map(|pid| Watch::begin(*pid)).collect();
        }
        Edge::End => {
            spent = watches
                .iter()
                .map(|watch| watch.as_ref().ok().and_then(|watch| watch.end().ok()))
                .collect::<Vec<Option<Spent>>>();
            let ours = spent.iter().flatten().map(|spent| spent.cpu_nanos).sum();
            if let Some(Ok(machine)) = &machine {
                foreign_cores = machine.foreign_cores(ours);
            }
        }
    })
    .await?;

    let said = || child.as_ref().map(Child::said).unwrap_or_default();
    if outcome.answers == 0 {
        bail!("no answers; errors: {:?}\n{}", outcome.errors, said());
    }
    let load_nanos = spent.iter().take(2).flatten().map(|s| s.cpu_nanos).sum();
    let mut spent = spent.into_iter().skip(2);
    let spent = match (&child, spent.next().flatten()) {
        (Some(_), None) => bail!("its process could not be watched to the end\n{}", said()),
        (_, spent) => spent,
    };
    Ok(Sample {
        round,
        scenario: scenario.name.clone(),
        peer: peer.name.clone(),
        outcome,
        spent,
        idle_mib,
        load_nanos,
        foreign_cores: foreign_cores.context("cannot read /proc/stat")?,
    })
}
