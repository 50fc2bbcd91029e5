//! `pointsman epp` as a process: the reference's flags, health, TLS, reloads, and a good end.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use pointsman_tests::backend::Backend;
use pointsman_tests::binary::pointsman;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::grpc::call;
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use pointsman_tests::port;
use pointsman_tests::process::Process;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{endpoints_file, plain};
use serde_json::json;

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// One backend that answers, and files around it.
struct Bed {
    backend: Backend,
    files: Scratch,
    endpoints: String,
}

impl Bed {
    fn new() -> Self {
        let backend = Backend::start(|request, reply| match request.path.as_str() {
            "/metrics" => reply.whole(404, "text/plain", b""),
            _ => reply.json(200, &json!({"id": "c"})),
        });
        let files = Scratch::new("epp");
        let endpoints = files.file("pool.json", &endpoints_file(&[("a", backend.address())]));
        Self {
            backend,
            files,
            endpoints,
        }
    }

    fn config(&self, weight: u32) -> String {
        let text = format!(
            "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: file-discovery
  parameters: {{path: {}, watchFile: true}}
dataLayer:
  discovery: {{pluginRef: file-discovery}}
schedulingProfiles:
- name: default
  plugins: [{{pluginRef: active-request-scorer, weight: {weight}}}]
",
            self.endpoints
        );
        self.files.file("epp.yaml", &text)
    }
}

fn ask(envoy: &Envoy) -> u16 {
    let asked = json!({"model": "m", "prompt": "p"});
    Request::post("/v1/completions", &asked)
        .answered(envoy.address)
        .status
}

fn output(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(pointsman()).args(arguments).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&both).into_owned(),
    )
}

#[test]
fn a_manifest_of_the_reference_starts_it_unchanged() {
    let bed = Bed::new();
    let config = bed.config(1);
    // Flags alone, as the reference's image is called.
    let ports = [port::free(), port::free(), port::free()].map(|at| at.port().to_string());
    let mut arguments: Vec<String> = [
        "--pool-name",
        "pool",
        "--pool-namespace",
        "ns",
        "--pool-group",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(["inference.networking.k8s.io", "--zap-encoder", "json"].map(str::to_owned));
    arguments.extend(["--config-file".to_owned(), config]);
    arguments.extend(
        [
            "--kv-cache-usage-percentage-metric",
            "vllm:kv_cache_usage_perc",
        ]
        .map(str::to_owned),
    );
    arguments.extend(["--secure-serving=false", "-v=4", "--tracing=false"].map(str::to_owned));
    arguments.extend(["-grpc-port".to_owned(), ports[0].clone()]);
    arguments.extend([
        format!("--grpc-health-port={}", ports[1]),
        "--metrics-port".into(),
        ports[2].clone(),
    ]);
    let process = Process::start("epp", plain(&arguments));
    let line = process.wait_line("the line of the start", |line| {
        line.contains("ext_proc 0.0.0.0:").then(|| line.to_owned())
    });
    assert!(line.starts_with("{\"level\":\"info\""), "{line}");
    assert!(
        line.contains("--kv-cache-usage-percentage-metric, which only the first generation has"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_followed_is_named_before_anything_starts() {
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let (found, text) = output(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    };
    check(
        &["epp"],
        1,
        "either pool-name or endpoint-selector must be set",
    );
    check(
        &["epp", "--pool-name", "p", "--kubeconfig", "/nowhere"],
        1,
        "kubeconfig /nowhere",
    );
    check(
        &["--pool-name", "p", "--kubeconfig", "/nowhere"],
        1,
        "kubeconfig /nowhere",
    );
    check(
        &["epp", "--config-file", "x", "--config-text", "y"],
        1,
        "both the \"config-file\" and \"config-text\" flags cannot be set at the same time",
    );
    check(
        &["epp", "--endpoint-selector", "a=b"],
        1,
        "flag \"endpoint-target-ports\" should have length from 1 to 8",
    );
    check(
        &["epp", "--grpc-max-recv-msg-size=-1"],
        1,
        "grpc-max-recv-msg-size must be non-negative, got -1",
    );
    check(
        &["epp", "--tls-min-version", "x"],
        1,
        "invalid tls-min-version",
    );
    check(
        &[
            "epp",
            "--endpoint-selector",
            "b==,,c",
            "--endpoint-target-ports=1",
        ],
        1,
        "invalid endpoint-selector \"b==,,c\"",
    );
    check(
        &["epp", "--config-text", "plugins: [{type: x}]"],
        1,
        "failed to load the configuration - ",
    );
    check(&["epp", "--endpoints", "/no/such/file"], 1, "/no/such/file");
    check(
        &["epp", "--secure-serving", "false"],
        2,
        "unexpected argument 'false'",
    );
    check(&["epp", "--no-such-flag"], 2, "--no-such-flag");
    let (code, help) = output(&["epp", "--help"]);
    assert_eq!(code, Some(0));
    for word in [
        "Ports:",
        "TLS:",
        "Examples:",
        "--drain-timeout",
        "[env: POINTSMAN_POOL_NAMESPACE=",
    ] {
        assert!(help.contains(word), "{word} is not in the help");
    }
}

#[test]
fn what_is_taken_without_effect_or_deprecated_is_told_and_nothing_else() {
    let metrics = ["--kv-cache-usage-percentage-metric", "x"];
    let (code, told) = output(&["epp", metrics[0], metrics[1], "--tls-cipher-suites=FOO"]);
    assert_eq!(code, Some(1), "{told}");
    for words in [
        "warning: --kv-cache-usage-percentage-metric is deprecated",
        "warning: --tls-cipher-suites has no effect",
    ] {
        assert!(told.contains(words), "{told}");
    }
    // Of the configuration that nobody wrote nothing is told, whosever rules apply.
    assert_eq!(told.matches("warning: ").count(), 2, "{told}");
    let (_, told) = output(&["epp", "--compat", "g1"]);
    assert!(!told.contains("warning: "), "{told}");
}

#[test]
fn health_is_told_by_name_and_turns_when_a_termination_begins() {
    let bed = Bed::new();
    let flags = ["--health-checking", "--drain-timeout", "20s"];
    let mut picker = Picker::before(&bed.endpoints, &flags);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let serving = [0, 0, 0, 0, 2, 8, 1];
    let not_serving = [0, 0, 0, 0, 2, 8, 2];
    for name in [
        "",
        "liveness",
        "readiness",
        "envoy.service.ext_proc.v3.ExternalProcessor",
        "any",
    ] {
        let mut question = vec![0x0a, name.len() as u8];
        question.extend(name.as_bytes());
        for port in [picker.health, picker.server.address] {
            assert_eq!(call(port, CHECK, &question).unwrap(), serving, "{name}");
        }
    }
    let list = call(picker.health, "/grpc.health.v1.Health/List", &[]).unwrap();
    assert!(String::from_utf8_lossy(&list).contains("liveness"));
    let watch = call(picker.health, "/grpc.health.v1.Health/Watch", &[]).unwrap();
    assert!(watch.is_empty(), "a status alone");
    assert!(
        call(picker.health, "/no.such.Service/Method", &[])
            .unwrap()
            .is_empty()
    );

    picker.server.process.terminate();
    until("health to turn", || {
        (call(picker.health, CHECK, &[]).ok()? == not_serving).then_some(())
    });
    // Gateways that have not noticed are still served.
    assert_eq!(ask(&envoy), 200);
    drop(envoy);
    assert!(picker.server.process.wait_end().success());
}

#[test]
fn a_decision_is_logged_before_its_answer_ends() {
    let bed = Bed::new();
    let log = bed.files.path().join("decisions.log");
    let shown = log.to_string_lossy().into_owned();
    let picker = Picker::before(
        &bed.endpoints,
        &["-v", "1", "--quiet", "--log-file", &shown],
    );
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let envoy = Envoy::before(picker.server.address, bodies);
        for number in 0..20 {
            let id = format!("logged-{number}-{bodies:?}");
            let asked = json!({"model": "m", "prompt": "p"});
            let response = Request::post("/v1/completions", &asked)
                .header("x-request-id", &id)
                .answered(envoy.address);
            assert_eq!(response.status, 200);
            let id = response.header("x-request-id").unwrap();
            let text = std::fs::read_to_string(&log).unwrap();
            let line = text.lines().find(|line| line.contains(id));
            let line = line.unwrap_or_else(|| panic!("{id} is not in the log"));
            assert!(line.contains("\"msg\":\"Scoring decision\""), "{line}");
        }
    }
}

#[test]
fn a_message_above_the_bound_ends_its_stream_and_no_other() {
    let bed = Bed::new();
    let flags = ["--grpc-max-recv-msg-size", "16KiB"];
    let picker = Picker::before(&bed.endpoints, &flags);
    // In one piece the body is one message.
    let envoy = Envoy::before(picker.server.address, Bodies::Buffered);
    let large = json!({"model": "m", "prompt": "x".repeat(64 << 10)});
    let refused = Request::post("/v1/completions", &large).answered(envoy.address);
    assert_eq!(refused.status, 500, "what Envoy makes of a failed stream");
    assert_eq!(ask(&envoy), 200);
    picker.server.wait_idle();
}

#[test]
fn a_stream_that_is_open_at_the_end_is_finished() {
    let backend = Backend::start(|request, reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.begin_events();
        for _ in 0..30 {
            reply.event("{}");
            std::thread::sleep(Duration::from_millis(50));
        }
        reply.event("[DONE]");
        reply.end();
    });
    let files = Scratch::new("epp-drain");
    let endpoints = files.file("pool.json", &endpoints_file(&[("a", backend.address())]));
    let mut picker = Picker::before(&endpoints, &["--drain-timeout", "100ms"]);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let asked = json!({"model": "m", "prompt": "p", "stream": true});
    let mut answering = Request::post("/v1/completions", &asked)
        .open(envoy.address)
        .unwrap();
    picker.server.process.terminate();
    let text = String::from_utf8(answering.body.rest().unwrap()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "cut: {text}");
    assert!(picker.server.process.wait_end().success());
}

#[test]
fn configuration_and_endpoints_are_followed_by_file_discovery() {
    let bed = Bed::new();
    let config = bed.config(1);
    let picker = Picker::start(&["--config-file", &config, "--secure-serving=false"]);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    assert_eq!(ask(&envoy), 200);
    bed.config(5);
    until("the new plan", || {
        let plan = picker.server.admin_json("/debug/plan").to_string();
        plan.contains("\"weight\":5").then_some(())
    });
    assert_eq!(ask(&envoy), 200);
    let rows = [("a", bed.backend.address()), ("b", port::free())];
    let mut text = endpoints_file(&rows);
    text = text.replace("\"endpoints\":[", "\"endpoints\":[{\"name\":\"bad\"},");
    bed.files.file("pool.json", &text);
    until("the second endpoint, without the bad one", || {
        (picker.server.endpoints().len() == 2).then_some(())
    });
}

#[test]
fn istio_s_name_of_a_cluster_is_a_server_s_name_like_any_other() {
    let bed = Bed::new();
    let picker = Picker::start(&["--endpoints", &bed.endpoints]);
    for name in [
        "outbound|9002||epp.pool.svc.cluster.local",
        "outbound|9002|v1|epp.pool.svc.cluster.local",
        "outbound_.9002_._.epp.pool.svc.cluster.local",
        "epp.pool.svc.cluster.local",
    ] {
        for newest in ["TLSv1_2", "TLSv1_3"] {
            let to = picker.server.address;
            let envoy = Envoy::greeting(to, Bodies::FullDuplex, name, newest);
            assert_eq!(ask(&envoy), 200, "{name} over {newest}");
        }
    }
}

#[test]
fn tls_is_spoken_with_a_certificate_made_or_given() {
    let bed = Bed::new();
    let made = Picker::start(&["--endpoints", &bed.endpoints]);
    let envoy = Envoy::before_with_tls(made.server.address, Bodies::FullDuplex);
    assert_eq!(ask(&envoy), 200);
    // Without TLS nobody is heard.
    let plain = Envoy::before(made.server.address, Bodies::FullDuplex);
    assert_ne!(ask(&plain), 200);

    let folder = bed.files.path().to_string_lossy().into_owned();
    for name in ["tls.crt", "tls.key"] {
        bed.files.file(name, &given(name));
    }
    let flags = [
        "--endpoints",
        &bed.endpoints,
        "--cert-path",
        &folder,
        "--enable-cert-reload",
    ];
    let given_one = Picker::start(&flags);
    let envoy = Envoy::before_with_tls(given_one.server.address, Bodies::FullDuplex);
    assert_eq!(ask(&envoy), 200);
    bed.files.file("tls.crt", "garbled");
    given_one
        .server
        .process
        .wait_line("the refusal of a garbled certificate", |line| {
            line.contains("is not used: no usable certificate")
                .then_some(())
        });
    let again = Envoy::before_with_tls(given_one.server.address, Bodies::FullDuplex);
    assert_eq!(ask(&again), 200, "the old certificate stays");

    let (code, text) = output(&[
        "epp",
        "--endpoints",
        &bed.endpoints,
        "--cert-path",
        "/no/such",
    ]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/no/such/tls.crt"), "{text}");
}

/// A certificate for `localhost` and its key, made for these tests with openssl, valid for a hundred years.
fn given(name: &str) -> String {
    std::fs::read_to_string(
        pointsman_tests::binary::workspace()
            .join("tests/tls")
            .join(name),
    )
    .unwrap()
}
