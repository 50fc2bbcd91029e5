//! The first generation's flags about the engines' metrics: they take the place of the default engine's words.

use pointsman_core::contract::data_layer::EngineMetrics;
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::scrape::secured::Secured;
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::metric_spec::read;

use crate::commands::epp::values::boolean;

/// The one of these flags that the second generation brought.
const RUNNING: &str = "--total-running-requests-metric";

/// Flags that only the first generation has.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Metrics, as the first generation names them")]
pub(crate) struct MetricNames {
    /// Requests waiting.
    #[arg(long, value_name = "METRIC")]
    total_queued_requests_metric: Option<String>,
    /// Requests running.
    #[arg(long, value_name = "METRIC")]
    total_running_requests_metric: Option<String>,
    /// Share of the KV cache in use.
    #[arg(long, value_name = "METRIC")]
    kv_cache_usage_percentage_metric: Option<String>,
    /// The series whose labels list LoRA adapters.
    #[arg(long, value_name = "METRIC")]
    lora_info_metric: Option<String>,
    /// The series whose labels hold the cache's sizes.
    #[arg(long, value_name = "METRIC")]
    cache_info_metric: Option<String>,
    /// Another port than the endpoint's own; 0 means its own.
    #[arg(long, value_name = "PORT")]
    model_server_metrics_port: Option<u16>,
    /// The page's path.
    #[arg(long, value_name = "PATH")]
    model_server_metrics_path: Option<String>,
    /// http or https.
    #[arg(long, value_name = "SCHEME")]
    model_server_metrics_scheme: Option<String>,
    /// With https: whether any certificate is taken.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    model_server_metrics_https_insecure_skip_verify: Option<bool>,
}

impl MetricNames {
    /// One of these flags that was given and that only the first generation has.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let mut given = self.deprecated().into_iter().map(|(name, _)| name);
        given.find(|name| *name != RUNNING)
    }

    /// Those of these flags that were given, and the plugin whose parameters took their place.
    pub(crate) fn deprecated(&self) -> Vec<(&'static str, &'static str)> {
        let given = [
            (
                self.total_queued_requests_metric.is_some(),
                "--total-queued-requests-metric",
            ),
            (self.total_running_requests_metric.is_some(), RUNNING),
            (
                self.kv_cache_usage_percentage_metric.is_some(),
                "--kv-cache-usage-percentage-metric",
            ),
            (self.lora_info_metric.is_some(), "--lora-info-metric"),
            (self.cache_info_metric.is_some(), "--cache-info-metric"),
            (
                self.model_server_metrics_port.is_some(),
                "--model-server-metrics-port",
            ),
            (
                self.model_server_metrics_path.is_some(),
                "--model-server-metrics-path",
            ),
            (
                self.model_server_metrics_scheme.is_some(),
                "--model-server-metrics-scheme",
            ),
            (
                self.model_server_metrics_https_insecure_skip_verify
                    .is_some(),
                "--model-server-metrics-https-insecure-skip-verify",
            ),
        ];
        let given = given.into_iter().filter(|(given, _)| *given);
        let plugin = |name: &str| match name.starts_with("--model-server-") {
            true => "metrics-data-source",
            false => "core-metrics-extractor",
        };
        given.map(|(_, name)| (name, plugin(name))).collect()
    }

    /// Puts what was given in the place of what the plan says.
    ///
    /// # Errors
    /// A value that cannot be.
    pub(crate) fn put_into(&self, plan: &mut Plan) -> Result<(), String> {
        let Some((source, engines)) = &mut plan.metrics else {
            return Ok(());
        };
        if let Some(port) = self.model_server_metrics_port {
            source.port = (port != 0).then_some(port);
        }
        if let Some(path) = &self.model_server_metrics_path {
            source.path.clone_from(path);
        }
        match self.model_server_metrics_scheme.as_deref() {
            None => {}
            Some("http") => source.https = false,
            Some("https") => source.https = true,
            Some(other) => {
                return Err(format!(
                    "--model-server-metrics-scheme is '{other}'; use http or https"
                ));
            }
        }
        if let Some(skip) = self.model_server_metrics_https_insecure_skip_verify {
            source.insecure_skip_verify = skip;
        }
        if let Err((field, why)) = Secured::of(source) {
            return Err(format!("metrics cannot be read over https: {field}: {why}"));
        }
        self.rename(engines)
    }

    fn rename(&self, engines: &mut EngineMetrics) -> Result<(), String> {
        let named = [
            &self.total_queued_requests_metric,
            &self.total_running_requests_metric,
            &self.kv_cache_usage_percentage_metric,
            &self.lora_info_metric,
            &self.cache_info_metric,
        ];
        if named.iter().all(|name| name.is_none()) {
            return Ok(());
        }
        let name = engines.default_engine.clone();
        let at = engines.engines.iter().position(|e| e.name == name);
        let mut engine = match at {
            Some(at) => engines.engines.remove(at),
            None => Dialect::named(&name).unwrap_or(Dialect::Vllm).spec(),
        };
        engine.name = name;
        let places = [
            &mut engine.waiting,
            &mut engine.running,
            &mut engine.kv_usage,
            &mut engine.lora,
            &mut engine.cache_info,
        ];
        for (place, name) in places.into_iter().zip(named) {
            if let Some(text) = name {
                *place = read(text).map_err(|error| error.to_string())?;
            }
        }
        engines.engines.push(engine);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_takes_the_place_of_the_default_engine_s() {
        let names = MetricNames {
            kv_cache_usage_percentage_metric: Some("mine:kv{a=b}".to_owned()),
            total_queued_requests_metric: Some(String::new()),
            lora_info_metric: Some("mine:adapters".to_owned()),
            ..MetricNames::default()
        };
        let mut engines = EngineMetrics::default();
        names.rename(&mut engines).unwrap();
        let engine = &engines.engines[0];
        assert_eq!(engine.name, "vllm");
        assert_eq!(engine.kv_usage.as_ref().unwrap().name, "mine:kv");
        assert_eq!(engine.waiting, None);
        assert_eq!(engine.lora.as_ref().unwrap().name, "mine:adapters");
        assert_eq!(engine.running, Dialect::Vllm.spec().running);
        assert_eq!(names.given(), Some("--total-queued-requests-metric"));
        assert_eq!(MetricNames::default().given(), None);
        let (metric, page) = ("core-metrics-extractor", "metrics-data-source");
        let newer = MetricNames {
            total_running_requests_metric: Some("r".to_owned()),
            model_server_metrics_port: Some(1),
            ..MetricNames::default()
        };
        assert_eq!(newer.given(), Some("--model-server-metrics-port"));
        assert_eq!(
            newer.deprecated(),
            [(RUNNING, metric), ("--model-server-metrics-port", page)]
        );
        let wrong = MetricNames {
            cache_info_metric: Some("{".to_owned()),
            ..MetricNames::default()
        };
        assert!(wrong.rename(&mut engines).is_err());
    }
}
