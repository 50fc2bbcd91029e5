//! What something used over time, by the clock on the wall: for windows that are known only afterwards, and for
//! sources that tell rates.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::results::{Usage, rounded};

/// Seconds since 1970.
#[must_use]
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// Use of CPU and memory at moments.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// What it is called in the report.
    pub name: String,
    /// Second, CPU seconds used until then, resident MiB.
    points: Vec<(f64, f64, f64)>,
    /// Why no more can be seen.
    lost: Option<String>,
}

impl Samples {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// CPU seconds used since some beginning, and memory.
    pub fn total(&mut self, at: f64, cpu_seconds: f64, resident_mb: f64) {
        if self.points.last().is_none_or(|last| last.0 < at) {
            self.points.push((at, cpu_seconds, resident_mb));
        }
    }

    /// Cores in use since the last moment, and memory.
    pub fn rate(&mut self, at: f64, cores: f64, resident_mb: f64) {
        let (then, before) = self
            .points
            .last()
            .map_or((at, 0.0), |last| (last.0, last.1));
        // The first point begins the count.
        self.total(at, before + cores * (at - then).max(0.0), resident_mb);
    }

    /// Notes why it cannot be seen, the first time.
    pub fn lose(&mut self, why: impl FnOnce() -> String) {
        if self.lost.is_none() {
            self.lost = Some(why());
        }
    }

    /// What was used between two moments. A source that tells less often than that gives what it told around them.
    #[must_use]
    pub fn usage(&self, begin: f64, end: f64) -> Usage {
        let mut usage = Usage {
            name: self.name.clone(),
            cpu_seconds: 0.0,
            cpu_cores: 0.0,
            rss_mb: 0.0,
            peak_rss_mb: 0.0,
            lost: self.lost.clone(),
            series: Vec::new(),
        };
        let last = self.points.iter().position(|point| point.0 >= end);
        let last = last.unwrap_or_else(|| self.points.len().saturating_sub(1));
        let first = self.points.iter().rposition(|point| point.0 <= begin);
        // A single reading gets the one before it.
        let first = first.unwrap_or(0).min(last.saturating_sub(1));
        let points = self.points.get(first..=last).unwrap_or_default();
        let (Some(from), Some(to)) = (points.first(), points.last()) else {
            usage
                .lost
                .get_or_insert_with(|| format!("{}: nothing was told of this time", self.name));
            return usage;
        };
        let long = (to.0 - from.0).max(f64::MIN_POSITIVE);
        let cores = if points.len() > 1 {
            (to.1 - from.1).max(0.0) / long
        } else {
            0.0
        };
        if points.len() < 2 {
            usage.lost.get_or_insert_with(|| {
                format!("{}: one reading is too few for CPU time", self.name)
            });
        }
        usage.cpu_cores = rounded(cores);
        usage.cpu_seconds = rounded(cores * (end - begin).max(0.0));
        usage.rss_mb = rounded(to.2);
        usage.peak_rss_mb = rounded(points.iter().map(|point| point.2).fold(0.0, f64::max));
        usage.series = points
            .windows(2)
            .map(|pair| {
                let long = (pair[1].0 - pair[0].0).max(f64::MIN_POSITIVE);
                let used = (pair[1].1 - pair[0].1).max(0.0);
                (
                    rounded((pair[1].0 - begin).max(0.0)),
                    rounded(used / long),
                    rounded(pair[1].2),
                )
            })
            .collect();
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_the_points_around_it() {
        let mut samples = Samples::new("gateway");
        for second in 0..10 {
            // Half a core at first, two cores from second 5 on.
            let used = if second < 5 {
                f64::from(second) * 0.5
            } else {
                2.5 + f64::from(second - 5) * 2.0
            };
            samples.total(f64::from(second), used, 10.0 + f64::from(second));
        }
        let early = samples.usage(1.0, 4.0);
        assert_eq!(
            (early.cpu_cores, early.cpu_seconds, early.rss_mb),
            (0.5, 1.5, 14.0)
        );
        assert_eq!(
            early.series,
            [(1.0, 0.5, 12.0), (2.0, 0.5, 13.0), (3.0, 0.5, 14.0)]
        );
        let late = samples.usage(6.5, 8.5);
        assert_eq!(
            (late.cpu_cores, late.cpu_seconds, late.peak_rss_mb),
            (2.0, 4.0, 19.0)
        );
        assert_eq!(late.lost, None);
    }

    #[test]
    fn rates_add_up_and_silence_is_told() {
        let mut samples = Samples::new("pods");
        let silent = samples.usage(0.0, 1.0);
        assert_eq!(
            silent.lost.as_deref(),
            Some("pods: nothing was told of this time")
        );
        samples.rate(0.0, 3.0, 5.0);
        assert_eq!(
            samples.usage(0.0, 1.0).lost.as_deref(),
            Some("pods: one reading is too few for CPU time")
        );
        samples.rate(15.0, 0.5, 6.0);
        samples.rate(30.0, 1.5, 7.0);
        // The same reading told again changes nothing.
        samples.rate(30.0, 9.0, 7.0);
        let found = samples.usage(0.0, 30.0);
        assert_eq!(
            (found.cpu_cores, found.cpu_seconds, found.peak_rss_mb),
            (1.0, 30.0, 7.0)
        );
        assert_eq!(found.lost, None);
    }
}
