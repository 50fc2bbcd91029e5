//! The picker in its place behind Istio: Gateway, HTTPRoute, InferencePool and all that the chart renders, the picker's pod
//! started as its Deployment says, and model servers that say who they are and what they were asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pointsman_tests::backend::Backend;
use pointsman_tests::burst::burst;
use pointsman_tests::charts::render;
use pointsman_tests::evidence::Part;
use pointsman_tests::http::Request;
use pointsman_tests::istio::kubelet::{Kubelet, Pod, give};
use pointsman_tests::istio::{Front, Mesh};
use pointsman_tests::patience::until;
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
  monitoring: {prometheus: {auth: {enabled: false}}}
provider: {name: istio}
httpRoute: {create: true, inferenceGatewayName: inference-gateway, inferenceGatewayNamespace: gateways}
";

/// The gateway, and the pods of the model servers.
const AROUND: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inference-gateway, namespace: gateways}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
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

/// Does the part.
pub(crate) fn part() -> Part {
    let about = format!(
        "Real are also Helm, the chart `pointsman-gateway` (provider istio: TLS between Envoy and picker) and `pointsman epp`, which \
         takes pool and endpoints from the API server with the rights that the chart gives it. Scripted are the model servers. Load: \
         {REQUESTS} requests, {CONCURRENCY} at once."
    );
    Part::new("The picker, by its chart", about).done(run)
}

fn run(part: &mut Part) {
    let mesh = Mesh::start(&["gateways", "models"]);
    let values = mesh.files.file("values.yaml", VALUES);
    let rendered = render("pointsman-gateway", &["-f", &values]);
    let rendered = rendered.unwrap_or_else(|said| panic!("the chart is refused: {said}"));
    let objects: Vec<String> = rendered.all().iter().map(Value::to_string).collect();
    mesh.cluster.apply(&objects.join("\n---\n"));
    mesh.cluster.apply(AROUND);
    let servers = [server("server-a", 3), server("server-b", 4)];
    let mut kubelet = Kubelet::new(&mesh.cluster);
    let picker = kubelet.pod("models", "pool-epp");
    discovery(part, picker);
    let front = mesh.front("gateways", "inference-gateway", pod_address(1));
    front.wait_answer(&ask(&json!({"model": "m", "prompt": "first"})));

    let conditions = mesh.pool_conditions("models", "pool");
    let good = conditions.contains("Accepted=True") && conditions.contains("ResolvedRefs=True");
    part.check("Istio accepts the pool", conditions, good);
    spread(part, &front);
    large_body(part, &front, &servers);
    abort(part, &front, &servers, picker);
    counters(part, &front);
}

fn pod_address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 244, 9, last).into()
}

/// A model server that says its name, what it was asked, and whether a streaming client left.
struct Server {
    backend: Backend,
    left: Arc<AtomicUsize>,
}

fn server(name: &'static str, last: u8) -> Server {
    let left = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&left);
    let own = SocketAddr::new(pod_address(last), 8000);
    give(own.ip());
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

fn admin(picker: &Pod, path: &str) -> Value {
    let answer = Request::get(path).answered(SocketAddr::new(picker.address, 9090));
    assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
    answer.json()
}

/// The picker knows both servers by the API server, and its rights suffice for all that it follows.
fn discovery(part: &mut Part, picker: &Pod) {
    until("the picker to know two endpoints and be ready", || {
        let ready = Request::get("/readyz").send(SocketAddr::new(picker.address, 9090));
        let is_ready = ready.is_ok_and(|answer| answer.status == 200);
        let count = |view: &Value| view["endpoints"].as_array().map_or(0, Vec::len);
        (is_ready && count(&admin(picker, "/debug/endpoints")) == 2).then_some(())
    });
    let view = admin(picker, "/debug/endpoints");
    let rows = view["endpoints"].as_array().into_iter().flatten();
    let names: Vec<String> = rows
        .map(|row| row["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    part.check(
        "endpoints that the picker found",
        names.join(", "),
        names.len() == 2,
    );
    let view = admin(picker, "/debug/discovery");
    let watches: Vec<&Value> = view["watches"].as_array().into_iter().flatten().collect();
    let bad = watches
        .iter()
        .filter(|it| !matches!(it["state"].as_str(), Some("following" | "absent")));
    let bad: Vec<String> = bad.map(|it| it.to_string()).collect();
    let found = match bad.is_empty() {
        true => format!("{} watches, none refused", watches.len()),
        false => bad.join(", "),
    };
    part.check(
        "the chart's rights suffice for all that the picker follows",
        found,
        bad.is_empty() && watches.len() >= 2,
    );
}

fn ask(body: &Value) -> Request {
    Request::post(COMPLETIONS, body)
}

/// Many requests at once: each is answered, and by the endpoint that the picker chose.
fn spread(part: &mut Part, front: &Front) {
    let answers = burst(REQUESTS, CONCURRENCY, |number| {
        // A client's own word on the destination must not count.
        let request =
            ask(&json!({"model": "m", "prompt": format!("hello {number}"), "max_tokens": 5}));
        let answer = request
            .header(DESTINATION, "10.244.9.9:8000")
            .answered(front.address);
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
    part.equal("requests answered with 200", good, REQUESTS);
    part.equal(
        "served by the endpoint that the picker chose",
        as_chosen,
        REQUESTS,
    );
    part.check(
        "both endpoints were used",
        format!("{a} and {b}"),
        a > 0 && b > 0,
    );
}

/// A body of 1 MiB arrives whole.
fn large_body(part: &mut Part, front: &Front, servers: &[Server; 2]) {
    let body = json!({"model": "m", "prompt": "x".repeat(MIB)});
    let sent = body.to_string().len();
    let answer = ask(&body)
        .patience(Duration::from_secs(60))
        .answered(front.address);
    let bytes = answer.json()["bytes"].as_u64().unwrap_or_default();
    let whole = servers.iter().any(|server| {
        let received = server.backend.received(COMPLETIONS);
        received.iter().any(|request| request.json() == body)
    });
    let status = answer.status;
    part.check(
        "a body of 1 MiB arrives as it was sent",
        format!("status {status}, {sent} bytes sent, {bytes} arrived"),
        status == 200 && whole,
    );
}

/// A client that leaves in the middle of an answer: the model server hears of it, and the picker lets the request go.
fn abort(part: &mut Part, front: &Front, servers: &[Server; 2], picker: &Pod) {
    let request = ask(&json!({"model": "m", "prompt": "long", "stream": true}));
    let answering = request
        .open(front.address)
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
    until("every candidate's inFlight to be 0", || {
        let view = admin(picker, "/debug/endpoints");
        let mut rows = view["endpoints"].as_array().into_iter().flatten();
        rows.all(|row| row["inFlight"].as_u64() == Some(0))
            .then_some(())
    });
    part.check(
        "a client that leaves ends its request at the model server and in the picker",
        format!("{} heard, nothing in flight", left()),
        left() == 1,
    );
}

/// Envoy's own count of what went between it and the picker.
fn counters(part: &mut Part, front: &Front) {
    let started = front.ext_proc("streams_started").unwrap_or_default();
    part.check(
        "ext_proc streams, one for each request at least",
        started.to_string(),
        started >= REQUESTS as u64 + 2,
    );
    for name in ["spurious_msgs_received", "failure_mode_allowed"] {
        let count = front.ext_proc(name);
        let found = count.map_or("not counted".to_owned(), |count| count.to_string());
        part.check(format!("ext_proc.{name}"), found, count == Some(0));
    }
}
