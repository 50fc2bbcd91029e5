//! Which page of an endpoint is read, and in which engine's words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pointsman_core::contract::data_layer::{EngineMetrics, MetricsSource};
use pointsman_core::model::endpoint::{Endpoint, Labels};
use pointsman_core::schedule::plan::Plan;
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::lexicon::Lexicon;

use crate::scrape::secured::{Fault, Secured};

/// The labels that name an endpoint's engine, unless the configuration names another; the first present counts.
pub const ENGINE_LABELS: [&str; 2] = [
    "llm-d.ai/engine-type",
    "inference.networking.k8s.io/engine-type",
];

/// The engine of an endpoint with these labels: what its label says if that engine is known, else the default.
pub fn engine_of<'a>(engines: &'a EngineMetrics, labels: &'a Labels) -> &'a str {
    let named = match &engines.engine_label {
        Some(key) => labels.get(key),
        None => ENGINE_LABELS.iter().find_map(|key| labels.get(key)),
    };
    named
        .filter(|name| is_known(engines, name))
        .unwrap_or(&engines.default_engine)
}

fn is_known(engines: &EngineMetrics, name: &str) -> bool {
    Dialect::named(name).is_some() || engines.engines.iter().any(|e| e.name == name)
}

/// An engine and its words.
#[derive(Debug)]
struct Engine {
    name: String,
    lexicon: Arc<Lexicon>,
}

/// What a plan says of scraping, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Directory {
    /// `None`: nothing is scraped.
    metrics: Option<(MetricsSource, EngineMetrics)>,
    engines: Vec<Engine>,
    /// TLS, where the pages are served over it.
    secured: Result<Option<Secured>, Fault>,
}

/// One page to read. Equal targets need no new task.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Target {
    /// Where the page is.
    pub(crate) address: SocketAddr,
    /// Its path.
    pub(crate) path: String,
    /// What is looked for.
    pub(crate) lexicon: Arc<Lexicon>,
    /// What its connection is secured by.
    pub(crate) secured: Option<Secured>,
    interval: Option<Duration>,
}

impl Directory {
    /// The directory of a plan; without one that of the defaults.
    pub(crate) fn of(plan: Option<&Plan>) -> Self {
        let metrics = plan.map_or_else(|| Some(Default::default()), |plan| plan.metrics.clone());
        let described = metrics
            .iter()
            .flat_map(|(_, engines)| &engines.engines)
            .cloned();
        let known = Dialect::ALL.into_iter().map(|(dialect, _)| dialect.spec());
        let engines = described
            .chain(known)
            .map(|spec| Engine {
                lexicon: Arc::new(Lexicon::of(&spec)),
                name: spec.name,
            })
            .collect();
        let secured = match &metrics {
            Some((source, _)) => Secured::of(source),
            None => Ok(None),
        };
        Self {
            metrics,
            engines,
            secured,
        }
    }

    /// Looks at the files that TLS was set up from, and whether they are others now. Ones that cannot be used are left alone.
    pub(crate) async fn renew(&mut self) -> bool {
        let Some((source, _)) = self.metrics.as_ref().filter(|(source, _)| source.https) else {
            return false;
        };
        let (source, known) = (
            source.clone(),
            self.secured.as_ref().ok().cloned().flatten(),
        );
        // Files may lie anywhere, and requests are served beside.
        let look = move || match known {
            Some(known) => known.renewed(&source),
            None => Secured::of(&source).ok().flatten(),
        };
        let renewed = tokio::task::spawn_blocking(look).await.ok().flatten();
        let is_other = renewed.is_some();
        if is_other {
            self.secured = Ok(renewed);
        }
        is_other
    }

    /// The plan's own time between two readings.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let span = self.metrics.as_ref()?.0.interval?;
        Some(Duration::from_nanos(span.0))
    }

    /// The page of an endpoint; `None` when the plan wants none, or wants one that it cannot have.
    pub(crate) fn target(&self, endpoint: &Endpoint) -> Option<Target> {
        let (source, metrics) = self.metrics.as_ref()?;
        // A plan whose files cannot be used is refused; they were there then.
        let secured = self.secured.as_ref().ok()?.clone();
        let name = engine_of(metrics, &endpoint.labels);
        let engine = self.engines.iter().find(|engine| engine.name == name)?;
        let mut address = endpoint.address;
        if let Some(port) = source.port {
            address.set_port(port);
        }
        Some(Target {
            address,
            path: source.path.clone(),
            lexicon: Arc::clone(&engine.lexicon),
            secured,
            interval: self.interval(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::data_layer::EngineSpec;
    use pointsman_core::model::slots::Slot;

    #[track_caller]
    fn check(engines: &EngineMetrics, labels: &[(&str, &str)], expected: &str) {
        let labels: Labels = labels.iter().copied().collect();
        assert_eq!(engine_of(engines, &labels), expected);
    }

    #[test]
    fn the_label_names_the_engine_if_it_is_known() {
        let [first, second] = ENGINE_LABELS;
        let usual = EngineMetrics::default();
        check(&usual, &[], "vllm");
        check(&usual, &[(first, "sglang")], "sglang");
        check(&usual, &[(second, "triton")], "triton");
        check(&usual, &[(second, "triton"), (first, "sglang")], "sglang");
        check(&usual, &[(first, "homegrown")], "vllm");
        let own = EngineMetrics {
            engine_label: Some("engine".to_owned()),
            default_engine: "trtllm-serve".to_owned(),
            engines: vec![EngineSpec {
                name: "homegrown".to_owned(),
                ..EngineSpec::default()
            }],
        };
        check(&own, &[(first, "sglang")], "trtllm-serve");
        check(&own, &[("engine", "homegrown")], "homegrown");
    }

    #[test]
    fn a_plan_that_says_the_same_of_an_engine_leaves_its_target_as_it_is() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let target = |labels: &[(&str, &str)]| {
            let labels = labels.iter().copied().collect();
            Directory::of(None).target(&Endpoint::new("e", address, labels, Slot(0)))
        };
        assert!(target(&[]).is_some());
        assert_eq!(target(&[]), target(&[]));
        assert_ne!(target(&[]), target(&[(ENGINE_LABELS[0], "sglang")]));
    }
}
