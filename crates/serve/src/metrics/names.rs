//! Names that have series of their own: the first thousand models and fairness ids, the rest together as `other`; and
//! of both together as many series as a page can carry.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

/// Names with series of their own.
const MOST: usize = 1000;

/// Series of models and fairness ids together. Beyond them the fairness id is `other`.
const MOST_SERIES: usize = 2048;

/// Longer names are `other` at once: a client chooses them, and they are kept.
pub const LONGEST: usize = 256;

/// The fairness id of requests that name none.
pub const DEFAULT_FLOW: &str = "default-flow";

static OTHER: LazyLock<Arc<str>> = LazyLock::new(|| "other".into());

/// The names that all workers of a process share.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashSet<Arc<str>>>);

impl Names {
    /// The name to count under.
    pub fn admit(&self, name: &str) -> Arc<str> {
        let other = || Arc::clone(&OTHER);
        if name.len() > LONGEST {
            return other();
        }
        let mut names = self.0.lock();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        if names.len() >= MOST {
            return other();
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }
}

/// What a request is counted under, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Said<'a> {
    /// The model that the client wrote.
    pub model: &'a str,
    /// The model that the engine is asked for.
    pub target: &'a str,
    /// The fairness id.
    pub flow: &'a str,
    /// The priority.
    pub priority: i64,
}

/// What requests are counted under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Series {
    /// The model that the client wrote.
    pub model: Arc<str>,
    /// The model that the engine is asked for.
    pub target: Arc<str>,
    /// The fairness id.
    pub flow: Arc<str>,
    /// The priority.
    pub priority: i64,
}

impl Series {
    /// The same, borrowed.
    pub fn said(&self) -> Said<'_> {
        Said {
            model: &self.model,
            target: &self.target,
            flow: &self.flow,
            priority: self.priority,
        }
    }
}

/// The series that all workers of a process share.
#[derive(Debug, Default)]
pub struct AllSeries {
    models: Names,
    flows: Names,
    known: Mutex<HashSet<Series>>,
}

impl AllSeries {
    /// The name to count a model under.
    pub fn model(&self, name: &str) -> Arc<str> {
        self.models.admit(name)
    }

    /// The series to count under.
    pub fn admit(&self, said: Said<'_>) -> Series {
        let model = self.models.admit(said.model);
        let mut series = Series {
            target: match said.target == said.model {
                true => Arc::clone(&model),
                false => self.models.admit(said.target),
            },
            model,
            flow: self.flows.admit(said.flow),
            priority: said.priority,
        };
        let mut known = self.known.lock();
        if known.contains(&series) {
            return series;
        }
        if known.len() >= MOST_SERIES {
            series.flow = Arc::clone(&OTHER);
        }
        if known.len() >= 2 * MOST_SERIES && !known.contains(&series) {
            let other = || Arc::clone(&OTHER);
            (series.model, series.target, series.priority) = (other(), other(), 0);
        }
        known.insert(series.clone());
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thousand_have_their_own_and_keep_it() {
        let names = Names::default();
        for n in 0..10_000 {
            let expected = if n < MOST {
                format!("m{n}")
            } else {
                "other".to_owned()
            };
            assert_eq!(*names.admit(&format!("m{n}")), *expected);
        }
        assert_eq!(&*names.admit("m7"), "m7");
        assert_eq!(&*Names::default().admit(&"x".repeat(257)), "other");
    }

    #[test]
    fn clients_cannot_make_series_without_end() {
        let all = AllSeries::default();
        let of = |model: &str, flow: &str, priority| {
            all.admit(Said {
                model,
                target: model,
                flow,
                priority,
            })
        };
        let first = of("m0", "f0", 0);
        for n in 0..20_000 {
            of(&format!("m{}", n % 50), &format!("f{n}"), n % 7);
        }
        assert_eq!(of("m0", "f0", 0), first);
        assert_eq!(&*of("m1", "f19999", 0).flow, "other");
        let known = all.known.lock().len();
        assert!(known <= 2 * MOST_SERIES + 1, "{known}");
    }

    #[test]
    fn the_client_s_and_the_engine_s_name_are_told_apart() {
        let all = AllSeries::default();
        let said = Said {
            model: "alias",
            target: "real",
            flow: DEFAULT_FLOW,
            priority: -1,
        };
        let series = all.admit(said);
        assert_eq!(series.said(), said);
        assert_eq!(all.admit(said), series);
    }
}
