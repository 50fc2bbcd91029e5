//! The picker in its place behind the real Istio: Gateway, HTTPRoute, InferencePool and all that the chart renders in a real
//! API server, Istio's control plane, a plain Envoy that it drives, and model servers that say who they are and what they
//! were asked. Started by `cargo xtask test --istio` in a network namespace; writes `docs/evidence/istio.md`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pointsman_tests::backend::Backend;
use pointsman_tests::binary::{envoy, pointsman, workspace};
use pointsman_tests::burst::burst;
use pointsman_tests::charts::{Objects, render};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::process::Process;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file, plain};
use serde_json::{Value, json};

const REQUESTS: usize = 60;
const CONCURRENCY: usize = 12;
const MIB: usize = 1 << 20;
const COMPLETIONS: &str = "/v1/completions";
/// Takes the place of the picked endpoint on the way in; the picker's word must win.
const DESTINATION: &str = "x-gateway-destination-endpoint";

/// The values of the release.
const VALUES: &str = "
router:
  epp:
    podAnnotations: {fakelet/pod-ip: 10.244.9.2}
    pluginsConfigFile: even.yaml
    pluginsCustomConfig:
      even.yaml: |
        apiVersion: llm-d.ai/v1alpha1
        kind: EndpointPickerConfig
        plugins: [{type: active-request-scorer}]
        schedulingProfiles: [{name: default, plugins: [{pluginRef: active-request-scorer}]}]
  modelServers:
    matchLabels: {app: model-server}
    targetPorts: [{number: 8000}]
  inferencePool: {failureMode: FailClose}
provider: {name: istio}
httpRoute: {create: true, inferenceGatewayName: inference-gateway, inferenceGatewayNamespace: gateways}
";

/// The gateway, its Service and pod as Istio finds them, and the pods of the model servers.
const AROUND: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inference-gateway, namespace: gateways}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: v1
kind: Service
metadata: {name: inference-gateway-istio, namespace: gateways, labels: {gateway.networking.k8s.io/gateway-name: inference-gateway}}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: inference-gateway}
  ports: [{name: http, port: 80, targetPort: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: inference-gateway-istio, namespace: gateways, labels: {gateway.networking.k8s.io/gateway-name: inference-gateway}, annotations: {fakelet/pod-ip: 10.244.9.1}}
spec: {containers: [{name: istio-proxy, image: envoy}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server-a, namespace: models, labels: {app: model-server}, annotations: {fakelet/pod-ip: 10.244.9.3}}
spec: {containers: [{name: server, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server-b, namespace: models, labels: {app: model-server}, annotations: {fakelet/pod-ip: 10.244.9.4}}
spec: {containers: [{name: server, image: none}]}
";

/// A plain Envoy that takes everything from Istio, as a gateway's pod does.
const BOOTSTRAP: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
node:
  id: router~10.244.9.1~inference-gateway-istio.gateways~gateways.svc.cluster.local
  cluster: inference-gateway-istio.gateways
  metadata: {NAMESPACE: gateways, NAME: inference-gateway-istio, CLUSTER_ID: Kubernetes, ISTIO_VERSION: 1.31.0, INSTANCE_IPS: 10.244.9.1}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15010}}}}]}]}
"#;

/// What Istio is told: no certificates, no filters that only its own Envoy has, gateways made by hand.
const PILOT: [(&str, &str); 10] = [
    ("POD_NAMESPACE", "istio-system"),
    ("ENABLE_CA_SERVER", "false"),
    ("PILOT_CERT_PROVIDER", "none"),
    ("ENABLE_LEADER_ELECTION", "false"),
    ("REVISION", "default"),
    ("ENABLE_GATEWAY_API_INFERENCE_EXTENSION", "true"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("ENABLE_GATEWAY_API_MANUAL_DEPLOYMENT", "true"),
    ("PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER", "false"),
];

const MESH: &str = "enablePrometheusMerge: false
enableAutoMtls: false
defaultConfig: {discoveryAddress: \"127.0.0.1:15010\"}
";

/// One thing that has to hold.
struct Check {
    what: &'static str,
    found: String,
    good: bool,
}

fn main() -> ExitCode {
    let checks = run();
    let page = workspace().join("docs/evidence/istio.md");
    if let Err(error) = std::fs::write(&page, written(&checks)) {
        eprintln!("cannot write {}: {error}", page.display());
        return ExitCode::FAILURE;
    }
    for check in &checks {
        let word = if check.good { "good" } else { "MISS" };
        println!("{word}: {}: {}", check.what, check.found);
    }
    match checks.iter().all(|check| check.good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run() -> Vec<Check> {
    let scratch = Scratch::new("istio");
    let cluster = Cluster::start(&Setup {
        controllers: true,
        nodes: 1,
        ..Setup::plain()
    });
    let istio = std::env::var("POINTSMAN_ISTIO").unwrap_or_default();
    let definitions = format!("{istio}/crds.yaml");
    cluster.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        &definitions,
    ]);
    until("the node to be ready", || {
        let nodes = cluster.try_kubectl(&["get", "nodes"]).ok()?;
        nodes.contains(" Ready ").then_some(())
    });
    for namespace in ["istio-system", "gateways", "models"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let _pilot = pilot(&istio, &cluster, &scratch);

    let values = scratch.file("values.yaml", VALUES);
    let rendered = render("pointsman-gateway", &["-f", &values]);
    let rendered = rendered.unwrap_or_else(|said| panic!("the chart is refused: {said}"));
    until("the namespace's ServiceAccount", || {
        let get = ["get", "serviceaccount", "default", "-n"];
        let all = ["models", "gateways"].map(|it| cluster.try_kubectl(&[&get[..], &[it]].concat()));
        all.iter().all(Result::is_ok).then_some(())
    });
    let objects: Vec<String> = rendered.all().iter().map(Value::to_string).collect();
    cluster.apply(&objects.join("\n---\n"));
    cluster.apply(AROUND);

    wait_for_pods(&cluster);
    let servers = [server("server-a", 3), server("server-b", 4)];
    let picker = picker(&rendered, &cluster, &scratch);
    let bootstrap = scratch.file("envoy.yaml", BOOTSTRAP);
    let mut command = Command::new(envoy());
    command.args([
        "-c",
        &bootstrap,
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--log-level",
        "warning",
    ]);
    let _envoy = Process::start("envoy", command);
    wait_for_routes();

    let mut checks = vec![conditions(&cluster)];
    checks.extend(spread());
    checks.push(large_body(&servers));
    checks.push(abort(&servers, &picker));
    checks.extend(counters());
    checks
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 244, 9, last), port))
}

fn gateway() -> SocketAddr {
    address(1, 80)
}

fn pilot(istio: &str, cluster: &Cluster, scratch: &Scratch) -> Process {
    let mesh = scratch.file("mesh.yaml", MESH);
    let mut command = Command::new(format!("{istio}/pilot-discovery"));
    command
        .args(["discovery", "--kubeconfig"])
        .arg(cluster.kubeconfig())
        .args([
            "--meshConfig",
            &mesh,
            "--httpAddr",
            "127.0.0.1:15080",
            "--httpsAddr",
            "",
        ])
        .args(["--grpcAddr", "127.0.0.1:15010", "--secureGRPCAddr", ""])
        .args([
            "--monitoringAddr",
            "127.0.0.1:15014",
            "--ctrlz_address",
            "127.0.0.1",
        ])
        .envs(PILOT);
    let process = Process::start("pilot-discovery", command);
    process.wait_line("to be ready", |line| {
        line.contains("marking server ready").then_some(())
    });
    process
}

/// A model server that says its name, what it was asked, and whether a streaming client left.
struct Server {
    backend: Backend,
    left: Arc<AtomicUsize>,
}

fn server(name: &'static str, last: u8) -> Server {
    let left = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&left);
    let own = address(last, 8000);
    let backend = Backend::at(own, move |request, reply| {
        if request.path == "/metrics" {
            let page = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.1\n";
            return reply.whole(200, "text/plain; version=0.0.4", page);
        }
        if request.json()["stream"] == true {
            reply.begin_events();
            reply.event("{\"id\":\"c\",\"choices\":[{\"index\":0,\"text\":\"x\"}]}");
            if reply.peer_leaves(Duration::from_secs(60)) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
        let answer = json!({
            "id": "c", "object": "text_completion", "model": "m", "server": name,
            "picked": request.header(DESTINATION), "own": own.to_string(), "bytes": request.body.len(),
            "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        });
        reply.json(200, &answer);
    });
    Server { backend, left }
}

/// The picker as the chart's Deployment starts it, at its pod's address; its endpoints come from a file.
fn picker(rendered: &Objects, cluster: &Cluster, scratch: &Scratch) -> Gateway {
    let mut arguments = Vec::new();
    for argument in rendered.arguments("pool-epp") {
        arguments.push(match argument.strip_prefix("--config-file=/config/") {
            Some(file) => {
                let text = rendered.file("pool-epp", file);
                format!("--config-file={}", scratch.file("epp.yaml", &text))
            }
            None => argument,
        });
    }
    arguments.push("--bind=10.244.9.2".to_owned());
    let pods = [
        ("server-a", address(3, 8000)),
        ("server-b", address(4, 8000)),
    ];
    arguments.push(format!(
        "--endpoints={}",
        scratch.file("pool.json", &endpoints_file(&pods))
    ));
    let mut command = plain(&arguments);
    command.env("KUBECONFIG", cluster.kubeconfig_of("models", "pool-epp"));
    let mut process = Process::start("epp", command);
    let admin = address(2, 9090);
    until("the picker to be ready", || {
        assert!(process.ended().is_none(), "the picker ended: {arguments:?}");
        let answer = Request::get("/readyz").send(admin);
        answer.is_ok_and(|it| it.status == 200).then_some(())
    });
    Gateway {
        process,
        address: address(2, 9002),
        admin,
    }
}

fn ask(body: &Value) -> Request {
    Request::post(COMPLETIONS, body)
}

/// Waits until the gateway's, the picker's and the model servers' pods run, and their Services know it.
fn wait_for_pods(cluster: &Cluster) {
    for (namespace, count) in [("gateways", 1), ("models", 3)] {
        until(&format!("the {count} pods of {namespace} to run"), || {
            let pods = cluster
                .try_kubectl(&["get", "pods", "-n", namespace])
                .ok()?;
            (pods.matches(" Running ").count() >= count).then_some(())
        });
    }
    let path = "jsonpath={range .items[*]}{.endpoints[*].conditions.ready} {end}";
    for (namespace, count) in [("gateways", 1), ("models", 3)] {
        let ready = format!("the {count} pods of {namespace} to be ready");
        until(&ready, || {
            let get = ["get", "endpointslices", "-n", namespace, "-o", path];
            let found = cluster.try_kubectl(&get).ok()?;
            (found.matches("true").count() >= count).then_some(())
        });
    }
}

/// Waits until Istio has sent all of it and a first request comes through.
fn wait_for_routes() {
    until("a first answer through the gateway", || {
        let answer = ask(&json!({"model": "m", "prompt": "first"}))
            .send(gateway())
            .ok()?;
        (answer.status == 200).then_some(())
    });
}

/// What Istio says of the pool.
fn conditions(cluster: &Cluster) -> Check {
    let path = "jsonpath={range .status.parents[*].conditions[*]}{.type}={.status} {end}";
    let get = ["get", "inferencepool", "-n", "models", "pool", "-o", path];
    let found = until("Istio's conditions of the pool", || {
        let found = cluster.kubectl(&get);
        found.contains("ResolvedRefs=").then_some(found)
    });
    Check {
        what: "Istio accepts the pool",
        good: found.contains("Accepted=True") && found.contains("ResolvedRefs=True"),
        found: found.trim().to_owned(),
    }
}

/// Many requests at once: each is answered, and by the endpoint that the picker chose.
fn spread() -> Vec<Check> {
    let answers = burst(REQUESTS, CONCURRENCY, |number| {
        // A client's own word on the destination must not count.
        let request =
            ask(&json!({"model": "m", "prompt": format!("hello {number}"), "max_tokens": 5}));
        let answer = request
            .header(DESTINATION, "10.244.9.9:8000")
            .answered(gateway());
        (answer.status, answer.json())
    });
    let good = answers.iter().filter(|(status, _)| *status == 200).count();
    let chosen = |answer: &Value| answer["own"].is_string() && answer["picked"] == answer["own"];
    let as_chosen = answers.iter().filter(|(_, answer)| chosen(answer)).count();
    let served = |name: &str| {
        answers
            .iter()
            .filter(|(_, it)| it["server"] == name)
            .count()
    };
    let (a, b) = (served("server-a"), served("server-b"));
    vec![
        Check {
            what: "requests answered with 200",
            found: format!("{good} of {REQUESTS}"),
            good: good == REQUESTS,
        },
        Check {
            what: "served by the endpoint that the picker chose",
            found: format!("{as_chosen} of {REQUESTS}"),
            good: as_chosen == REQUESTS,
        },
        Check {
            what: "both endpoints were used",
            found: format!("{a} and {b}"),
            good: a > 0 && b > 0,
        },
    ]
}

/// A body of 1 MiB arrives whole.
fn large_body(servers: &[Server; 2]) -> Check {
    let body = json!({"model": "m", "prompt": "x".repeat(MIB)});
    let sent = body.to_string().len();
    let answer = ask(&body)
        .patience(Duration::from_secs(60))
        .answered(gateway());
    let bytes = answer.json()["bytes"].as_u64().unwrap_or_default();
    let whole = servers.iter().any(|server| {
        let received = server.backend.received(COMPLETIONS);
        received.iter().any(|request| request.json() == body)
    });
    Check {
        what: "a body of 1 MiB arrives as it was sent",
        found: format!(
            "status {}, {sent} bytes sent, {bytes} arrived",
            answer.status
        ),
        good: answer.status == 200 && whole,
    }
}

/// A client that leaves in the middle of an answer: the model server hears of it, and the picker lets the request go.
fn abort(servers: &[Server; 2], picker: &Gateway) -> Check {
    let request = ask(&json!({"model": "m", "prompt": "long", "stream": true}));
    let answering = request
        .open(gateway())
        .unwrap_or_else(|error| panic!("no stream: {error}"));
    drop(answering);
    let left = || {
        servers
            .iter()
            .map(|server| server.left.load(Ordering::SeqCst))
            .sum::<usize>()
    };
    until("the model server to hear that the client left", || {
        (left() == 1).then_some(())
    });
    picker.wait_idle();
    Check {
        what: "a client that leaves ends its request at the model server and in the picker",
        found: format!("{} heard, nothing in flight", left()),
        good: left() == 1,
    }
}

/// Envoy's own count of what went between it and the picker.
fn counters() -> Vec<Check> {
    let admin = SocketAddr::from(([127, 0, 0, 1], 15000));
    let text = Request::get("/stats?filter=ext_proc")
        .answered(admin)
        .text();
    let count = |name: &str| -> Option<u64> {
        let suffix = format!("ext_proc.{name}: ");
        let values = text
            .lines()
            .filter_map(|line| line.split_once(&suffix)?.1.trim().parse::<u64>().ok());
        values.reduce(|a, b| a + b)
    };
    let none = |what: &'static str, name: &str| Check {
        what,
        found: count(name).map_or("not counted".to_owned(), |count| count.to_string()),
        good: count(name) == Some(0),
    };
    let started = count("streams_started").unwrap_or_default();
    vec![
        Check {
            what: "ext_proc streams, one for each request at least",
            found: started.to_string(),
            good: started >= REQUESTS as u64 + 2,
        },
        none("ext_proc.spurious_msgs_received", "spurious_msgs_received"),
        none("ext_proc.failure_mode_allowed", "failure_mode_allowed"),
    ]
}

/// The page.
fn written(checks: &[Check]) -> String {
    // Each prints one line whose last word is the version.
    let version = |program: &std::path::Path| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let text = text.unwrap_or_default();
        text.split_whitespace()
            .next_back()
            .unwrap_or("unknown")
            .to_owned()
    };
    let api = pointsman_tests::binary::kubernetes().join("kube-apiserver");
    let istio = std::env::var("POINTSMAN_ISTIO_VERSION").unwrap_or_default();
    let mut page = format!(
        "# The picker behind Istio\n\n\
         Written by `cargo xtask test --istio`. Real are the Kubernetes API server with controllers and scheduler, Istio's control \
         plane, an Envoy that takes everything from it, Helm, the chart `pointsman-gateway` (provider istio: TLS between Envoy \
         and picker) and `pointsman epp`, started with the arguments that the chart renders. Its endpoints come from a file. \
         Scripted are the model servers; kubelets are stood in for.\n\n\
         - Versions: pointsman {}; Kubernetes {}; Istio {istio} (1.31 development line); Envoy {}\n\
         - Command: `cargo xtask test --istio`\n\
         - Load: {REQUESTS} requests, {CONCURRENCY} at once\n\n\
         | what | found | |\n|---|---|---|\n",
        version(pointsman()),
        version(&api),
        version(&envoy())
            .split_once('/')
            .map_or("unknown", |(_, rest)| rest),
    );
    for check in checks {
        let word = if check.good { "good" } else { "**miss**" };
        let _ = writeln!(page, "| {} | {} | {word} |", check.what, check.found);
    }
    page
}
