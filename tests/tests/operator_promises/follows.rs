//! The operator says whether the gateway follows the picker.

use std::sync::{Arc, Mutex};

use pointsman_tests::backend::Backend;
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::http::Request;
use pointsman_tests::operator_world::{World, install, operator};
use pointsman_tests::patience::until;
use serde_json::json;

use crate::objects::{EPP, GATEWAY, POOL, VLLM, patch, says};

/// A page that the test writes.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<String>>);

impl Page {
    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.to_owned();
    }

    fn at(&self, address: &str, path: &'static str) -> Backend {
        let page = self.clone();
        Backend::at(address.parse().unwrap(), move |request, reply| {
            let text = page.0.lock().unwrap().clone();
            match request.path == path {
                true => reply.whole(200, "text/plain", text.as_bytes()),
                false => reply.whole(404, "text/plain", b""),
            }
        })
    }
}

/// A pod that runs at an address, without a kubelet.
fn running_pod(cluster: &Cluster, namespace: &str, name: &str, labels: &str, ip: &str) {
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: c, image: none}}]}}\n"
    ));
    let status = json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    cluster.patch_status(namespace, &format!("pod/{name}"), &status.to_string());
}

#[test]
fn the_operator_says_whether_the_gateway_follows_the_picker() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let flags = [
        "--probe-interval=200ms",
        "--metrics-bind-address=127.0.0.1:0",
    ];
    let operator = operator("the operator", &world.kubeconfig, &flags);
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    let counted = |decisions: u32, elsewhere: u32, not_found: u32| {
        format!(
            "pointsman_decisions_total {decisions}\npointsman_served_elsewhere_total {elsewhere}\n\
             pointsman_stale_endpoints_by_reason{{reason=\"never\"}} 1\n\
             pointsman_stale_endpoints_by_reason{{reason=\"not-found\"}} {not_found}\n"
        )
    };
    let envoy = |streams: u32, spurious: u32, failed: u32| {
        format!(
            "envoy_http_ext_proc_streams_started{{p=\"x\"}} {streams}\n\
             envoy_http_ext_proc_spurious_msgs_received{{p=\"x\"}} {spurious}\n\
             envoy_http_ext_proc_streams_failed{{p=\"x\"}} {failed}\n"
        )
    };
    let (picker, gateway) = (Page::default(), Page::default());
    picker.set(&counted(0, 0, 0));
    gateway.set(&envoy(0, 0, 0));
    // Pickers show their counters on a fixed port, so addresses of this test's own are taken.
    let _picker = picker.at("127.19.7.1:9090", "/metrics");
    let stats = gateway.at("127.19.7.2:0", "/stats/prometheus");
    // In one namespace, since addresses of this host cannot stand in an EndpointSlice.
    let parts = json!({
        "epp": {"enabled": true, "poolName": "pool", "poolNamespace": "a"},
        "proxyService": {"port": 8080, "selector": {"role": "proxy"}},
        "inferencePool": {"enabled": true},
        "gateway": {"enabled": true, "statsPort": stats.address().port()},
        "routing": {"enabled": true, "backendType": "InferencePool"},
        "envoyFilter": {"enabled": true, "mode": "Auto"},
    });
    cluster.apply(&install("a", &parts));
    running_pod(cluster, "a", "picker", &format!("app: {EPP}"), "127.19.7.1");
    let label = format!("gateway.networking.k8s.io/gateway-name: {GATEWAY}");
    running_pod(cluster, "a", "gateway", &label, "127.19.7.2");
    running_pod(cluster, "a", "one", "role: proxy", "127.19.7.3");

    let effective = |expected: &str| says(&world, "a", "i", "ExtProcEffective", expected);
    effective("Unknown NoTraffic");
    says(&world, "a", "i", "EndpointsReady", "True Ready");

    // Requests that are asked for, decided and followed, until a look has seen both pages after the same one.
    let mut sent = 0;
    let mut follows = |elsewhere: u32, spurious: u32, failed: u32| {
        until("a gateway that follows", || {
            sent += 60;
            picker.set(&counted(sent, elsewhere, 0));
            gateway.set(&envoy(sent, spurious, failed));
            let now = world.condition("a", "i", "ExtProcEffective");
            (now == "True GatewayFollows").then_some(sent)
        })
    };
    follows(0, 0, 0);
    // The gateway drops the picker's answers: what the seeds' filter leads to.
    gateway.set(&envoy(follows(0, 0, 0) + 60, 60, 0));
    effective("False SpuriousResponses");
    let sent = follows(0, 60, 0);
    picker.set(&counted(sent + 60, 7, 0));
    effective("False ServedElsewhere");
    let sent = follows(7, 60, 0);
    gateway.set(&envoy(sent + 60, 60, 3));
    effective("False PickerFails");
    let sent = follows(7, 60, 3);
    // Without the gateway's counters nobody knows.
    gateway.set("");
    picker.set(&counted(sent + 60, 7, 0));
    effective("Unknown GatewayNotSeen");

    // A candidate without metrics, as the picker tells.
    picker.set(&counted(sent + 60, 7, 1));
    says(&world, "a", "i", "EndpointsReady", "False MetricsNotFound");
    picker.set(&counted(sent + 60, 7, 0));
    says(&world, "a", "i", "EndpointsReady", "True Ready");

    // The seeds' own two causes, whoever put them there.
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "by-hand", "namespace": "a"},
        "spec": {"configPatches": [{
            "applyTo": "HTTP_FILTER", "match": {"context": "GATEWAY"},
            "patch": {"operation": "MERGE", "value": {"typed_config": {"processing_mode": {"request_header_mode": "SKIP"}}}},
        }]},
    });
    cluster.apply(&filter.to_string());
    effective("False LegacyFilter");
    let message = r#"jsonpath={.status.conditions[?(@.type=="ExtProcEffective")].message}"#;
    let said = cluster.kubectl(&["get", "schedinst", "-n", "a", "i", "-o", message]);
    assert!(said.contains("a/by-hand"), "{said}");
    cluster.kubectl(&["delete", "envoyfilter", "-n", "a", "by-hand"]);
    let outside = "
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: a}
spec: {type: ExternalName, externalName: gaie-inference-scheduling-epp.a.svc.cluster.local}
";
    cluster.apply(outside);
    let off = json!({"spec": {"inferencePool": {"enabled": false}}});
    patch(cluster, "a", "schedinst/i", &off);
    until("the operator's pool to be gone", || {
        let pool = cluster.try_kubectl(&["get", "infpool", "-n", "a", "pool"]);
        pool.is_err().then_some(())
    });
    cluster.apply(
        &POOL
            .replace("vllm-proxy-performance", "pool")
            .replace(VLLM, "a")
            .replace(EPP, "outside"),
    );
    effective("False ExternalNamePicker");

    // What it has done can be counted.
    let line = operator.wait_line("its metrics port", |line| {
        let at = line.find("metrics http://")? + "metrics http://".len();
        let rest = &line[at..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    let page = Request::get("/metrics").answered(line).text();
    for family in [
        "pointsman_operator_reconcile_duration_seconds_bucket{kind=\"SchedulerInstall\",le=\"+Inf\"}",
        "pointsman_operator_reconciles_total{kind=\"SchedulerInstall\",result=\"ok\"}",
        "pointsman_operator_children{state=\"Applied\"}",
        "pointsman_operator_api_calls_total{verb=\"apply\",result=\"ok\"}",
    ] {
        assert!(page.contains(family), "{family}: {page}");
    }
}
