//! The two specs as written: everything may be left out, nothing unknown is taken.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::spec::invalid::Invalid;

/// Labels, by name.
pub type Labels = BTreeMap<String, String>;

/// The spec of a `SchedulerInstall`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenInstall {
    pub(crate) scheduler_namespace: Option<String>,
    pub(crate) simulator_namespace: Option<String>,
    pub(crate) proxy_service: Option<WrittenProxy>,
    pub(crate) epp: Option<WrittenEpp>,
    pub(crate) gateway: Option<WrittenGateway>,
    pub(crate) routing: Option<WrittenRouting>,
    pub(crate) destination_rule: Option<WrittenBalancing>,
    pub(crate) envoy_filter: Option<WrittenFilter>,
    pub(crate) inference_pool: Option<WrittenPool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenProxy {
    pub(crate) name: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) target_port: Option<i32>,
    pub(crate) selector: Option<Labels>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenEpp {
    pub(crate) enabled: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) replicas: Option<i32>,
    pub(crate) image: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) verbosity: Option<i32>,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) pool_name: Option<String>,
    pub(crate) pool_namespace: Option<String>,
    pub(crate) resources: Option<Value>,
    pub(crate) config_profile: Option<String>,
    pub(crate) flavor: Option<String>,
    pub(crate) reload: Option<String>,
    pub(crate) autoscaled: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenGateway {
    pub(crate) enabled: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) class_name: Option<String>,
    pub(crate) listener_port: Option<i32>,
    pub(crate) listener_protocol: Option<String>,
    pub(crate) stats_port: Option<i32>,
    pub(crate) tls: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenRouting {
    pub(crate) enabled: Option<bool>,
    pub(crate) backend_type: Option<String>,
    pub(crate) inference_pool: Option<WrittenBackendPool>,
    pub(crate) http_route_name: Option<String>,
    pub(crate) parent_gateway: Option<WrittenParent>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenBackendPool {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) port: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenParent {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenBalancing {
    pub(crate) enabled: Option<bool>,
    pub(crate) algorithm: Option<String>,
    pub(crate) connection_pool: Option<WrittenConnectionPool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenConnectionPool {
    // Serde's own camel case would write `http1Max…` as this, but not read a digit's neighbour as a word.
    #[serde(rename = "http1MaxPendingRequests")]
    pub(crate) http1_max_pending_requests: Option<i32>,
    pub(crate) max_requests_per_connection: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenFilter {
    pub(crate) enabled: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) workload_selector: Option<Labels>,
    pub(crate) mode: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenPool {
    pub(crate) enabled: Option<bool>,
    pub(crate) selector: Option<Labels>,
    pub(crate) target_ports: Option<Vec<i32>>,
    pub(crate) failure_mode: Option<String>,
}

/// The spec of a `SimulatorDeployment`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenSimulator {
    pub(crate) replicas: Option<i32>,
    pub(crate) image: Option<String>,
    pub(crate) log_verbosity: Option<i32>,
    pub(crate) resources: Option<Value>,
    pub(crate) service: Option<WrittenService>,
    /// Without effect, as in the original.
    #[serde(rename = "gateway")]
    pub(crate) _gateway: Option<Value>,
    pub(crate) load_balancing: Option<WrittenBalancing>,
    pub(crate) epp: Option<WrittenSimulatorEpp>,
    pub(crate) prefill: Option<WrittenStage>,
    pub(crate) decode: Option<WrittenStage>,
    pub(crate) inference_gateway: Option<WrittenGateways>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenService {
    pub(crate) name: Option<String>,
    pub(crate) port: Option<i32>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenSimulatorEpp {
    pub(crate) enabled: Option<bool>,
    pub(crate) replicas: Option<i32>,
    pub(crate) image: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) verbosity: Option<i32>,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) resources: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenStage {
    pub(crate) enabled: Option<bool>,
    pub(crate) replicas: Option<i32>,
    pub(crate) image: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) log_verbosity: Option<i32>,
    pub(crate) resources: Option<Value>,
    pub(crate) args: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenGateways {
    pub(crate) enabled: Option<bool>,
    pub(crate) standard: Option<WrittenOwnGateway>,
    pub(crate) istio: Option<WrittenOwnGateway>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WrittenOwnGateway {
    pub(crate) enabled: Option<bool>,
    pub(crate) replicas: Option<i32>,
    pub(crate) image: Option<String>,
    pub(crate) port: Option<i32>,
    pub(crate) resources: Option<Value>,
}

/// The spec of an object, or of one that has none.
pub(crate) fn read<T: Default + for<'de> Deserialize<'de>>(object: &Value) -> Result<T, Invalid> {
    match object.get("spec") {
        None | Some(Value::Null) => Ok(T::default()),
        Some(spec) => {
            T::deserialize(spec).map_err(|error| Invalid::value(format!("spec: {error}")))
        }
    }
}

/// Whether a switch is on.
pub(crate) fn on(switch: Option<bool>) -> bool {
    switch == Some(true)
}

/// A word, or what stands for one that is empty or left out.
pub(crate) fn or(word: Option<&String>, default: &str) -> String {
    word.filter(|word| !word.is_empty())
        .map_or_else(|| default.to_owned(), Clone::clone)
}
