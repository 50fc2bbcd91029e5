//! The `SchedulerInstall`: picker, gateway and the route to the pool, which the operator makes.

use serde_json::json;

use crate::desired::child::Child;
use crate::kinds::INSTALL;
use crate::stack::settings::Settings;
use crate::stack::{map, object};

pub(super) fn install(settings: &Settings) -> Child {
    let mut epp = json!({
        "enabled": true,
        "name": settings.epp,
        "port": settings.epp_port,
        "poolName": settings.pool,
        "poolNamespace": settings.namespace,
        "configProfile": settings.profile,
    });
    let simulated = settings.simulated.then_some(&settings.pointsman_image);
    if let Some(image) = settings.epp_image.as_ref().or(simulated) {
        epp["image"] = json!(image);
    }
    let mut spec = json!({
        "schedulerNamespace": settings.scheduler_namespace,
        "simulatorNamespace": settings.namespace,
        "epp": epp,
        "gateway": {
            "enabled": true,
            "name": settings.gateway,
            "className": settings.gateway_class,
            "listenerPort": settings.gateway_port,
        },
        "proxyService": {
            "name": settings.proxy_service,
            "port": settings.proxy_port,
            "targetPort": settings.proxy_port,
            "selector": map(settings.candidates()),
        },
        "routing": {
            "enabled": true,
            "backendType": "InferencePool",
            "inferencePool": {
                "name": settings.pool,
                "namespace": settings.namespace,
                "port": settings.proxy_port,
            },
        },
        "envoyFilter": {"enabled": true, "mode": settings.filter_mode},
    });
    if !settings.balancing.is_empty() {
        spec["destinationRule"] = json!({
            "enabled": true,
            "algorithm": settings.balancing,
            "connectionPool": {
                "http1MaxPendingRequests": settings.max_pending,
                "maxRequestsPerConnection": settings.max_per_connection,
            },
        });
    }
    object(
        &INSTALL,
        &settings.scheduler_namespace,
        &settings.install,
        &[],
        json!({"spec": spec}),
    )
}
