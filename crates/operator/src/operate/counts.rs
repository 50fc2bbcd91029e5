//! What the operator counts, as a metrics page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

/// Counters by family and labels.
#[derive(Default)]
pub struct Counts {
    inner: Mutex<Inner>,
}

/// Upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

/// A histogram of durations.
#[derive(Default)]
struct Seconds {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Seconds {
    fn add(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.count += 1;
        self.sum += took;
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(took <= bound);
        }
    }

    /// Suffix, labels and value of every line.
    fn lines(&self, kind: &str) -> Vec<(String, String)> {
        let bucket = |bound: &str, n: u64| {
            (
                format!("_bucket{{kind=\"{kind}\",le=\"{bound}\"}}"),
                n.to_string(),
            )
        };
        let bounded = BOUNDS.iter().zip(self.buckets);
        let mut lines: Vec<(String, String)> = bounded
            .map(|(bound, n)| bucket(&bound.to_string(), n))
            .collect();
        lines.push(bucket("+Inf", self.count));
        lines.push((format!("_sum{{kind=\"{kind}\"}}"), self.sum.to_string()));
        lines.push((format!("_count{{kind=\"{kind}\"}}"), self.count.to_string()));
        lines
    }
}

#[derive(Default)]
struct Inner {
    reconciles: BTreeMap<(&'static str, bool), u64>,
    seconds: BTreeMap<&'static str, Seconds>,
    calls: BTreeMap<(&'static str, &'static str), u64>,
    drift: BTreeMap<&'static str, u64>,
    children: BTreeMap<String, BTreeMap<String, u64>>,
    leader: bool,
}

impl Counts {
    pub(crate) fn reconciled(&self, kind: &'static str, good: bool, took: Duration) {
        let mut inner = self.inner.lock();
        *inner.reconciles.entry((kind, good)).or_default() += 1;
        inner.seconds.entry(kind).or_default().add(took);
    }

    pub(crate) fn called(&self, verb: &'static str, good: bool) {
        let result = if good { "ok" } else { "error" };
        *self.inner.lock().calls.entry((verb, result)).or_default() += 1;
    }

    pub(crate) fn corrected(&self, kind: &'static str) {
        *self.inner.lock().drift.entry(kind).or_default() += 1;
    }

    /// How many children of one custom resource are in which state; none once it is gone.
    pub(crate) fn children(&self, whose: String, states: BTreeMap<String, u64>) {
        let mut inner = self.inner.lock();
        if states.is_empty() {
            inner.children.remove(&whose);
        } else {
            inner.children.insert(whose, states);
        }
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.inner.lock().leader = leads;
    }

    /// The page.
    pub fn page(&self) -> String {
        let inner = self.inner.lock();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, says: &str, lines: Vec<(String, String)>| {
            let _ = writeln!(out, "# HELP {name} {says}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let reconciles = inner.reconciles.iter().map(|((kind, good), n)| {
            let result = if *good { "ok" } else { "error" };
            (
                format!("{{kind=\"{kind}\",result=\"{result}\"}}"),
                n.to_string(),
            )
        });
        family(
            "pointsman_operator_reconciles_total",
            "counter",
            "Custom resources looked at.",
            reconciles.collect(),
        );
        family(
            "pointsman_operator_reconcile_duration_seconds",
            "histogram",
            "How long one look takes.",
            inner
                .seconds
                .iter()
                .flat_map(|(kind, seconds)| seconds.lines(kind))
                .collect(),
        );
        let calls = inner.calls.iter().map(|((verb, result), n)| {
            (
                format!("{{verb=\"{verb}\",result=\"{result}\"}}"),
                n.to_string(),
            )
        });
        family(
            "pointsman_operator_api_calls_total",
            "counter",
            "Requests to the API server, but for watches.",
            calls.collect(),
        );
        let drift = inner
            .drift
            .iter()
            .map(|(kind, n)| (format!("{{kind=\"{kind}\"}}"), n.to_string()));
        family(
            "pointsman_operator_drift_corrections_total",
            "counter",
            "Objects set right after somebody changed them.",
            drift.collect(),
        );
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for (state, n) in inner.children.values().flatten() {
            *states.entry(state).or_default() += n;
        }
        let states = states
            .iter()
            .map(|(state, n)| (format!("{{state=\"{state}\"}}"), n.to_string()));
        family(
            "pointsman_operator_children",
            "gauge",
            "Objects kept, by state.",
            states.collect(),
        );
        let leader = u8::from(inner.leader).to_string();
        family(
            "pointsman_operator_leader",
            "gauge",
            "Whether this process leads.",
            vec![(String::new(), leader)],
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_sums_children_over_custom_resources() {
        let counts = Counts::default();
        counts.children("a".to_owned(), BTreeMap::from([("Applied".to_owned(), 2)]));
        counts.children("b".to_owned(), BTreeMap::from([("Applied".to_owned(), 3)]));
        counts.called("apply", true);
        let page = counts.page();
        assert!(
            page.contains("pointsman_operator_children{state=\"Applied\"} 5"),
            "{page}"
        );
        counts.reconciled("SchedulerInstall", true, Duration::from_millis(20));
        let page = counts.page();
        for line in [
            "duration_seconds_bucket{kind=\"SchedulerInstall\",le=\"0.01\"} 0",
            "duration_seconds_bucket{kind=\"SchedulerInstall\",le=\"0.05\"} 1",
            "duration_seconds_bucket{kind=\"SchedulerInstall\",le=\"+Inf\"} 1",
            "duration_seconds_sum{kind=\"SchedulerInstall\"} 0.02",
            "duration_seconds_count{kind=\"SchedulerInstall\"} 1",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(
            page.contains("pointsman_operator_api_calls_total{verb=\"apply\",result=\"ok\"} 1")
        );
        counts.children("a".to_owned(), BTreeMap::new());
        assert!(counts.page().contains("{state=\"Applied\"} 3"));
    }
}
