//! Says which metrics are taken from the engines' pages, by engine.
//!
//! # When to use
//! When engines go by another label, when another engine than vLLM is the usual one, or when an engine calls its
//! metrics differently. Without this plugin vLLM, SGLang, TensorRT-LLM (`trtllm-serve`, `triton-tensorrt-llm`) and
//! `triton` are known, by the label `llm-d.ai/engine-type` or `inference.networking.k8s.io/engine-type`; endpoints
//! without it, or with an unknown one, are taken for vLLM.
//!
//! # Example
//! ```yaml
//! - name: engines
//!   type: core-metrics-extractor
//!   parameters:
//!     defaultEngine: sglang
//!     engineConfigs:
//!     - name: homegrown
//!       queuedRequestsSpec: queue_length{kind=waiting}
//!       runningRequestsSpec: queue_length{kind=running}
//!       kvUsageSpec: cache_share
//!       customMetrics: [{attributeKey: gpu, metricSpec: 'gpu_use{gpu=0}'}]
//! ```
//! A metric is named as `name` or `name{label=value,...}`; an empty text switches the reading off. An engine
//! described here replaces the built-in one of the same name, whole. Of several series that match, the one with the
//! largest timestamp counts, else the first.
//!
//! # Limitations
//! A described engine says only what it describes: one without `loraSpec` reports no adapters. Of several extractors that
//! are declared the first counts.

use pointsman_core::contract::data_layer::{EngineMetrics, EngineSpec, MetricSpec};
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::metric_spec;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "core-metrics-extractor",
    aliases: &[],
    role: Role::Extractor,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("extractor.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The label that names an endpoint's engine; the two usual ones when empty.
    engine_label_key: String,
    /// The engine of endpoints without that label, or with an unknown one.
    default_engine: String,
    /// Engines described here; they replace built-in ones of the same name.
    engine_configs: Vec<Engine>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            engine_label_key: String::new(),
            default_engine: "vllm".to_owned(),
            engine_configs: Vec::new(),
        }
    }
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Engine {
    name: String,
    queued_requests_spec: String,
    running_requests_spec: String,
    kv_usage_spec: String,
    lora_spec: String,
    cache_info_spec: String,
    cache_block_size_label_name: String,
    cache_num_blocks_label_name: String,
    cache_block_size_spec: String,
    cache_num_blocks_spec: String,
    custom_metrics: Vec<Custom>,
}

/// A value that plugins find under a name of the configuration's own.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Custom {
    attribute_key: String,
    metric_spec: String,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let found: Parameters = params.read()?;
    let mut faults = Faults::default();
    let mut engines: Vec<EngineSpec> = Vec::new();
    for (at, engine) in found.engine_configs.iter().enumerate() {
        let path = format!("engineConfigs[{at}]");
        match engine.name.as_str() {
            "" => faults.add(format!("{path}.name"), "the engine needs a name"),
            "default" => faults.add(
                format!("{path}.name"),
                "'default' is reserved; set defaultEngine to one of the engines instead",
            ),
            name if engines.iter().any(|e| e.name == name) => {
                faults.add(
                    format!("{path}.name"),
                    format!("'{name}' is described twice"),
                );
            }
            _ => {}
        }
        engines.push(engine.described(&path, &mut faults));
    }
    let default_engine = if found.default_engine.is_empty() {
        "vllm".to_owned()
    } else {
        found.default_engine
    };
    let known = |name: &str| {
        Dialect::named(name).is_some() || engines.iter().any(|engine| engine.name == name)
    };
    if !known(&default_engine) {
        let names: Vec<&str> = Dialect::ALL.iter().map(|(_, name)| *name).collect();
        let message = format!(
            "no engine is called '{default_engine}'; use {} or one of engineConfigs",
            names.join(", ")
        );
        faults.add("defaultEngine".to_owned(), message);
    }
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    Ok(Built::Extractor(EngineMetrics {
        engine_label: Some(found.engine_label_key).filter(|key| !key.is_empty()),
        default_engine,
        engines,
    }))
}

impl Engine {
    fn described(&self, path: &str, faults: &mut Faults) -> EngineSpec {
        let mut spec = |field: &str, text: &str| -> Option<MetricSpec> {
            match metric_spec::read(text) {
                Ok(spec) => spec,
                Err(why) => {
                    faults.add(format!("{path}.{field}"), why.to_string());
                    None
                }
            }
        };
        let described = EngineSpec {
            name: self.name.clone(),
            waiting: spec("queuedRequestsSpec", &self.queued_requests_spec),
            running: spec("runningRequestsSpec", &self.running_requests_spec),
            kv_usage: spec("kvUsageSpec", &self.kv_usage_spec),
            cache_info: spec("cacheInfoSpec", &self.cache_info_spec),
            block_size_label: self.cache_block_size_label_name.clone(),
            num_blocks_label: self.cache_num_blocks_label_name.clone(),
            block_size: spec("cacheBlockSizeSpec", &self.cache_block_size_spec),
            num_blocks: spec("cacheNumBlocksSpec", &self.cache_num_blocks_spec),
            lora: spec("loraSpec", &self.lora_spec),
            attributes: self.attributes(path, faults),
        };
        let labels = [&described.block_size_label, &described.num_blocks_label];
        if described.cache_info.is_some() && labels.iter().all(|label| label.is_empty()) {
            faults.add(
                format!("{path}.cacheInfoSpec"),
                "it needs cacheBlockSizeLabelName or cacheNumBlocksLabelName to say what to read of it",
            );
        }
        described
    }

    /// The values under names of the configuration's own.
    fn attributes(&self, path: &str, faults: &mut Faults) -> Vec<(String, MetricSpec)> {
        let mut named: Vec<(String, MetricSpec)> = Vec::new();
        for (at, custom) in self.custom_metrics.iter().enumerate() {
            let path = format!("{path}.customMetrics[{at}]");
            let key = &custom.attribute_key;
            if key.is_empty() {
                faults.add(format!("{path}.attributeKey"), "the value needs a name");
            } else if named.iter().any(|(name, _)| name == key) {
                faults.add(
                    format!("{path}.attributeKey"),
                    format!("'{key}' is named twice"),
                );
            }
            match metric_spec::read(&custom.metric_spec) {
                Ok(Some(spec)) => named.push((key.clone(), spec)),
                Ok(None) => faults.add(format!("{path}.metricSpec"), "the metric is missing"),
                Err(why) => faults.add(format!("{path}.metricSpec"), why.to_string()),
            }
        }
        named
    }
}

#[derive(Default)]
struct Faults(Vec<ParamFault>);

impl Faults {
    fn add(&mut self, path: String, message: impl Into<String>) {
        let message = message.into();
        self.0.push(ParamFault { path, message });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture;

    fn engines(json: &str) -> Result<EngineMetrics, String> {
        match fixture::build(&SPEC, json, Generation::G2) {
            Ok(Built::Extractor(engines)) => Ok(engines),
            Ok(other) => panic!("built a {other:?}"),
            Err(faults) => Err(faults
                .iter()
                .map(|f| format!("{}: {}\n", f.path, f.message))
                .collect()),
        }
    }

    #[test]
    fn engines_are_described_and_chosen() {
        assert_eq!(engines("{}").unwrap(), EngineMetrics::default());
        let found = engines(
            r#"{"engineLabelKey":"engine","defaultEngine":"own","engineConfigs":[{"name":"own",
                "queuedRequestsSpec":"q{kind=\"waiting\"}","kvUsageSpec":"","cacheInfoSpec":"info","cacheBlockSizeLabelName":"bs"}]}"#,
        )
        .unwrap();
        assert_eq!(found.engine_label.as_deref(), Some("engine"));
        let own = &found.engines[0];
        let waiting = own.waiting.as_ref().unwrap();
        assert_eq!((waiting.name.as_str(), waiting.labels.len()), ("q", 1));
        assert_eq!(own.kv_usage, None);
        assert_eq!(own.block_size_label, "bs");
    }

    #[test]
    fn every_fault_comes_with_its_place() {
        for (json, expected) in [
            (
                r#"{"defaultEngine":"new"}"#,
                "defaultEngine: no engine is called 'new'; use vllm, sglang",
            ),
            (
                r#"{"engineConfigs":[{}]}"#,
                "engineConfigs[0].name: the engine needs a name",
            ),
            (
                r#"{"engineConfigs":[{"name":"default"}]}"#,
                "'default' is reserved",
            ),
            (
                r#"{"engineConfigs":[{"name":"a"},{"name":"a"}]}"#,
                "engineConfigs[1].name: 'a' is described twice",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","kvUsageSpec":"x{"}]}"#,
                "engineConfigs[0].kvUsageSpec: 'x{' names no metric",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","loraSpec":"x y"}]}"#,
                "engineConfigs[0].loraSpec",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","cacheInfoSpec":"x"}]}"#,
                "cacheBlockSizeLabelName",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","customMetrics":[{"metricSpec":"x"}]}]}"#,
                "engineConfigs[0].customMetrics[0].attributeKey: the value needs a name",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","customMetrics":[{"attributeKey":"k"}]}]}"#,
                "engineConfigs[0].customMetrics[0].metricSpec: the metric is missing",
            ),
            (
                r#"{"engineConfigs":[{"name":"a","customMetrics":[{"attributeKey":"k","metricSpec":"x"},{"attributeKey":"k","metricSpec":"y"}]}]}"#,
                "'k' is named twice",
            ),
            (r#"{"engineConfigs":[{"name":"a","kvUsge":"x"}]}"#, "kvUsge"),
        ] {
            let found = engines(json).unwrap_err();
            assert!(found.contains(expected), "{json}: {found}");
        }
    }
}
