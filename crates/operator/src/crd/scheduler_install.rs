//! The definition of `SchedulerInstall`.

use serde_json::{Value, json};

use crate::crd::schema::{Schema, children, conditions, resources};
use crate::crd::{Names, definition as define};
use crate::spec::install as defaults;

const NAMES: Names = Names {
    kind: "SchedulerInstall",
    plural: "schedulerinstalls",
    short: "schedinst",
};

/// The definition, as it is installed.
pub(crate) fn definition() -> Value {
    define(
        &NAMES,
        "A picker, the gateway in front of it and the route to the pool that it picks from.",
        &[
            ("Profile", "string", ".spec.epp.configProfile"),
            ("EPP", "string", ".status.epp"),
            ("Backend", "string", ".spec.routing.backendType"),
            ("Endpoints", "string", ".status.endpoints"),
            (
                "Ready",
                "string",
                ".status.conditions[?(@.type==\"Ready\")].status",
            ),
            (
                "Available",
                "string",
                ".status.conditions[?(@.type==\"Available\")].status",
            ),
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
            ("schedulerNamespace", Schema::object_name(
                "Where picker, gateway and route are; the namespace of this object where not said.",
                "spec.schedulerNamespace",
            )),
            ("simulatorNamespace", Schema::object_name(
                "Where the backends are. Required.",
                "spec.simulatorNamespace",
            )),
            ("proxyService", proxy_service()),
            ("epp", epp()),
            ("gateway", gateway()),
            ("routing", routing()),
            ("destinationRule", balancing("How Istio balances over the proxy Service.")),
            ("envoyFilter", envoy_filter()),
            ("inferencePool", inference_pool()),
        ],
    )
    .rule(
        "has(self.simulatorNamespace) && self.simulatorNamespace != ''",
        "spec.simulatorNamespace is required: set it to the namespace of the backends",
    )
    .rule(
        "!has(oldSelf.simulatorNamespace) || oldSelf.simulatorNamespace == '' || (has(self.simulatorNamespace) && self.simulatorNamespace == oldSelf.simulatorNamespace)",
        "spec.simulatorNamespace cannot be changed: create another SchedulerInstall, then delete this one",
    )
    .rule(
        "has(oldSelf.schedulerNamespace) == has(self.schedulerNamespace) && (!has(self.schedulerNamespace) || self.schedulerNamespace == oldSelf.schedulerNamespace)",
        "spec.schedulerNamespace cannot be changed: create another SchedulerInstall, then delete this one",
    )
    .rule(
        "!has(self.envoyFilter) || !has(self.envoyFilter.enabled) || !self.envoyFilter.enabled || (has(self.epp) && has(self.epp.enabled) && self.epp.enabled)",
        "spec.envoyFilter.enabled needs spec.epp.enabled: true, since the filter sends to that picker",
    )
    .rule(
        "!has(self.envoyFilter) || !has(self.envoyFilter.enabled) || !self.envoyFilter.enabled || has(self.gateway) || (has(self.envoyFilter.workloadSelector) && size(self.envoyFilter.workloadSelector) > 0)",
        "spec.envoyFilter.enabled needs spec.envoyFilter.workloadSelector, or spec.gateway to take it from",
    )
    .rule(
        "!has(self.routing) || !has(self.routing.enabled) || !self.routing.enabled || !has(self.routing.backendType) || self.routing.backendType != 'InferencePool' || has(self.epp) || (has(self.routing.inferencePool) && has(self.routing.inferencePool.name) && self.routing.inferencePool.name != '')",
        "spec.routing.backendType InferencePool needs spec.routing.inferencePool.name, or spec.epp to take it from",
    )
    .rule(
        "!has(self.routing) || !has(self.routing.enabled) || !self.routing.enabled || has(self.gateway) || (has(self.routing.parentGateway) && has(self.routing.parentGateway.name) && self.routing.parentGateway.name != '')",
        "spec.routing.enabled needs spec.routing.parentGateway.name, or spec.gateway to take it from",
    )
}

fn proxy_service() -> Schema {
    Schema::object(
        "The Service in front of the backends.",
        [
            (
                "name",
                Schema::label_name("Its name.", "spec.proxyService.name")
                    .default(defaults::PROXY_NAME),
            ),
            (
                "port",
                Schema::port("Its port.", "spec.proxyService.port").default(defaults::PROXY_PORT),
            ),
            (
                "targetPort",
                Schema::port(
                    "The port of the backends; `port` where not said.",
                    "spec.proxyService.targetPort",
                ),
            ),
            (
                "selector",
                Schema::labels(
                    "The labels of the backends; those of decode servers where not said.",
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
            ("name", Schema::label_name("The name of its Deployment and Service.", "spec.epp.name")
                .default(defaults::EPP_NAME)),
            ("replicas", Schema::int32("How many pods.").at_least(1).default(1)),
            ("image", Schema::text("The container image.").default(defaults::EPP_IMAGE)),
            ("port", Schema::int32("The port of ext_proc; health is on the next one.")
                .rule(
                    "self >= 1 && self <= 65534",
                    "spec.epp.port must be between 1 and 65534, since health is on the next port",
                )
                .rule(
                    "self != 9090 && self != 9089",
                    "spec.epp.port must not be 9089 or 9090: metrics are on 9090, health on the port after this one",
                )
                .default(defaults::EPP_PORT)),
            ("verbosity", Schema::int32("How much it logs; 0 is allowed.").default(1)),
            ("args", Schema::list("Further arguments.", Schema::text(""))),
            ("poolName", Schema::object_name("The InferencePool that it picks from.", "spec.epp.poolName")
                .default(defaults::POOL_NAME)),
            ("poolNamespace", Schema::object_name(
                "Where that pool is; `simulatorNamespace` where not said.",
                "spec.epp.poolNamespace",
            )),
            ("resources", resources("What the pods may use.")),
            ("configProfile", Schema::text(
                "How it picks: `default` by load, prefix cache and KV usage among decode servers; `proxy-performance` by requests in flight; `proxy-performance-by-backend` the same among one KV backend.",
            )
            .one_of(&["default", "proxy-performance", "proxy-performance-by-backend"])
            .default("default")),
            ("flavor", Schema::text(
                "Which flags the image takes: `LegacyFlags` as v0.4 does, `Current` without those that later pickers refuse, `Auto` by the image's name and tag.",
            )
            .one_of(&["Auto", "LegacyFlags", "Current"])),
            ("reload", Schema::text(
                "How another profile reaches running pods: `Rolling` restarts them, `Hot` leaves it to the picker, `None` to you. Not said: `Hot` for pointsman's image, else `Rolling`.",
            )
            .one_of(&["Rolling", "Hot", "None"])),
            ("autoscaled", Schema::flag(
                "Whether something else sets the number of pods: `replicas` is then not written.",
            )),
        ],
    )
}

fn gateway() -> Schema {
    let certificate = Schema::object(
        "A Secret of type kubernetes.io/tls.",
        [
            ("name", Schema::text("Its name.")),
            (
                "namespace",
                Schema::text("Where it is; the gateway's namespace where not said."),
            ),
        ],
    )
    .required(&["name"]);
    Schema::object(
        "The Gateway (Gateway API).",
        [
            ("enabled", Schema::flag("Whether it is made; where not, its name still counts as the parent of the route.")),
            ("name", Schema::object_name("Its name.", "spec.gateway.name").default(defaults::GATEWAY_NAME)),
            ("className", Schema::text("Its class.").default(defaults::GATEWAY_CLASS)),
            ("listenerPort", Schema::port("The port that it listens on.", "spec.gateway.listenerPort").default(80)),
            ("listenerProtocol", Schema::text("What it speaks there: HTTP, HTTPS, TLS or TCP.")
                .with("maxLength", json!(255))
                .rule(
                    "self == '' || self in ['HTTP', 'HTTPS', 'TLS', 'TCP']",
                    "spec.gateway.listenerProtocol must be HTTP, HTTPS, TLS or TCP",
                )
                .default("HTTP")),
            ("statsPort", Schema::port(
                "The port on which the gateway's pods show Envoy's counters at /stats/prometheus; 15090 in Istio. With it the condition ExtProcEffective says whether the gateway follows the picker.",
                "spec.gateway.statsPort",
            )),
            ("tls", Schema::object(
                "What an HTTPS listener shows.",
                [("certificateRefs", Schema::list("The certificates.", certificate).with("minItems", json!(1)))],
            )
            .required(&["certificateRefs"])),
        ],
    )
    .rule(
        "!has(self.listenerProtocol) || self.listenerProtocol != 'HTTPS' || has(self.tls)",
        "spec.gateway.listenerProtocol HTTPS needs spec.gateway.tls.certificateRefs",
    )
}

fn routing() -> Schema {
    Schema::object(
        "The route from the gateway to the backends.",
        [
            ("enabled", Schema::flag("Whether there is one.")),
            ("backendType", Schema::text("What it leads to: the proxy Service, or an InferencePool and so the picker.")
                .one_of(&["Service", "InferencePool"])
                .default("Service")),
            ("inferencePool", Schema::object(
                "The pool, where the route leads to one.",
                [
                    ("name", Schema::object_name("Its name; `epp.poolName` where not said.", "spec.routing.inferencePool.name")),
                    ("namespace", Schema::object_name("Where it is; `epp.poolNamespace` where not said.", "spec.routing.inferencePool.namespace")),
                    ("port", Schema::int32("The port to name in the route; 0 names none.").rule(
                        "self >= 0 && self <= 65535",
                        "spec.routing.inferencePool.port must be a port between 1 and 65535, or 0 for none",
                    )),
                ],
            )),
            ("httpRouteName", Schema::object_name("The name of the HTTPRoute.", "spec.routing.httpRouteName")
                .default(defaults::ROUTE_NAME)),
            ("parentGateway", Schema::object(
                "The Gateway that the route belongs to.",
                [
                    ("name", Schema::object_name("Its name; `gateway.name` where not said.", "spec.routing.parentGateway.name")),
                    ("namespace", Schema::object_name("Where it is; `schedulerNamespace` where not said.", "spec.routing.parentGateway.namespace")),
                ],
            )),
        ],
    )
}

/// How Istio balances over a Service.
pub(crate) fn balancing(says: &str) -> Schema {
    Schema::object(
        says,
        [
            (
                "enabled",
                Schema::flag("Whether anything is said about it."),
            ),
            (
                "algorithm",
                Schema::text("The algorithm.")
                    .one_of(&["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "LEAST_CONN"])
                    .default("ROUND_ROBIN"),
            ),
            ("connectionPool", connection_pool()),
        ],
    )
}

/// Bounds of Istio's connection pool.
fn connection_pool() -> Schema {
    Schema::object(
        "Bounds of the connection pool.",
        [
            (
                "http1MaxPendingRequests",
                Schema::int32("Requests that may wait for a connection.").default(1),
            ),
            (
                "maxRequestsPerConnection",
                Schema::int32("Requests that one connection serves.").default(1),
            ),
        ],
    )
}

fn envoy_filter() -> Schema {
    Schema::object(
        "How an Istio gateway is told to ask the picker.",
        [
            ("enabled", Schema::flag("Whether it is told by an EnvoyFilter.")),
            ("name", Schema::object_name("The name of the EnvoyFilter.", "spec.envoyFilter.name")
                .default(defaults::FILTER_NAME)),
            ("workloadSelector", Schema::labels(
                "The labels of the gateway's pods; those of `gateway.name` where not said.",
            )),
            ("mode", Schema::text(
                "`Legacy` (also where not said) is the filter of the original operator; `FullDuplex` lets the picker's answer count; `Auto` writes none where Istio's own support for InferencePool applies.",
            )
            .one_of(&["Legacy", "Auto", "FullDuplex"])),
        ],
    )
}

fn inference_pool() -> Schema {
    Schema::object(
        "An InferencePool, named by `epp.poolName` and `epp.poolNamespace`.",
        [
            ("enabled", Schema::flag("Whether the operator makes it.")),
            (
                "selector",
                Schema::labels("The labels of its pods; `proxyService.selector` where not said."),
            ),
            (
                "targetPorts",
                Schema::list(
                    "The ports of its pods, at most 8; `proxyService.targetPort` where not said.",
                    Schema::int32(""),
                )
                .with("maxItems", json!(8))
                .rule(
                    "self.all(port, port >= 1 && port <= 65535)",
                    "spec.inferencePool.targetPorts must be ports between 1 and 65535",
                ),
            ),
            (
                "failureMode",
                Schema::text("What a gateway does without the picker; FailClose where not said.")
                    .one_of(&["FailOpen", "FailClose"]),
            ),
        ],
    )
}

fn status() -> Schema {
    Schema::object(
        "What was found.",
        [
            ("conditions", conditions()),
            ("children", children()),
            (
                "observedGeneration",
                Schema::int64("The generation of the spec that this is about."),
            ),
            (
                "epp",
                Schema::text("Ready and wanted pods of the picker, as `ready/wanted`."),
            ),
            (
                "endpoints",
                Schema::text("Ready and all pods of the pool, as `ready/all`."),
            ),
        ],
    )
}
