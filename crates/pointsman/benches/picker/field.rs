//! The picker on its CPU, the mocks behind it, and one measurement.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use pointsman_bench::children::{Child, Launch, free_ports};
use pointsman_bench::report::short;
use pointsman_bench::resources::{Spent, Watch};
use pointsman_bench::rounds::Peer;

use crate::envoy::{Drive, drive, once};
use crate::scenarios::Scenario;

/// Mocks; the endpoints of a pool share them.
const MOCKS: u16 = 4;

/// Longest time until the picker decides.
const READY: Duration = Duration::from_secs(60);

/// The reference's default profile.
const PLAN: &str = "\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: load-aware-scorer
- {type: prefix-cache-scorer, parameters: {hashBlockSize: 5, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250}}
- type: kv-cache-utilization-scorer
- type: decode-filter
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: decode-filter
  - pluginRef: max-score-picker
  - {pluginRef: load-aware-scorer, weight: 1}
  - {pluginRef: prefix-cache-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 1}
";

/// Addresses and files of one run.
pub(crate) struct Field {
    /// The mocks.
    pub(crate) mocks: Vec<SocketAddr>,
    /// The picker.
    pub(crate) listen: SocketAddr,
    ports: [u16; 2],
    /// Envoy.
    pub(crate) front: SocketAddr,
    folder: PathBuf,
    /// CPU of what is measured.
    pub(crate) sut_cpu: usize,
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Field {
    pub(crate) fn lay(sut_cpu: usize) -> anyhow::Result<Self> {
        let first = free_ports(MOCKS + 4)?;
        let at = |offset: u16| SocketAddr::from(([127, 0, 0, 1], first + offset));
        let folder = std::env::temp_dir().join(format!("pointsman-picker-{}", std::process::id()));
        std::fs::create_dir_all(&folder).context("cannot make a folder for the endpoints")?;
        let field = Self {
            mocks: (0..MOCKS).map(at).collect(),
            listen: at(MOCKS),
            ports: [first + MOCKS + 1, first + MOCKS + 2],
            front: at(MOCKS + 3),
            folder,
            sut_cpu,
        };
        field.write("plan.yaml", PLAN)?;
        Ok(field)
    }

    /// Writes a file into the folder of this run.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The yardstick proxy before the mocks.
    pub(crate) fn yardstick(&self) -> anyhow::Result<Peer> {
        let upstreams: Vec<String> = self.mocks.iter().map(SocketAddr::to_string).collect();
        let args = [
            "baseline".to_owned(),
            format!("--listen={}", self.listen),
            format!("--upstreams={}", upstreams.join(",")),
        ];
        let mut launch = Launch::role("yardstick", args)?;
        launch.cpu = Some(self.sut_cpu);
        Ok(Peer {
            name: "yardstick".to_owned(),
            launch: Some(launch),
            target: self.listen,
        })
    }

    /// How the picker is started for a scenario.
    pub(crate) fn launch(&self, scenario: &Scenario) -> anyhow::Result<Launch> {
        let endpoints: String = (0..scenario.endpoints)
            .map(|n| {
                let mock = self.mocks[n % self.mocks.len()];
                let (ip, port) = (mock.ip(), mock.port());
                format!("- {{name: m{n}, address: {ip}, port: \"{port}\"}}\n")
            })
            .collect();
        let endpoints = self.write("endpoints.yaml", &format!("endpoints:\n{endpoints}"))?;
        let mut launch = Launch::new(
            "pointsman epp",
            env!("CARGO_BIN_EXE_pointsman"),
            [
                "epp".to_owned(),
                "--bind=127.0.0.1".to_owned(),
                "--secure-serving=false".to_owned(),
                format!("--grpc-port={}", self.listen.port()),
                format!("--grpc-health-port={}", self.ports[0]),
                format!("--metrics-port={}", self.ports[1]),
                format!("--endpoints={}", endpoints.display()),
                format!("--config-file={}", self.folder.join("plan.yaml").display()),
                format!("--refresh-metrics-interval={}ms", scenario.scrape_ms),
            ],
        );
        launch.cpu = Some(self.sut_cpu);
        Ok(launch)
    }

    /// Starts the picker, loads it, and watches what it uses.
    pub(crate) async fn measure(
        &self,
        scenario: &Scenario,
        window: Duration,
    ) -> anyhow::Result<Found> {
        let mut child = Child::start(&self.launch(scenario)?)?;
        self.ready(&mut child, scenario).await?;
        let memory = |pid: u32| -> anyhow::Result<f64> {
            let watch = Watch::begin(pid).and_then(|watch| watch.end());
            Ok(watch.context("the picker has ended")?.resident_mib)
        };
        let before_mib = memory(child.pid())?;
        let driven = drive(self.listen, scenario, window, child.pid())
            .await
            .with_context(|| child.said())?;
        let later_mib = if scenario.prompt >= 1 << 20 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            memory(child.pid())?
        } else {
            driven.spent.resident_mib
        };
        let Drive {
            exchanges,
            failed,
            seconds,
            decisions,
            spent,
            why,
        } = driven;
        if scenario.streams > 0 && exchanges == 0 {
            bail!("no exchange ended well ({why:?})\n{}", child.said());
        }
        Ok(Found {
            exchanges,
            rate: exchanges as f64 / seconds,
            failed,
            why,
            decisions,
            spent,
            before_mib,
            later_mib,
        })
    }

    /// Waits until a request is decided; the scrapes of the first second are over then, too.
    async fn ready(&self, child: &mut Child, scenario: &Scenario) -> anyhow::Result<()> {
        let until = Instant::now() + READY;
        loop {
            let last = match once(self.listen, scenario).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if Instant::now() > until {
                bail!("not ready within {READY:?} ({last:#})\n{}", child.said());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// What one measurement found.
pub(crate) struct Found {
    pub(crate) exchanges: u64,
    pub(crate) rate: f64,
    pub(crate) failed: u64,
    why: Option<String>,
    decisions: Histogram<u64>,
    pub(crate) spent: Spent,
    pub(crate) before_mib: f64,
    pub(crate) later_mib: f64,
}

impl Found {
    /// CPU time per exchange, in microseconds; none while idle.
    pub(crate) fn cpu_micros(&self) -> Option<f64> {
        (self.exchanges > 0).then(|| self.spent.cpu_nanos as f64 / 1e3 / self.exchanges as f64)
    }

    /// A quantile of the time from the request's head to the decision, in milliseconds.
    pub(crate) fn decision_ms(&self, quantile: f64) -> Option<f64> {
        (!self.decisions.is_empty())
            .then(|| self.decisions.value_at_quantile(quantile) as f64 / 1e6)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        write!(
            out,
            "{:>6} µs {:>7.0}/s  p50 {:>6} p99 {:>6} ms  {:.3} cores  {:.0} → {:.0} MiB  failed {}",
            or_dash(self.cpu_micros()),
            self.rate,
            or_dash(self.decision_ms(0.5)),
            or_dash(self.decision_ms(0.99)),
            self.spent.cores,
            self.before_mib,
            self.later_mib,
            self.failed
        )?;
        match &self.why {
            Some(why) => write!(out, " ({why})"),
            None => Ok(()),
        }
    }
}
