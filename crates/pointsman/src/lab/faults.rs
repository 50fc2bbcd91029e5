//! Faults on a timeline, for tests and demonstrations.
//!
//! ```yaml
//! faults:
//! - {at: 1s, for: 10s, target: vllm-fs-proxy, kind: down}
//! - {at: 5s, target: vllm-decode-p2p, kind: slow, factor: 10}
//! ```
//! Kinds: `down` (connections refused, live ones reset), `slow` (needs `factor`, above 1), `hang` (accepts and
//! never answers), `metrics-404`, `die-mid-stream` (answers are cut). `at` counts from the start and
//! defaults to 0; without `for` the fault stays.

use std::collections::BTreeMap;
use std::time::Duration;

use pointsman_core::config::duration::parse_duration;
use pointsman_core::config::fault::{Fault as Problem, did_you_mean};
use pointsman_http::{Fault, FaultSwitch};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    faults: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    at: Option<String>,
    #[serde(default, rename = "for")]
    lasting: Option<String>,
    target: String,
    kind: String,
    #[serde(default)]
    factor: Option<f64>,
}

/// One fault to come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// From the start of the lab.
    pub(crate) at: Duration,
    /// How long it lasts; `None`: for good.
    pub(crate) lasting: Option<Duration>,
    /// Whom it strikes.
    pub(crate) target: String,
    /// What happens.
    pub(crate) fault: Fault,
    /// The kind as written.
    pub(crate) kind: String,
}

/// Reads a faults file; `targets` are the names that can be struck.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn parse(text: &str, targets: &[&str]) -> Result<Vec<Planned>, Vec<Problem>> {
    let document: Document =
        serde_saphyr::from_str(text).map_err(|e| vec![Problem::error("", e.to_string())])?;
    let (mut planned, mut problems) = (Vec::new(), Vec::new());
    for (at, written) in document.faults.into_iter().enumerate() {
        match written.read(&format!("faults[{at}]"), targets) {
            Ok(fault) => planned.push(fault),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(planned)
    } else {
        Err(problems)
    }
}

impl Written {
    fn read(self, path: &str, targets: &[&str]) -> Result<Planned, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut time = |field: &str, text: Option<&str>| match text.map(parse_duration) {
            None => None,
            Some(Ok(span)) => Some(Duration::from_nanos(span.0)),
            Some(Err(message)) => {
                problems.push(Problem::error(format!("{path}.{field}"), message));
                None
            }
        };
        let at = time("at", self.at.as_deref()).unwrap_or_default();
        let lasting = time("for", self.lasting.as_deref());
        if !targets.contains(&self.target.as_str()) {
            let hint = did_you_mean(&self.target, targets.iter().copied()).map_or_else(
                || format!("; there are {}", targets.join(", ")),
                |near| format!("; did you mean '{near}'?"),
            );
            problems.push(Problem::error(
                format!("{path}.target"),
                format!("nothing is called '{}'{hint}", self.target),
            ));
        }
        let fault = match (self.kind.as_str(), self.factor) {
            ("down", None) => Ok(Fault::Down),
            ("hang", None) => Ok(Fault::Hang),
            ("metrics-404", None) => Ok(Fault::MetricsNotFound),
            ("die-mid-stream", None) => Ok(Fault::DieMidStream),
            ("slow", Some(factor)) if factor.is_finite() && factor >= 1.0 => {
                Ok(Fault::Slow(factor))
            }
            ("slow", _) => Err(("factor", "slow needs a factor of 1 or more".to_owned())),
            ("down" | "hang" | "metrics-404" | "die-mid-stream", Some(_)) => {
                Err(("factor", format!("'{}' takes no factor", self.kind)))
            }
            (other, _) => Err((
                "kind",
                format!(
                    "'{other}' is no fault; use down, slow, hang, metrics-404 or die-mid-stream"
                ),
            )),
        };
        match fault {
            Ok(fault) if problems.is_empty() => Ok(Planned {
                at,
                lasting,
                target: self.target,
                fault,
                kind: self.kind,
            }),
            Ok(_) => Err(problems),
            Err((field, message)) => {
                problems.push(Problem::error(format!("{path}.{field}"), message));
                Err(problems)
            }
        }
    }
}

/// Faults on their way: what begins and ends when, and which rules each target now.
pub(crate) struct Timeline {
    planned: Vec<Planned>,
    switches: BTreeMap<String, FaultSwitch>,
    /// One list of moments, the next one last: a fault that ends does not clear another that has begun on the same
    /// target since.
    moments: Vec<(Duration, usize, bool)>,
    ruling: BTreeMap<String, usize>,
}

impl Timeline {
    /// Nothing is struck yet.
    pub(crate) fn new(planned: Vec<Planned>, switches: BTreeMap<String, FaultSwitch>) -> Self {
        let mut moments: Vec<(Duration, usize, bool)> = Vec::new();
        for (at, fault) in planned.iter().enumerate() {
            moments.push((fault.at, at, true));
            moments.extend(fault.lasting.map(|lasting| (fault.at + lasting, at, false)));
        }
        moments.sort_by_key(|&(when, at, begins)| std::cmp::Reverse((when, begins, at)));
        Self {
            planned,
            switches,
            moments,
            ruling: BTreeMap::new(),
        }
    }

    /// Makes true what is due so long after the start. `tell` gets a line about each change.
    pub(crate) fn strike(&mut self, elapsed: Duration, tell: impl Fn(&str)) {
        while let Some((_, at, begins)) = self.moments.pop_if(|(when, ..)| *when <= elapsed) {
            let fault = &self.planned[at];
            let Some(switch) = self.switches.get(&fault.target) else {
                continue;
            };
            if begins {
                self.ruling.insert(fault.target.clone(), at);
                switch.set(fault.fault);
                tell(&format!("fault begins: {} {}", fault.target, fault.kind));
            } else if self.ruling.get(&fault.target) == Some(&at) {
                self.ruling.remove(&fault.target);
                switch.clear();
                tell(&format!("fault ends: {} {}", fault.target, fault.kind));
            }
        }
    }

    /// Strikes at each time to come, until dropped.
    pub(crate) async fn play(mut self, tell: impl Fn(&str)) {
        let start = Instant::now();
        while let Some(&(when, ..)) = self.moments.last() {
            sleep_until(start + when).await;
            self.strike(when, &tell);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TARGETS: [&str; 2] = ["vllm-fs-proxy", "vllm-decode-p2p"];

    #[test]
    fn reads_the_kinds_there_are() {
        let text = "faults: [{at: 1s, for: 10s, target: vllm-fs-proxy, kind: down}, {target: vllm-decode-p2p, kind: slow, factor: 10}]";
        let planned = parse(text, &TARGETS).unwrap();
        assert_eq!(
            (planned[0].at, planned[0].lasting),
            (Duration::from_secs(1), Some(Duration::from_secs(10)))
        );
        assert_eq!(planned[0].fault, Fault::Down);
        assert_eq!(
            (planned[1].at, planned[1].fault),
            (Duration::ZERO, Fault::Slow(10.0))
        );
    }

    #[test]
    fn all_problems_come_at_once() {
        let text = "faults: [{at: soon, target: vllm-fs-prox, kind: down}, {target: vllm-fs-proxy, kind: slow}, {target: vllm-fs-proxy, kind: explode}, {target: vllm-fs-proxy, kind: hang, factor: 2}]";
        let problems: Vec<String> = parse(text, &TARGETS)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[1].contains("did you mean 'vllm-fs-proxy'?"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_that_ends_leaves_a_later_one_in_force() {
        let text = "faults: [{at: 1s, for: 4s, target: vllm-fs-proxy, kind: down}, {at: 3s, for: 5s, target: vllm-fs-proxy, kind: hang}]";
        let switch = FaultSwitch::default();
        let switches = BTreeMap::from([("vllm-fs-proxy".to_owned(), switch.clone())]);
        let playing =
            tokio::spawn(Timeline::new(parse(text, &TARGETS).unwrap(), switches).play(|_| {}));
        let start = Instant::now();
        for (at, expected) in [
            (500, Fault::None),
            (1500, Fault::Down),
            (3500, Fault::Hang),
            (6000, Fault::Hang),
            (8500, Fault::None),
        ] {
            sleep_until(start + Duration::from_millis(at)).await;
            assert_eq!(switch.current(), expected, "at {at} ms");
        }
        playing.await.unwrap();
    }

    #[test]
    fn what_is_due_at_once_needs_no_task() {
        let text = "faults: [{target: vllm-fs-proxy, kind: hang}, {at: 1s, target: vllm-decode-p2p, kind: down}]";
        let (hangs, later) = (FaultSwitch::default(), FaultSwitch::default());
        let switches = BTreeMap::from([
            ("vllm-fs-proxy".to_owned(), hangs.clone()),
            ("vllm-decode-p2p".to_owned(), later.clone()),
        ]);
        let mut timeline = Timeline::new(parse(text, &TARGETS).unwrap(), switches);
        timeline.strike(Duration::ZERO, |_| {});
        assert_eq!(
            (hangs.current(), later.current()),
            (Fault::Hang, Fault::None)
        );
    }
}
