//! `pointsman verify --kube` against a real API server, a real Envoy and the real picker, with pods at loopback addresses:
//! what works passes, and what only seems to work is found out.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use pointsman_tests::answer::MODEL;
use pointsman_tests::binary::pointsman;
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use pointsman_tests::port;
use pointsman_tests::process::{Process, Stream};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Sim, plain};
use serde_json::{Value, json};

const CONFIG: &str = "apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: active-request-scorer, parameters: {requestTimeout: 2m}}
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins: [{pluginRef: max-score-picker}, {pluginRef: active-request-scorer, weight: 1}]
";

/// Two P/D proxies before one engine, a picker, and the objects that stand for them; the gateway is added.
struct Installation {
    cluster: &'static Cluster,
    /// Where pool and candidates are.
    namespace: String,
    /// Where picker, gateway and route are.
    scheduler: String,
    picker: Picker,
    endpoints: [SocketAddr; 2],
    _engine: Sim,
    _proxies: Vec<Process>,
    _files: Scratch,
}

impl Installation {
    #[track_caller]
    fn new(name: &str) -> Self {
        let cluster = Cluster::shared(&Setup::plain());
        let namespace = cluster.namespace(name);
        Self::over(name, namespace.clone(), namespace)
    }

    /// As in the lab: picker, gateway and route in a namespace of their own.
    #[track_caller]
    fn apart(name: &str) -> Self {
        let cluster = Cluster::shared(&Setup::plain());
        let scheduler = cluster.namespace(&format!("{name}-scheduler"));
        Self::over(name, cluster.namespace(name), scheduler)
    }

    #[track_caller]
    fn over(name: &str, namespace: String, scheduler: String) -> Self {
        let cluster = Cluster::shared(&Setup::plain());
        let files = Scratch::new(name);
        // Slow enough that a stream lasts as long as the requests beside it.
        let engine = Sim::start(MODEL, &["--inter-token-latency=50ms", "--max-num-seqs=64"]);
        let port = port::free().port();
        let endpoints = [5, 6].map(|host| SocketAddr::from(([127, 0, 0, host], port)));
        let proxies = ["p2p", "fs"]
            .iter()
            .zip(endpoints)
            .map(|(kind, address)| proxy(kind, address, engine.address))
            .collect();
        let config = files.file("config.yaml", CONFIG);
        let picker = Picker::alive(&[
            "--secure-serving=false",
            "--config-file",
            &config,
            "--pool-name=pool",
            &format!("--pool-namespace={namespace}"),
            &format!("--kubeconfig={}", cluster.kubeconfig().display()),
        ]);
        let own = Self {
            cluster,
            namespace,
            scheduler,
            picker,
            endpoints,
            _engine: engine,
            _proxies: proxies,
            _files: files,
        };
        own.objects(port);
        until("the picker to be ready with both", || {
            (own.picker.server.endpoints().len() == 2).then_some(())
        });
        own
    }

    #[track_caller]
    fn apply(&self, object: Value) {
        self.apply_in(&self.namespace, object);
    }

    #[track_caller]
    fn apply_in(&self, namespace: &str, mut object: Value) {
        object["metadata"]["namespace"] = json!(namespace);
        self.cluster.apply(&object.to_string());
    }

    #[track_caller]
    fn pod(&self, namespace: &str, (name, labels): (&str, Value), address: &str, args: Value) {
        self.apply_in(
            namespace,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "nodeName": "somewhere", "serviceAccountName": "epp",
                    "volumes": [{"name": "c", "configMap": {"name": "epp-config"}}],
                    "containers": [{"name": "c", "image": "none", "args": args}],
                },
            }),
        );
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.cluster
            .patch_status(namespace, &format!("pod/{name}"), &status.to_string());
    }

    #[track_caller]
    fn kubectl(&self, what: &[&str]) {
        let own = ["-n", self.namespace.as_str()];
        self.cluster.kubectl(&[what, &own[..]].concat());
    }

    /// Everything but the gateway.
    fn objects(&self, port: u16) {
        let _account = self.cluster.token(&self.scheduler, "epp");
        self.apply_in(&self.scheduler, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "epp-config"}, "data": {"epp-config.yaml": CONFIG}}));
        for (name, backend, address) in [
            ("p2p", "nvlink", self.endpoints[0]),
            ("fs", "fs", self.endpoints[1]),
        ] {
            let labels = json!({"role": "proxy", "app": name, "llm-d.ai/kv-backend": backend});
            let address = address.ip().to_string();
            self.pod(&self.namespace, (name, labels), &address, json!([]));
            self.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": port}]}}));
        }
        let grpc = self.picker.server.address.port();
        let args = json!([
            "--pool-name=pool",
            format!("--pool-namespace={}", self.namespace),
            "--grpc-port",
            grpc.to_string(),
            "--metrics-port",
            self.picker.server.admin.port().to_string(),
        ]);
        let named = ("epp-0", json!({"app": "epp"}));
        self.pod(&self.scheduler, named, "127.0.0.1", args);
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "epp"}, "spec": {"selector": {"app": "epp"}, "ports": [{"name": "grpc", "port": 9002, "targetPort": grpc}]}});
        if self.scheduler != self.namespace {
            // As the operator keeps it: without selector, with a slice.
            service["spec"]["selector"] = json!({});
            self.apply(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "epp-pods", "labels": {"kubernetes.io/service-name": "epp"}},
                "ports": [{"name": "grpc", "port": grpc}],
                "endpoints": [{"addresses": ["10.1.2.3"]}],
            }));
            self.cluster.patch_status(
                &self.scheduler,
                "pod/epp-0",
                &json!({"status": {"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}})
                    .to_string(),
            );
        }
        self.apply(service);
        self.apply(json!({
            "apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": "pool"},
            "spec": {"selector": {"matchLabels": {"role": "proxy"}}, "targetPorts": [{"number": port}], "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}},
        }));
        self.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "epp"},
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["inference.networking.k8s.io"], "resources": ["inferencepools"], "verbs": ["get", "list", "watch"]},
            ],
        }));
        self.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "epp"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "epp"},
            "subjects": [{"kind": "ServiceAccount", "name": "epp", "namespace": self.scheduler}],
        }));
    }

    /// The objects of a gateway at this address, in force, with a route to the pool.
    fn gateway(&self, envoy: SocketAddr) {
        self.apply_in(&self.scheduler, json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gateway"},
            "spec": {"gatewayClassName": "istio", "listeners": [{"name": "default", "port": envoy.port(), "protocol": "HTTP"}]},
        }));
        let status = json!({"status": {
            "addresses": [{"type": "IPAddress", "value": envoy.ip().to_string()}],
            "conditions": [{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        self.cluster
            .patch_status(&self.scheduler, "gateway/gateway", &status.to_string());
        let labels = json!({"gateway.networking.k8s.io/gateway-name": "gateway"});
        let named = ("gateway-0", labels);
        self.pod(&self.scheduler, named, "127.0.0.1", json!([]));
        self.apply_in(&self.namespace, json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "allow"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": self.scheduler}],
                "to": [{"group": "inference.networking.k8s.io", "kind": "InferencePool"}],
            },
        }));
        self.apply_in(&self.scheduler, json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "route"},
            "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [{"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "pool", "namespace": self.namespace}]}]},
        }));
    }

    #[track_caller]
    fn run(&self, command: &str) -> Verdict {
        let mut asked = Command::new(pointsman());
        asked.args([command, "--kube", "--direct", "-o", "json", "--namespace"]);
        asked.args([self.namespace.as_str(), "--kubeconfig"]);
        asked.arg(self.cluster.kubeconfig());
        if command == "verify" {
            asked.args(["--timeout", "10m"]);
        }
        let mut process = Process::start(command, asked);
        let status = process.wait_end();
        let text = process.lines_of(Stream::Out).join("\n");
        let document: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", process.lines().join("\n")));
        assert_eq!(document["ok"], status.code() == Some(0), "{document:#}");
        Verdict(document)
    }
}

fn proxy(kind: &str, address: SocketAddr, engine: SocketAddr) -> Process {
    let engine = format!("http://{engine}");
    let arguments = [
        "proxy",
        "--listen",
        &address.to_string(),
        "--kind=fs",
        "--prefill",
        &engine,
        "--decode",
        &engine,
        &format!("--prefill-name=vllm-prefill-{kind}"),
        &format!("--decode-name=vllm-decode-{kind}"),
    ];
    let process = Process::start("proxy", plain(&arguments.map(str::to_owned)));
    until("the proxy to listen", || {
        TcpStream::connect(address).is_ok().then_some(())
    });
    process
}

/// What a run found.
struct Verdict(Value);

impl Verdict {
    #[track_caller]
    fn check(&self, id: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["id"] == id);
        found.unwrap_or_else(|| panic!("no check {id} in {:#}", self.0))
    }

    fn failed(&self) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["ok"] == false)
            .map(|check| check["id"].as_str().unwrap())
            .collect()
    }

    /// The check fails, and its cause and fix say these words.
    #[track_caller]
    fn fails(&self, id: &str, cause: &[&str], fix: &[&str]) {
        let check = self.check(id);
        assert_eq!(check["ok"], false, "{:#}", self.0);
        for (part, words) in [("cause", cause), ("fix", fix)] {
            let said = check[part].as_str().unwrap_or_default();
            for word in words {
                assert!(said.contains(word), "{word} in {check:#}");
            }
        }
    }
}

#[test]
fn an_installation_that_works_passes() {
    let own = Installation::new("good");
    let envoy = Envoy::before(own.picker.server.address, Bodies::FullDuplex);
    own.gateway(envoy.address);
    let verdict = own.run("verify");
    assert_eq!(verdict.failed(), Vec::<&str>::new(), "{:#}", verdict.0);
    let said = |id: &str| verdict.check(id)["detail"].as_str().unwrap().to_owned();
    assert!(said("chosen-served").contains("130 of 130 proved by the pair"));
    assert!(said("http-routes").contains("route leads to the pool"));
    assert!(said("load").contains("streams held on"), "{}", said("load"));
}

#[test]
fn a_gateway_that_takes_turns_whatever_the_picker_says_is_found_out() {
    let own = Installation::new("turns");
    let picker = own.picker.server.address;
    let envoy = Envoy::by_turns(picker, Bodies::FullDuplex, &own.endpoints);
    own.gateway(envoy.address);
    let verdict = own.run("verify");
    let words = ["the receipt says", "the answer's id names"];
    verdict.fails("chosen-served", &words, &["drops the picker's answer"]);
    assert_eq!(verdict.check("bursts")["ok"], true, "{:#}", verdict.0);
    assert_eq!(verdict.check("counter")["ok"], true, "{:#}", verdict.0);
    assert_eq!(verdict.check("load")["ok"], false, "{:#}", verdict.0);
}

#[test]
fn the_labs_own_envoy_filter_is_named_as_the_cause() {
    let own = Installation::new("filter");
    let picker = own.picker.server.address;
    let envoy = Envoy::by_turns(picker, Bodies::Headless, &own.endpoints);
    own.gateway(envoy.address);
    let blind = json!({"request_header_mode": "SKIP", "request_body_mode": "BUFFERED", "response_header_mode": "SKIP", "response_body_mode": "NONE"});
    own.apply(json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "epp-ext-proc"},
        "spec": {
            "workloadSelector": {"labels": {"gateway.networking.k8s.io/gateway-name": "gateway"}},
            "configPatches": [{
                "applyTo": "HTTP_FILTER",
                "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": "envoy.filters.http.ext_proc"}}}}},
                "patch": {"operation": "REPLACE", "value": {"name": "envoy.filters.http.ext_proc", "typed_config": {"processing_mode": blind}}},
            }],
        },
    }));
    let verdict = own.run("verify");
    let filter = format!("EnvoyFilter {}/epp-ext-proc", own.namespace);
    let words = [filter.as_str(), "request_header_mode: SKIP"];
    verdict.fails("ext-proc", &words, &["kubectl delete envoyfilter"]);
    verdict.fails("chosen-served", &["follows from 'ext-proc'", &filter], &[]);
    assert_eq!(verdict.check("bursts")["ok"], true, "{:#}", verdict.0);
}

#[test]
fn what_the_objects_say_is_named_and_what_is_advised_mends_it() {
    let own = Installation::new("objects");
    let envoy = Envoy::before(own.picker.server.address, Bodies::FullDuplex);
    own.gateway(envoy.address);
    own.kubectl(&["delete", "rolebinding", "epp"]);
    own.kubectl(&["delete", "service", "epp"]);
    own.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "epp"}, "spec": {"type": "ExternalName", "externalName": "epp.elsewhere.svc.cluster.local"}}));
    let first = own.run("doctor");
    let may_not = format!("account {}/epp may not get pods", own.namespace);
    first.fails(
        "rights",
        &[&may_not],
        &["kind: RoleBinding", "kind: Role\n"],
    );
    first.fails(
        "picker-service",
        &["ExternalName", "500"],
        &["kind: Service"],
    );
    for id in ["rights", "picker-service"] {
        for yaml in advised(first.check(id)["fix"].as_str().unwrap()) {
            if id == "picker-service" {
                own.kubectl(&["delete", "service", "epp", "--ignore-not-found"]);
            }
            own.cluster.apply(&yaml);
        }
    }
    let second = own.run("doctor");
    assert_eq!(second.failed(), Vec::<&str>::new(), "{:#}", second.0);
}

#[test]
fn a_picker_and_a_route_in_another_namespace_are_followed_from_the_pool() {
    let own = Installation::apart("apart");
    // The picker in the pods' page is the one at this machine's loopback address; only its objects are looked at.
    let envoy = Envoy::before(own.picker.server.address, Bodies::FullDuplex);
    let without = own.run("doctor");
    let said =
        |verdict: &Verdict, id: &str| verdict.check(id)["detail"].as_str().unwrap().to_owned();
    without.fails(
        "http-routes",
        &["no HTTPRoute has the InferencePool"],
        &["# "],
    );
    assert!(
        said(&without, "picker").contains("epp-0"),
        "{:#}",
        without.0
    );
    own.gateway(envoy.address);
    let with = own.run("doctor");
    for id in [
        "http-routes",
        "gateways",
        "picker",
        "picker-service",
        "rights",
        "config",
    ] {
        assert_eq!(with.check(id)["ok"], true, "{:#}", with.0);
    }
    let route = format!("{}/route leads to the pool", own.scheduler);
    assert_eq!(said(&with, "http-routes"), route);
}

/// The YAML in a fix.
fn advised(fix: &str) -> Vec<String> {
    fix.split("<<'EOF'\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("\nEOF")?.0.to_owned()))
        .collect()
}
