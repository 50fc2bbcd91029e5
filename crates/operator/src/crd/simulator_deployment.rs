//! The definition of `SimulatorDeployment`.

use serde_json::Value;

use crate::crd::scheduler_install::balancing;
use crate::crd::schema::{Schema, children, conditions, resources};
use crate::crd::{Names, definition as define};
use crate::spec::simulator as defaults;

const NAMES: Names = Names {
    kind: "SimulatorDeployment",
    plural: "simulatordeployments",
    short: "simdep",
};

/// The definition, as it is installed.
pub(crate) fn definition() -> Value {
    define(
        &NAMES,
        "Simulated model servers, and a picker and gateways for them.",
        &[
            ("Replicas", "integer", ".status.replicas"),
            ("Ready", "integer", ".status.readyReplicas"),
            ("Age", "date", ".metadata.creationTimestamp"),
        ],
        spec(),
        status(),
    )
}

fn spec() -> Schema {
    Schema::object(
        "What is asked for.",
        [
            (
                "replicas",
                Schema::int32("How many servers, where there are no stages.")
                    .at_least(1)
                    .default(2),
            ),
            (
                "image",
                Schema::text("The image of all servers.").default(defaults::IMAGE),
            ),
            (
                "logVerbosity",
                Schema::int32("How much they log; 0 reads as 5.").default(defaults::LOG_VERBOSITY),
            ),
            (
                "resources",
                resources("What a server may use, where there are no stages."),
            ),
            (
                "service",
                Schema::object(
                    "The Service in front of the servers, where there are no stages.",
                    [
                        (
                            "name",
                            Schema::label_name("Its name.", "spec.service.name")
                                .default(defaults::SERVICE_NAME),
                        ),
                        (
                            "port",
                            Schema::port("Its port, and the servers'.", "spec.service.port")
                                .default(defaults::PORT),
                        ),
                        ("type", Schema::text("Its type.").default("ClusterIP")),
                    ],
                ),
            ),
            (
                "gateway",
                Schema::object(
                    "Without effect; a SchedulerInstall makes gateways.",
                    [
                        ("enabled", Schema::flag("Without effect.")),
                        (
                            "className",
                            Schema::text("Without effect.").default("istio"),
                        ),
                        (
                            "routeName",
                            Schema::text("Without effect.").default("infra-sim-inference-gateway"),
                        ),
                    ],
                ),
            ),
            (
                "loadBalancing",
                balancing("How Istio balances over the Service, where there are no stages."),
            ),
            ("epp", epp()),
            ("prefill", stage("The prefill servers.", "prefill")),
            ("decode", stage("The decode servers.", "decode")),
            (
                "inferenceGateway",
                Schema::object(
                    "Gateways as Deployments of their own.",
                    [
                        ("enabled", Schema::flag("Whether there are any.")),
                        (
                            "standard",
                            gateway("An Envoy as kgateway ships it.", "standard"),
                        ),
                        ("istio", gateway("An Envoy as Istio ships it.", "istio")),
                    ],
                ),
            ),
        ],
    )
}

fn epp() -> Schema {
    Schema::object(
        "The endpoint picker.",
        [
            ("enabled", Schema::flag("Whether there is one.")),
            ("replicas", Schema::int32("How many pods.").at_least(1).default(1)),
            ("image", Schema::text("The container image.").default(defaults::EPP_IMAGE)),
            ("port", Schema::int32("The port of ext_proc; health is on the next one.")
                .rule(
                    "self >= 1 && self <= 65534 && self != 9090 && self != 9089",
                    "spec.epp.port must be between 1 and 65534 and not 9089 or 9090: health is on the next port, metrics on 9090",
                )
                .default(defaults::EPP_PORT)),
            ("verbosity", Schema::int32("How much it logs; 0 is allowed.").default(1)),
            ("args", Schema::list("Further arguments.", Schema::text(""))),
            ("resources", resources("What the pods may use.")),
        ],
    )
}

fn stage(says: &str, name: &str) -> Schema {
    Schema::object(
        says,
        [
            ("enabled", Schema::flag("Whether there are any.")),
            (
                "replicas",
                Schema::int32("How many.").at_least(1).default(2),
            ),
            (
                "image",
                Schema::text("Their image; `spec.image` where not said."),
            ),
            (
                "port",
                Schema::port("Their port.", &format!("spec.{name}.port")).default(defaults::PORT),
            ),
            (
                "logVerbosity",
                Schema::int32("How much they log; 0 reads as `spec.logVerbosity`.")
                    .default(defaults::LOG_VERBOSITY),
            ),
            ("resources", resources("What one of them may use.")),
            ("args", Schema::list("Further arguments.", Schema::text(""))),
        ],
    )
}

fn gateway(says: &str, name: &str) -> Schema {
    Schema::object(
        says,
        [
            ("enabled", Schema::flag("Whether there is one.")),
            (
                "replicas",
                Schema::int32("How many pods.").at_least(1).default(1),
            ),
            ("image", Schema::text("The container image.")),
            (
                "port",
                Schema::port(
                    "The port of its Service.",
                    &format!("spec.inferenceGateway.{name}.port"),
                )
                .default(8080),
            ),
            ("resources", resources("What the pods may use.")),
        ],
    )
}

fn status() -> Schema {
    Schema::object(
        "What was found.",
        [
            ("replicas", Schema::int32("Servers that exist.")),
            ("readyReplicas", Schema::int32("Servers that are ready.")),
            (
                "endpoints",
                Schema::list("Not filled in.", Schema::text("")),
            ),
            ("gatewayURL", Schema::text("Not filled in.")),
            ("conditions", conditions()),
            ("children", children()),
            (
                "observedGeneration",
                Schema::int64("The generation of the spec that this is about."),
            ),
        ],
    )
}
