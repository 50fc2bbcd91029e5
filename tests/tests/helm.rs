//! The charts and the plain manifests: what they render, that the real picker and the real Envoy take it, and what they
//! refuse.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use pointsman_tests::backend::Backend;
use pointsman_tests::binary::{envoy, helm, pointsman, workspace};
use pointsman_tests::charts::{Objects, render, text};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::port;
use pointsman_tests::process::Process;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{endpoints_file, plain};
use serde_json::{Value, json};

const LABEL: &str = "router.modelServers.matchLabels.app=m";
const CHARTS: [&str; 2] = ["pointsman-gateway", "pointsman-standalone"];

/// All renderings that the tests look at, by name.
fn renderings() -> Vec<(&'static str, Objects)> {
    let all: [(&str, &str, &[&str]); 6] = [
        ("gateway", CHARTS[0], &["--set", LABEL]),
        ("standalone", CHARTS[1], &["--set", LABEL]),
        ("reference", CHARTS[0], &["-f", "reference.yaml"]),
        ("gke", CHARTS[0], &["-f", "gke.yaml"]),
        ("service", CHARTS[1], &["-f", "standalone-service.yaml"]),
        (
            "grpc",
            CHARTS[0],
            &[
                "--set",
                LABEL,
                "--set",
                "router.modelServers.protocol=grpc,router.modelServers.type=sglang",
            ],
        ),
    ];
    all.into_iter()
        .map(|(name, chart, flags)| {
            let rendered = render(chart, flags);
            (name, rendered.unwrap_or_else(|e| panic!("{name}: {e}")))
        })
        .chain([("manifests", manifests())])
        .collect()
}

/// `deploy/manifests`.
fn manifests() -> Objects {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap();
    let both = [
        read("deploy/manifests/picker.yaml"),
        read("deploy/manifests/pool.yaml"),
    ];
    Objects::read(&both.join("\n---\n"))
}

/// The name of the picker's objects.
fn picker(rendering: &str) -> &'static str {
    match rendering {
        "manifests" => "my-pool-epp",
        _ => "pool-epp",
    }
}

fn output(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&both).into_owned(),
    )
}

#[test]
fn charts_pass_lint() {
    for chart in CHARTS {
        let folder = workspace().join("deploy/charts").join(chart);
        let (code, said) = output(
            Command::new(helm())
                .args(["lint", "--strict", "--set", LABEL])
                .arg(folder),
        );
        assert_eq!(code, Some(0), "{chart}: {said}");
    }
}

#[test]
fn defaults_are_the_picker_and_its_pool_and_nothing_else() {
    let rendered = render(CHARTS[0], &["--set", LABEL]).unwrap();
    let names = [
        "ClusterRole/pool-models-epp",
        "ClusterRoleBinding/pool-models-epp",
        "ConfigMap/pool-epp",
        "Deployment/pool-epp",
        "InferencePool/pool",
        "Role/pool-epp",
        "RoleBinding/pool-epp",
        "Service/pool-epp",
        "ServiceAccount/pool-epp",
    ];
    assert_eq!(rendered.names(), names);
    let pool = &rendered.get("InferencePool", "pool")["spec"];
    assert_eq!(pool["selector"]["matchLabels"], json!({"app": "m"}));
    assert_eq!(pool["targetPorts"], json!([{"number": 8000}]));
    let asked = json!({"group": "", "kind": "Service", "name": "pool-epp", "port": {"number": 9002}, "failureMode": "FailOpen"});
    assert_eq!(pool["endpointPickerRef"], asked);
    let ports = &rendered.get("Service", "pool-epp")["spec"]["ports"];
    assert_eq!(ports[0]["port"], 9002);
    assert_eq!(ports[0]["appProtocol"], "kubernetes.io/h2c");
    assert_eq!(ports[1]["port"], 9090);
    assert_eq!(rendered.picker("pool-epp")["image"], "pointsman:0.1.0");
}

#[test]
fn a_values_file_of_the_reference_means_the_same_here() {
    let rendered = render(CHARTS[0], &["-f", "reference.yaml"]).unwrap();
    let container = rendered.picker("pool-epp");
    assert_eq!(container["image"], "registry.example.com/pointsman:v1");
    let arguments = rendered.arguments("pool-epp");
    for expected in [
        "--config-file=/config/custom-plugins.yaml",
        "--grpc-port=9102",
        "--grpc-health-port=9103",
        "--ha-enable-leader-election=true",
        "--max-body=33554432",
        "--metrics-endpoint-auth=true",
        "--pool-name=pool",
        "--pool-namespace=models",
        "--tracing=true",
        "--v=3",
    ] {
        assert!(
            arguments.iter().any(|it| it == expected),
            "{expected} in {arguments:?}"
        );
    }
    let pool = &rendered.get("InferencePool", "pool")["spec"];
    assert_eq!(pool["endpointPickerRef"]["failureMode"], "FailClose");
    assert_eq!(
        pool["targetPorts"],
        json!([{"number": 30000}, {"number": 30001}])
    );
    let objective = rendered.get("InferenceObjective", "background-batch");
    assert_eq!(objective["spec"]["priority"], -10);
    assert_eq!(objective["spec"]["poolRef"]["name"], "pool");
    let monitor = rendered.get("ServiceMonitor", "pool-epp-monitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(
        endpoint["authorization"]["credentials"]["name"],
        "metrics-reader"
    );
    let engines = &rendered.get("PodMonitor", "pool-epp-model-servers")["spec"];
    assert_eq!(
        engines["selector"]["matchLabels"],
        pool["selector"]["matchLabels"]
    );
    let ports = engines["podMetricsEndpoints"].as_array().unwrap().iter();
    let ports: Vec<_> = ports.map(|endpoint| &endpoint["targetPort"]).collect();
    assert_eq!(ports, [30000, 30001]);
    let route = &rendered.get("HTTPRoute", "pool")["spec"];
    assert_eq!(route["parentRefs"][0]["namespace"], "gateways");
    assert_eq!(route["rules"][0]["timeouts"]["request"], "600s");
    assert_eq!(
        route["rules"][0]["matches"][0]["headers"][0]["value"],
        "qwen"
    );
    let rule = &rendered.get("DestinationRule", "pool-epp")["spec"];
    assert_eq!(rule["host"], "pool-epp.models.svc.cluster.local");
    assert_eq!(rule["trafficPolicy"]["tls"]["insecureSkipVerify"], true);
    let most = &rule["trafficPolicy"]["connectionPool"]["http"]["maxRequestsPerConnection"];
    assert_eq!(most, 256_000);
    let environment = container["env"].as_array().unwrap();
    let set = |name: &str| environment.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(set("OTEL_TRACES_SAMPLER_ARG")["value"], "0.5");
    assert_eq!(set("FEATURE_FLAG_ENABLED")["value"], "true");
    let role = rendered.get("Role", "pool-epp")["rules"].to_string();
    assert!(role.contains("leases"), "{role}");
}

#[test]
fn istio_is_told_of_tls_only_where_there_is_tls() {
    let istio = ["--set", LABEL, "--set", "provider.name=istio"];
    let rendered = render(CHARTS[0], &istio).unwrap();
    assert_eq!(
        rendered.get("DestinationRule", "pool-epp")["spec"]["trafficPolicy"]["tls"]["mode"],
        "SIMPLE"
    );
    // Istio would make one with bars of its cluster's name.
    let tls = &rendered.get("DestinationRule", "pool-epp")["spec"]["trafficPolicy"]["tls"];
    assert_eq!(tls["sni"], "pool-epp.models.svc.cluster.local");
    let plain = [
        &istio[..],
        &["--set", "router.epp.flags.secure-serving=false"],
    ]
    .concat();
    let names = render(CHARTS[0], &plain).unwrap().names();
    assert!(
        !names.iter().any(|it| it.starts_with("DestinationRule")),
        "{names:?}"
    );
}

#[test]
fn several_replicas_are_spread_and_leave_one_by_one() {
    let several = ["--set", LABEL, "--set", "router.epp.replicas=2"];
    let all_serve = "router.epp.flags.ha-enable-leader-election=false";
    let rendered = render(CHARTS[0], &[&several[..], &["--set", all_serve]].concat()).unwrap();
    let budget = &rendered.get("PodDisruptionBudget", "pool-epp")["spec"];
    let deployment = &rendered.get("Deployment", "pool-epp")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"], deployment["selector"]);
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert!(deployment["template"]["spec"]["affinity"]["podAntiAffinity"].is_object());

    // With a leader only that one is ready: a budget or a rolling update would wait for the others forever.
    let rendered = render(CHARTS[0], &several).unwrap();
    let names = rendered.names();
    assert!(
        !names.iter().any(|it| it.starts_with("PodDisruptionBudget")),
        "{names:?}"
    );
    assert_eq!(
        rendered.get("Deployment", "pool-epp")["spec"]["strategy"],
        json!({"type": "Recreate"})
    );
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let check = |chart: &str, values: &str, expected: &str| {
        let mut flags = vec!["--set", LABEL];
        flags.extend(["--set-json", values]);
        let said = match render(chart, &flags) {
            Ok(rendered) => panic!("{values} renders {:?}", rendered.names()),
            Err(said) => said,
        };
        assert!(said.contains(expected), "{values}: {said}");
    };
    for (values, expected) in [
        (r#"router.epp.replica=2"#, "'replica' not allowed"),
        (r#"router.epp.replicas="2""#, "/epp/replicas"),
        (r#"router.epp.extProcPort=70000"#, "/epp/extProcPort"),
        (r#"router.epp.flags={"-v":1}"#, "'-v' does not match"),
        (r#"router.epp.flags={"v":[1]}"#, "/epp/flags/v"),
        (
            r#"router.epp.image.pullPolicy="Sometimes""#,
            "/epp/image/pullPolicy",
        ),
        (r#"router.modelServers.type="tgi""#, "/modelServers/type"),
        (
            r#"router.modelServers.targetPorts=[]"#,
            "/modelServers/targetPorts",
        ),
        (
            r#"router.modelServers.targetPorts=[{"number":1},{"number":2},{"number":3},{"number":4},{"number":5},{"number":6},{"number":7},{"number":8},{"number":9}]"#,
            "/modelServers/targetPorts",
        ),
        (
            r#"router.inferencePool.failureMode="Open""#,
            "/inferencePool/failureMode",
        ),
        (
            r#"router.inferenceObjectives=[{"name":"a"}]"#,
            "/inferenceObjectives/0",
        ),
        (
            r#"router.monitoring.interval="soon""#,
            "/monitoring/interval",
        ),
        (
            r#"router.tracing.sampling.sampler="always_on""#,
            "/tracing/sampling/sampler",
        ),
        (
            r#"router.epp.pluginsCustomConfig={"a.yaml":{"kind":"EndpointPickerConfig"}}"#,
            "/epp/pluginsCustomConfig",
        ),
        (r#"provider.name="linkerd""#, "/provider/name"),
        (
            r#"inferenceExtension={"replicas":1}"#,
            "'inferenceExtension' not allowed",
        ),
        (
            r#"httpRoute.requestTimeout="5 minutes""#,
            "/httpRoute/requestTimeout",
        ),
        (
            r#"router.epp.pluginsConfigFile="mine.yaml""#,
            "router.epp.pluginsConfigFile is \"mine.yaml\", which is not there",
        ),
        (
            r#"router.epp.pluginsCustomConfig={"default-plugins.yaml":"x"}"#,
            "which is one of the chart's own",
        ),
        (
            r#"router.latencyPredictor.enabled=true"#,
            "not supported yet",
        ),
        (
            r#"router.tokenizer.enabled=true"#,
            "router.tokenizer.modelName is missing",
        ),
        (
            r#"router.proxy.enabled=true"#,
            "is for the chart pointsman-standalone",
        ),
        (
            r#"provider.gke.preferredBackends.enabled=true"#,
            "not supported yet",
        ),
    ] {
        check(CHARTS[0], values, expected);
    }
    for (values, expected) in [
        (r#"router.proxy.mode="daemon""#, "/proxy/mode"),
        (
            r#"router.proxy.proxyType="agentgateway""#,
            "not supported yet",
        ),
        (
            r#"router.extraServicePorts=[]"#,
            "needs one port called http",
        ),
        (r#"httpRoute.create=true"#, "'httpRoute' not allowed"),
    ] {
        check(CHARTS[1], values, expected);
    }
    for chart in CHARTS {
        let said = render(chart, &[]).err().unwrap();
        assert!(
            said.contains("router.modelServers.matchLabels is missing"),
            "{said}"
        );
    }
}

#[test]
fn every_configuration_is_good_for_the_picker() {
    let scratch = Scratch::new("charts");
    let mut checked = 0;
    for (rendering, objects) in renderings() {
        for (name, text) in objects.files(picker(rendering)) {
            let path = scratch.file(&format!("{rendering}-{name}"), &text);
            let (code, said) = output(Command::new(pointsman()).args(["validate", &path]));
            assert_eq!(code, Some(0), "{rendering}, {name}: {said}\n{text}");
            checked += 1;
        }
    }
    assert!(checked >= 12, "only {checked} configurations");
    for kind in [
        "vllm",
        "sglang",
        "triton-tensorrt-llm",
        "trtllm-serve",
        "triton",
    ] {
        let set = format!("router.modelServers.type={kind}");
        let objects = render(CHARTS[0], &["--set", LABEL, "--set", &set]).unwrap();
        let path = scratch.file(
            &format!("{kind}.yaml"),
            &objects.file("pool-epp", "default-plugins.yaml"),
        );
        let (code, said) = output(Command::new(pointsman()).args(["validate", &path]));
        assert_eq!(code, Some(0), "{kind}: {said}");
    }
}

#[test]
fn a_flag_that_the_picker_does_not_know_is_found() {
    let flag = ["--set", LABEL, "--set", "router.epp.flags.no-such-flag=1"];
    let arguments = render(CHARTS[0], &flag).unwrap().arguments("pool-epp");
    let (code, said) = output(Command::new(pointsman()).args(arguments));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no-such-flag"), "{said}");
}

/// Starts the picker as the image is started, with the rendered arguments: only paths and ports are those of this machine,
/// and the endpoints come from a file.
#[test]
fn the_picker_starts_with_the_rendered_arguments() {
    let backend = Backend::start(|_, reply| reply.json(200, &json!({"id": "c"})));
    for (rendering, objects) in renderings() {
        let scratch = Scratch::new("charts");
        let endpoints = scratch.file("pool.json", &endpoints_file(&[("a", backend.address())]));
        let admin = port::free();
        let mut arguments = Vec::new();
        for argument in objects.arguments(picker(rendering)) {
            let (flag, value) = argument.split_once('=').unwrap();
            arguments.push(match flag {
                "--config-file" => {
                    let file = value.strip_prefix("/config/").unwrap();
                    let text = objects.file(picker(rendering), file);
                    format!("{flag}={}", scratch.file("config.yaml", &text))
                }
                "--grpc-port" | "--grpc-health-port" => format!("{flag}={}", port::free().port()),
                _ => argument,
            });
        }
        if !arguments.iter().any(|it| it.starts_with("--grpc-port")) {
            for flag in ["--grpc-port", "--grpc-health-port"] {
                arguments.push(format!("{flag}={}", port::free().port()));
            }
        }
        arguments.push(format!("--metrics-port={}", admin.port()));
        arguments.push(format!("--endpoints={endpoints}"));
        arguments.push("--bind=127.0.0.1".to_owned());
        let mut process = Process::start("epp", plain(&arguments));
        until(&format!("{rendering}: the picker to be ready"), || {
            assert!(
                process.ended().is_none(),
                "{rendering}: it ended; {arguments:?}"
            );
            let answer = Request::get("/readyz").send(admin);
            answer.is_ok_and(|it| it.status == 200).then_some(())
        });
    }
}

#[test]
fn envoy_takes_the_configuration_of_both_modes() {
    for (values, proxy) in [("--set", "sidecar"), ("-f", "service")] {
        let flags = match proxy {
            "sidecar" => [values, LABEL],
            _ => [values, "standalone-service.yaml"],
        };
        let objects = render(CHARTS[1], &flags).unwrap();
        let scratch = Scratch::new("charts");
        let path = scratch.file("envoy.yaml", &objects.file("pool-envoy", "envoy.yaml"));
        let (code, said) = output(Command::new(envoy()).args(["--mode", "validate", "-c", &path]));
        assert_eq!(code, Some(0), "{proxy}: {said}");
    }
}

#[test]
fn the_standalone_proxy_asks_the_picker_over_tls_and_nobody_else_names_the_destination() {
    let stranger = Backend::start(|_, reply| reply.json(200, &json!({"id": "stranger"})));
    let backend = Backend::start(|_, reply| reply.json(200, &json!({"id": "chosen"})));
    let scratch = Scratch::new("charts");
    let endpoints = scratch.file("pool.json", &endpoints_file(&[("a", backend.address())]));
    let [grpc, health, admin, listener, own, ready] = [(); 6].map(|()| port::free());
    let ports = format!(
        r#"router.extraServicePorts=[{{"name":"http","port":80,"targetPort":{}}}]"#,
        listener.port()
    );
    let grpc_port = format!("router.epp.extProcPort={}", grpc.port());
    let flags = ["--set", LABEL, "--set-json", &ports, "--set", &grpc_port];
    let objects = render(CHARTS[1], &flags).unwrap();
    let config = objects
        .file("pool-envoy", "envoy.yaml")
        .replace("19000", &own.port().to_string())
        .replace("19001", &ready.port().to_string());
    let path = scratch.file("envoy.yaml", &config);

    let arguments = objects.arguments("pool-epp");
    assert!(
        arguments.contains(&"--health-checking=true".to_owned()),
        "{arguments:?}"
    );
    let picker = [
        "epp".to_owned(),
        "--bind=127.0.0.1".to_owned(),
        "--health-checking=true".to_owned(),
        format!("--endpoints={endpoints}"),
        format!("--grpc-port={}", grpc.port()),
        format!("--grpc-health-port={}", health.port()),
        format!("--metrics-port={}", admin.port()),
    ];
    let _picker = Process::start("epp", plain(&picker));
    let mut command = Command::new(envoy());
    command.args([
        "-c",
        &path,
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    let _envoy = Process::start("envoy", command);
    let asked = Request::post("/v1/completions", &json!({"model": "m", "prompt": "p"})).header(
        "x-gateway-destination-endpoint",
        &stranger.address().to_string(),
    );
    let answer = until("an answer of the pool", || {
        let answer = asked.send(listener).ok()?;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.json()["id"], "chosen");
    assert!(stranger.received("/v1/completions").is_empty());
    assert_eq!(Request::get("/ready").answered(ready).status, 200);
}

#[test]
fn pods_ask_for_nothing_that_restricted_namespaces_refuse() {
    for (rendering, objects) in renderings() {
        for object in objects.all().iter().filter(|it| it["kind"] == "Deployment") {
            let pod = &object["spec"]["template"]["spec"];
            let shown = format!("{rendering}: {pod}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{shown}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{shown}"
            );
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{shown}");
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{shown}");
                if container["name"] == "epp" {
                    assert_eq!(security["readOnlyRootFilesystem"], true, "{shown}");
                }
            }
        }
    }
}

#[test]
fn rights_are_to_read_in_one_namespace() {
    for (rendering, objects) in renderings() {
        let name = picker(rendering);
        let rules = objects.get("Role", name)["rules"].as_array().unwrap();
        for rule in rules {
            let resources = rule["resources"].to_string();
            assert!(!rule.to_string().contains('*'), "{rendering}: {rule}");
            if resources.contains("leases") {
                let arguments = objects.arguments(name);
                let leads = "--ha-enable-leader-election=true".to_owned();
                assert!(arguments.contains(&leads), "{rendering}: {rule}");
                continue;
            }
            assert_eq!(
                rule["verbs"],
                json!(["list", "watch"]),
                "{rendering}: {rule}"
            );
        }
        let cluster: Vec<&Value> = objects
            .all()
            .iter()
            .filter(|it| it["kind"] == "ClusterRole")
            .collect();
        // In the whole cluster it only asks about those who read its metrics, where it is told to; and where Prometheus
        // reads with its token, that one may.
        let told = objects.arguments(name);
        let asks = told.contains(&"--metrics-endpoint-auth=true".to_owned());
        assert_eq!(asks, rendering != "manifests", "{rendering}");
        assert_eq!(cluster.len(), usize::from(asks), "{rendering}");
        for role in cluster {
            let monitored = matches!(rendering, "reference" | "gke");
            let read = json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]});
            let ask = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["create"]});
            let mut rules = vec![
                ask("authentication.k8s.io", "tokenreviews"),
                ask("authorization.k8s.io", "subjectaccessreviews"),
            ];
            rules.extend(monitored.then_some(read));
            assert_eq!(role["rules"], json!(rules), "{rendering}");
        }
        let selector = &objects.get("Deployment", name)["spec"]["selector"]["matchLabels"];
        assert_eq!(
            &objects.get("Service", name)["spec"]["selector"],
            selector,
            "{rendering}"
        );
        let pod = &objects.get("Deployment", name)["spec"]["template"]["spec"];
        assert_eq!(text(&pod["serviceAccountName"]), name);
        assert_eq!(pod["enableServiceLinks"], false, "{rendering}");
    }
}
