//! What a study is about, as flags or as a file; a flag takes the place of the file's field.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

/// The flags, which are the fields of a study file too.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Profiles, configuration files (g1: or g2: before one says whose rules apply), or random, round-robin,
    /// least-in-flight, oracle [default: balanced,default,proxy-performance,random].
    #[arg(long = "policy", value_name = "NAME|FILE,…", value_delimiter = ',')]
    pub(crate) policies: Vec<String>,
    /// Engines: [COUNTx]PRESET[:slots=N][:blocks=N][:slow=F][:role=prefill|decode][:pair=p2p|fs|eth|rdma], presets as of
    /// pointsman sim, h100, a100 and l40s for short [default: the scenario's own; for a trace 4xh100].
    #[arg(long = "engine", value_name = "ENGINES,…", value_delimiter = ',')]
    pub(crate) engines: Vec<String>,
    /// What goes wrong: TARGET:down@AT[+FOR] or TARGET:slowF@AT[+FOR]; targets are engine-0, pair-0, pair-0/prefill …
    #[arg(long = "fault", value_name = "FAULT,…", value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    /// How long the router's membership takes to learn of a death or a return; never: it does not [default: 1s].
    #[arg(long, value_name = "TIME|never")]
    pub(crate) notice: Option<String>,
    /// Made-up traffic: shared, multi-turn, bursty, hetero [default: shared, unless --trace is given].
    #[arg(long = "scenario", value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) scenarios: Vec<String>,
    /// Recorded traffic: a trace in Mooncake's format.
    #[arg(long = "trace", value_name = "FILE,…", value_delimiter = ',')]
    pub(crate) traces: Vec<PathBuf>,
    /// Loads in hundredths of what the fleet bears [default: 80, for made-up traffic].
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',')]
    pub(crate) load: Vec<f64>,
    /// Loads in requests per second.
    #[arg(long, value_name = "PER-SECOND,…", value_delimiter = ',')]
    pub(crate) rate: Vec<f64>,
    /// Loads as multiples of a trace's own speed [default: 1].
    #[arg(long, value_name = "FACTOR,…", value_delimiter = ',')]
    pub(crate) trace_speed: Vec<f64>,
    /// Requests of each run; of a trace the first so many [default: 4000; of a trace all].
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<usize>,
    /// Try weights: weight=SCORER:0,1,2 for every policy that has the scorer; several make every combination.
    #[arg(long, value_name = "weight=SCORER:W,W…")]
    pub(crate) sweep: Vec<String>,
    /// Seed of everything random [default: 7].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Seeds: this one and those that follow it [default: 3].
    #[arg(long, value_name = "N")]
    pub(crate) repeat: Option<u64>,
    /// How often the router reads each engine's metrics [default: 200ms].
    #[arg(long, value_name = "TIME")]
    pub(crate) scrape_interval: Option<String>,
    /// Axes of the picture of trade-offs: two of ttft.p50, ttft.p95, ttft.p99, ttft.mean, tpot.p95, e2e.p95, rps,
    /// cached, soon [default: ttft.p95,cached].
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub(crate) axes: Vec<String>,
}

impl Wanted {
    /// Takes over what the file says and the flags do not. Files that it names are looked for beside it.
    pub(crate) fn or_file(self, path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        let mut file: Self = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{shown} is no study: {error}"))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        for trace in &mut file.traces {
            *trace = folder.join(&*trace);
        }
        for policy in &mut file.policies {
            let (rules, source) = match policy.split_once(':') {
                Some((rules @ ("g1" | "g2"), source)) => (format!("{rules}:"), source),
                _ => (String::new(), policy.as_str()),
            };
            let beside = folder.join(source);
            if beside.is_file() {
                *policy = format!("{rules}{}", beside.display());
            }
        }
        Ok(self.or(file))
    }

    fn or(self, file: Self) -> Self {
        fn list<T>(flag: Vec<T>, field: Vec<T>) -> Vec<T> {
            if flag.is_empty() { field } else { flag }
        }
        // Loads are one thing in three forms: given on the command line in one of them, the file's do not count.
        let loads = [&self.load, &self.rate, &self.trace_speed];
        let loaded = loads.iter().any(|list| !list.is_empty());
        let load = |flag, field| if loaded { flag } else { field };
        let traffic = !self.scenarios.is_empty() || !self.traces.is_empty();
        Self {
            policies: list(self.policies, file.policies),
            engines: list(self.engines, file.engines),
            faults: list(self.faults, file.faults),
            notice: self.notice.or(file.notice),
            scenarios: if traffic {
                self.scenarios
            } else {
                file.scenarios
            },
            traces: if traffic { self.traces } else { file.traces },
            load: load(self.load, file.load),
            rate: load(self.rate, file.rate),
            trace_speed: load(self.trace_speed, file.trace_speed),
            requests: self.requests.or(file.requests),
            sweep: list(self.sweep, file.sweep),
            seed: self.seed.or(file.seed),
            repeat: self.repeat.or(file.repeat),
            scrape_interval: self.scrape_interval.or(file.scrape_interval),
            axes: list(self.axes, file.axes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_takes_the_place_of_the_files_field_and_of_no_other() {
        let file = Wanted {
            policies: vec!["default".to_owned()],
            scenarios: vec!["shared".to_owned()],
            load: vec![50.0],
            seed: Some(1),
            ..Wanted::default()
        };
        let flags = Wanted {
            rate: vec![3.0],
            seed: Some(2),
            traces: vec![PathBuf::from("t.jsonl")],
            ..Wanted::default()
        };
        let both = flags.or(file);
        assert_eq!((both.seed, both.policies.len()), (Some(2), 1));
        assert_eq!((both.load.len(), both.rate), (0, vec![3.0]));
        assert_eq!((both.scenarios.len(), both.traces.len()), (0, 1));
    }
}
