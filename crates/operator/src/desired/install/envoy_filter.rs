//! The EnvoyFilter that tells an Istio gateway to ask the picker.
//!
//! `Legacy` is the original operator's, word for word: it skips the request's headers, so that Envoy drops the
//! picker's answer and balances by itself. `FullDuplex` sends headers and bodies as they come, so that the answer counts.

use serde_json::{Value, json};

use crate::desired::child::Maker;
use crate::desired::{Address, Observed};
use crate::kinds::ENVOY_FILTER;
use crate::spec::install::{Epp, Filter, Install, Mode};

const CLUSTER: &str = "epp-cluster";
const EXT_PROC: &str = "envoy.filters.http.ext_proc";
const EXT_PROC_TYPES: &str = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3";

const OFFLINE: &str =
    "without a cluster the picker is named by its Service; in a cluster its address stands here";

pub(super) fn envoy_filter(
    make: &mut Maker,
    install: &Install,
    filter: &Filter,
    epp: &Epp,
    observed: &Observed,
) {
    let address = match &observed.epp_address {
        // The filter follows as soon as the Service is there.
        Address::Pending | Address::Headless => return,
        Address::Offline => None,
        Address::Ip(ip) => Some(ip.as_str()),
    };
    let cluster = cluster(install, epp, address, filter.mode);
    let patches = match filter.mode {
        Mode::Native => return,
        Mode::Legacy => legacy(cluster),
        Mode::FullDuplex => full_duplex(fail_open(install, observed), cluster),
    };
    let body = json!({"spec": {
        "workloadSelector": {"labels": filter.selector},
        "configPatches": patches,
    }});
    make.owned(
        &ENVOY_FILTER,
        &install.scheduler_namespace,
        &filter.name,
        &[],
        body,
    );
    if address.is_none() {
        make.note(OFFLINE);
    }
}

fn cluster(install: &Install, epp: &Epp, address: Option<&str>, mode: Mode) -> Value {
    let name = format!(
        "{}.{}.svc.cluster.local",
        epp.name, install.scheduler_namespace
    );
    let mut cluster = json!({
        "name": CLUSTER,
        "type": if address.is_some() { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": address.unwrap_or(&name),
                "port_value": epp.port,
            }}}}]}],
        },
    });
    if mode == Mode::Legacy {
        cluster["http2_protocol_options"] = json!({});
    } else {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
    }
    cluster
}

fn add_cluster(cluster: Value) -> Value {
    json!({
        "applyTo": "CLUSTER",
        "match": {"context": "GATEWAY"},
        "patch": {"operation": "ADD", "value": cluster},
    })
}

fn legacy(cluster: Value) -> Value {
    let processing = json!({
        "request_header_mode": "SKIP",
        "request_body_mode": "BUFFERED",
        "response_header_mode": "SKIP",
        "response_body_mode": "NONE",
    });
    let filter = json!({
        "name": EXT_PROC,
        "typed_config": {
            "@type": format!("{EXT_PROC_TYPES}.ExternalProcessor"),
            "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "2s"},
            "processing_mode": processing,
            "failure_mode_allow": true,
        },
    });
    let per_route = json!({EXT_PROC: {
        "@type": format!("{EXT_PROC_TYPES}.ExtProcPerRoute"),
        "overrides": {
            "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}},
            "processing_mode": processing,
            "failure_mode_allow": true,
        },
    }});
    json!([
        {
            "applyTo": "HTTP_FILTER",
            "match": {
                "context": "GATEWAY",
                "listener": {"filterChain": {"filter": {
                    "name": "envoy.filters.network.http_connection_manager",
                    "subFilter": {"name": EXT_PROC},
                }}},
            },
            "patch": {"operation": "REPLACE", "value": filter},
        },
        add_cluster(cluster),
        {
            "applyTo": "HTTP_ROUTE",
            "match": {"context": "GATEWAY"},
            "patch": {"operation": "MERGE", "value": {"typed_per_filter_config": per_route}},
        },
    ])
}

/// As the pool says, whoever made it.
fn fail_open(install: &Install, observed: &Observed) -> bool {
    match &install.pool {
        Some(own) => own.failure_mode == "FailOpen",
        None => observed.pool_fails_open,
    }
}

fn full_duplex(fail_open: bool, cluster: Value) -> Value {
    let metadata = json!({"untyped": ["envoy.lb"]});
    let filter = json!({
        "name": EXT_PROC,
        "typed_config": {
            "@type": format!("{EXT_PROC_TYPES}.ExternalProcessor"),
            "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}},
            "message_timeout": "1000s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND",
                "response_header_mode": "SEND",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "response_trailer_mode": "SEND",
            },
            "metadata_options": {
                "forwarding_namespaces": metadata,
                "receiving_namespaces": metadata,
            },
            "failure_mode_allow": fail_open,
        },
    });
    json!([
        {
            "applyTo": "HTTP_FILTER",
            "match": {
                "context": "GATEWAY",
                "listener": {"filterChain": {"filter": {
                    "name": "envoy.filters.network.http_connection_manager",
                }}},
            },
            "patch": {"operation": "INSERT_FIRST", "value": filter},
        },
        add_cluster(cluster),
    ])
}
