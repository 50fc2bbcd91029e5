//! The model-server side of the lab: what is rendered is the lab's, with the three things set right that kept it from
//! working.

#![allow(clippy::unwrap_used)]

use pointsman_operator::desired::child::{Child, Owner};
use pointsman_operator::desired::{Address, Observed};
use pointsman_operator::render::{Format, children, text};
use pointsman_operator::stack::objects;
use pointsman_operator::stack::settings::{Part, Settings, Workload};
use pointsman_operator::stack::volume::Source;
use serde_json::{Value, json};

const VLLM: &str = "llm-d-vllm";
const SCHEDULER: &str = "llm-d-inference-scheduler";

fn rendered(change: impl FnOnce(&mut Settings)) -> Vec<Child> {
    let mut settings = Settings::default();
    change(&mut settings);
    settings.check().unwrap();
    objects(&settings)
}

#[track_caller]
fn find<'a>(made: &'a [Child], kind: &str, name: &str) -> &'a Value {
    let found = made
        .iter()
        .find(|child| child.kind.kind == kind && child.name == name);
    &found
        .unwrap_or_else(|| panic!("{kind} {name} is not among {:#?}", ids(made)))
        .value
}

fn ids(made: &[Child]) -> Vec<String> {
    made.iter()
        .map(|child| format!("{} {}/{}", child.kind.kind, child.namespace, child.name))
        .collect()
}

fn container(workload: &Value) -> &Value {
    let pod = workload
        .pointer("/spec/template/spec")
        .unwrap_or_else(|| &workload["spec"]);
    &pod["containers"][0]
}

#[test]
fn the_lab_s_objects_bear_the_lab_s_names() {
    let expected = [
        "Namespace /llm-d-vllm",
        "Namespace /llm-d-inference-scheduler",
        "Pod llm-d-vllm/vllm-prefill-p2p",
        "Service llm-d-vllm/vllm-prefill-p2p",
        "Pod llm-d-vllm/vllm-decode-p2p",
        "Service llm-d-vllm/vllm-decode-p2p",
        "Pod llm-d-vllm/vllm-prefill-fs",
        "Service llm-d-vllm/vllm-prefill-fs",
        "Pod llm-d-vllm/vllm-decode-fs",
        "Service llm-d-vllm/vllm-decode-fs",
        "Deployment llm-d-vllm/vllm-p2p-proxy",
        "Deployment llm-d-vllm/vllm-fs-proxy",
        "Service llm-d-vllm/vllm-p2p-proxy",
        "Service llm-d-vllm/vllm-fs-proxy",
        "InferencePool llm-d-vllm/vllm-proxy-performance",
        "ReferenceGrant llm-d-vllm/vllm-ab-test",
        "HTTPRoute llm-d-inference-scheduler/vllm-ab-test",
        "SchedulerInstall llm-d-inference-scheduler/llm-sched-install",
    ];
    assert_eq!(ids(&rendered(|_| {})), expected);
}

#[test]
fn servers_are_started_as_in_the_lab() {
    let made = rendered(|_| {});
    let decode = find(&made, "Pod", "vllm-decode-p2p");
    assert_eq!(
        decode["metadata"]["labels"],
        json!({
            "app": "vllm-p2p-test", "role": "decode", "case": "p2p-same",
            "app.kubernetes.io/managed-by": "pointsman-stack",
        })
    );
    assert_eq!(
        decode["spec"]["nodeSelector"],
        json!({"nvidia.com/gpu.product": "NVIDIA-H100-NVL"})
    );
    let affinity = &decode["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        [0];
    assert_eq!(
        affinity["labelSelector"]["matchLabels"],
        json!({"app": "vllm-p2p-test", "role": "prefill", "case": "p2p-same"})
    );
    assert_eq!(affinity["topologyKey"], "kubernetes.io/hostname");
    let vllm = container(decode);
    assert_eq!(vllm["image"], "vllm/vllm-openai:v0.15.0");
    let words: Vec<&str> = vllm["command"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        words[..words.len() - 1],
        [
            "vllm",
            "serve",
            "Qwen/Qwen3-Coder-30B-A3B-Instruct",
            "--tensor-parallel-size=1",
            "--port=8000",
            "--enable-auto-tool-choice",
            "--tool-call-parser=qwen3_coder",
            "--gpu-memory-utilization=0.90",
            "--max-model-len=2048",
            "--no-enable-prefix-caching",
            "--no-enable-chunked-prefill",
        ]
    );
    let connector = |name: &str| -> Value {
        let command = &container(find(&made, "Pod", name))["command"];
        let last = command.as_array().unwrap().last().unwrap();
        let json = last.as_str().unwrap().strip_prefix("--kv-transfer-config=");
        serde_json::from_str(json.unwrap()).unwrap()
    };
    assert_eq!(
        connector("vllm-decode-p2p"),
        json!({
            "kv_connector": "P2pNcclConnector", "kv_role": "kv_consumer", "kv_rank": 1, "kv_parallel_size": 2,
            "kv_ip": "0.0.0.0", "kv_port": 14579, "engine_id": "p2p-nccl-same-node",
        })
    );
    assert_eq!(connector("vllm-prefill-p2p")["kv_role"], "kv_producer");
    assert_eq!(connector("vllm-prefill-p2p")["kv_rank"], 0);
    assert_eq!(
        connector("vllm-prefill-fs"),
        json!({
            "kv_connector": "ExampleConnector", "kv_role": "kv_producer",
            "kv_connector_extra_config": {"shared_storage_path": "/kv_cache"},
        })
    );
    let health = json!({"path": "/health", "port": "http"});
    assert_eq!(
        vllm["startupProbe"],
        json!({"httpGet": health, "initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 2, "failureThreshold": 90})
    );
    assert_eq!(
        vllm["readinessProbe"],
        json!({"httpGet": health, "initialDelaySeconds": 10, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 12})
    );
    assert_eq!(vllm["resources"]["limits"], json!({"nvidia.com/gpu": "1"}));
    let env = vllm["env"].to_string();
    assert!(
        env.contains("HF_HOME") && env.contains("NCCL_DEBUG_SUBSYS"),
        "{env}"
    );
    let ports = &find(&made, "Service", "vllm-decode-p2p")["spec"]["ports"];
    assert_eq!(
        (&ports[0]["port"], &ports[1]["name"], &ports[1]["port"]),
        (&json!(8000), &json!("kv-transfer"), &json!(14579))
    );
}

#[test]
fn kv_that_goes_through_files_is_shared_by_the_two_servers_and_by_nobody_else() {
    let made = rendered(|settings| settings.fs_pairs = 2);
    let path = |name: &str| {
        let pod = find(&made, "Pod", name);
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let kv = volumes.iter().find(|v| v["name"] == "kv-cache-storage");
        let mounts = container(pod)["volumeMounts"].to_string();
        assert!(mounts.contains("/kv_cache"), "{mounts}");
        kv.unwrap()["hostPath"]["path"].as_str().unwrap().to_owned()
    };
    assert_eq!(path("vllm-prefill-fs"), path("vllm-decode-fs"));
    assert_eq!(path("vllm-prefill-fs-1"), path("vllm-decode-fs-1"));
    assert_ne!(path("vllm-prefill-fs"), path("vllm-prefill-fs-1"));
    let claimed = rendered(|settings| settings.kv_volume = Source::Claim("kv".to_owned()));
    assert!(
        find(&claimed, "Pod", "vllm-decode-fs")["spec"]["volumes"]
            .to_string()
            .contains(r#""claimName":"kv""#)
    );
    let alone = Settings {
        kv_volume: Source::Empty,
        ..Settings::default()
    };
    assert!(alone.check().unwrap_err().contains("each pod's own"));
}

#[test]
fn proxies_bear_the_label_that_profiles_filter_by_and_are_the_pool() {
    let made = rendered(|_| {});
    for (name, label, first) in [
        ("vllm-p2p-proxy", "nvlink", "vllm-prefill-p2p"),
        ("vllm-fs-proxy", "fs", "vllm-prefill-fs"),
    ] {
        let proxy = find(&made, "Deployment", name);
        let labels = &proxy["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["llm-d.ai/kv-backend"], label);
        assert_eq!(labels["role"], "proxy");
        let env = container(proxy)["env"].to_string();
        assert!(env.contains(&format!("http://{first}:8000")), "{env}");
        assert_eq!(
            env.contains("vllm-decode-p2p:14579"),
            name == "vllm-p2p-proxy"
        );
        assert_eq!(
            container(proxy)["readinessProbe"]["httpGet"]["path"],
            "/health"
        );
    }
    let pool = &find(&made, "InferencePool", "vllm-proxy-performance")["spec"];
    assert_eq!(pool["selector"]["matchLabels"], json!({"role": "proxy"}));
    assert_eq!(pool["targetPorts"], json!([{"number": 8080}]));
    assert_eq!(
        pool["endpointPickerRef"],
        json!({
            "group": "", "kind": "Service", "name": "gaie-inference-scheduling-epp", "port": {"number": 9002},
            "failureMode": "FailClose",
        })
    );
}

#[test]
fn a_header_chooses_the_pair_past_the_picker() {
    let made = rendered(|_| {});
    let route = &find(&made, "HTTPRoute", "vllm-ab-test")["spec"];
    for (at, value, proxy) in [(0, "nvlink", "vllm-p2p-proxy"), (1, "fs", "vllm-fs-proxy")] {
        let rule = &route["rules"][at];
        assert_eq!(
            rule["matches"],
            json!([{
                "path": {"type": "PathPrefix", "value": "/"},
                "headers": [{"type": "Exact", "name": "x-kv-backend", "value": value}],
            }])
        );
        assert_eq!(rule["backendRefs"][0]["name"], proxy);
        assert_eq!(
            rule["timeouts"],
            json!({"request": "0s", "backendRequest": "0s"})
        );
    }
    let grant = &find(&made, "ReferenceGrant", "vllm-ab-test")["spec"];
    assert_eq!(grant["from"][0]["namespace"], SCHEDULER);
    let one = rendered(|settings| settings.fs_pairs = 0);
    let rules = &find(&one, "HTTPRoute", "vllm-ab-test")["spec"]["rules"];
    assert_eq!(rules.as_array().unwrap().len(), 1);
    let together = rendered(|settings| settings.scheduler_namespace = VLLM.to_owned());
    assert!(
        !ids(&together)
            .iter()
            .any(|id| id.starts_with("ReferenceGrant"))
    );
}

/// The objects that the operator makes of a `SchedulerInstall`.
fn made_of(install: &Value) -> Vec<Child> {
    let observed = Observed {
        epp_address: Address::Ip("10.0.0.7".to_owned()),
        ..Observed::default()
    };
    children(Owner::Install, install, &observed).unwrap()
}

#[test]
fn the_install_is_the_lab_s_sample_but_for_the_way_to_the_picker() {
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/operator/sched-sample-proxy-performance/input.yaml"
    );
    let sample = std::fs::read_to_string(sample).unwrap();
    let sample: Vec<Value> = serde_saphyr::from_multiple(&sample).unwrap();
    let sample = sample.into_iter().find(|one| !one.is_null()).unwrap();
    let made = rendered(|_| {});
    let ours = made_of(find(&made, "SchedulerInstall", "llm-sched-install"));
    let theirs = made_of(&sample);
    let value = |child: &Child| child.value.clone();
    let only_theirs: Vec<String> = theirs
        .iter()
        .filter(|child| !ours.iter().map(value).any(|one| one == child.value))
        .map(|child| child.kind.kind.to_owned())
        .collect();
    assert_eq!(only_theirs, ["EnvoyFilter"]);
    let only_ours: Vec<Child> = ours
        .iter()
        .filter(|child| !theirs.iter().map(value).any(|one| one == child.value))
        .cloned()
        .collect();
    // No ExternalName: a Service without a selector, whose addresses the operator keeps.
    assert_eq!(
        ids(&only_ours),
        [
            "Service llm-d-vllm/gaie-inference-scheduling-epp",
            "EndpointSlice llm-d-vllm/gaie-inference-scheduling-epp-ipv4"
        ]
    );
    let service = &only_ours[0].value["spec"];
    assert_eq!(service["type"], "ClusterIP");
    assert!(service.get("selector").is_none() && service.get("externalName").is_none());
}

#[test]
fn without_gpus_everything_is_our_image() {
    let made = rendered(|settings| {
        settings.simulated = true;
        settings.pointsman_image = "r.io/pointsman:7".to_owned();
    });
    let shown = text(made.iter().map(|c| (&c.value, None)), Format::Yaml);
    for wrong in ["nvidia.com", "vllm/vllm-openai", "HF_HOME", "hostPath"] {
        assert!(!shown.contains(wrong), "{wrong}");
    }
    for line in shown.lines().filter(|line| line.contains(" image: ")) {
        assert!(line.ends_with("r.io/pointsman:7"), "{line}");
    }
    let args = container(find(&made, "Pod", "vllm-decode-fs"))["args"].to_string();
    assert!(
        args.starts_with(r#"["sim","--model","#)
            && args.contains("--kv-peer=http://vllm-prefill-fs:8000"),
        "{args}"
    );
    let install = find(&made, "SchedulerInstall", "llm-sched-install");
    assert_eq!(install["spec"]["epp"]["image"], "r.io/pointsman:7");
}

#[test]
fn a_simulator_deployment_of_our_image_stands_behind_its_pool() {
    let made = objects(&Settings::of_simulator());
    assert_eq!(
        ids(&made),
        [
            "Namespace /llm-d-sim",
            "Namespace /llm-d-inference-scheduler",
            "SimulatorDeployment llm-d-sim/llm-sim",
            "InferencePool llm-d-sim/gaie-inference-scheduling",
            "SchedulerInstall llm-d-inference-scheduler/llm-sched-install",
        ]
    );
    let simulator = find(&made, "SimulatorDeployment", "llm-sim");
    assert!(
        simulator["spec"]["image"]
            .as_str()
            .unwrap()
            .starts_with("pointsman:")
    );
    let servers = children(Owner::Simulator, simulator, &Observed::default()).unwrap();
    let decode = find(&servers, "Deployment", "ms-sim-llm-d-modelservice-decode");
    let pool = &find(&made, "InferencePool", "gaie-inference-scheduling")["spec"];
    for (label, value) in pool["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(
            decode["spec"]["template"]["metadata"]["labels"][label],
            *value
        );
    }
    assert_eq!(
        container(decode)["ports"][0]["containerPort"],
        pool["targetPorts"][0]["number"]
    );
}

#[test]
fn parts_workloads_and_more_pairs() {
    let made = rendered(|settings| settings.parts = vec![Part::Pool]);
    assert_eq!(
        ids(&made),
        [
            "Namespace /llm-d-vllm",
            "InferencePool llm-d-vllm/vllm-proxy-performance"
        ]
    );
    let made = rendered(|settings| {
        settings.workload = Workload::Deployments;
        settings.p2p_pairs = 2;
        settings.gpus = 4;
        settings.node_selector.clear();
        settings.model_volume = Source::parse("nfs:files:/models").unwrap();
        settings.token_secret = Some("hf".to_owned());
    });
    let second = find(&made, "Deployment", "vllm-decode-p2p-1");
    assert_eq!(second["spec"]["strategy"]["type"], "Recreate");
    let pod = &second["spec"]["template"]["spec"];
    assert!(pod.get("nodeSelector").is_none());
    let said = pod.to_string();
    for expected in [
        "--tensor-parallel-size=4",
        r#""nvidia.com/gpu":"4""#,
        "/dev/shm",
        r#""server":"files""#,
        "secretKeyRef",
        "p2p-same-1",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // The two proxies ask different servers; one Service leads to both.
    let proxy = find(&made, "Deployment", "vllm-p2p-proxy-1").to_string();
    assert!(proxy.contains("vllm-prefill-p2p-1:8000"), "{proxy}");
    assert_eq!(
        find(&made, "Service", "vllm-p2p-proxy")["spec"]["selector"],
        json!({"app": "vllm-p2p-test", "role": "proxy"})
    );
    let nothing = Settings {
        p2p_pairs: 0,
        fs_pairs: 0,
        ..Settings::default()
    };
    assert!(nothing.check().unwrap_err().contains("--pairs"));
}

#[test]
fn rendering_the_stack_is_the_same_byte_for_byte() {
    let shown = || {
        let made = rendered(|_| {});
        text(made.iter().map(|c| (&c.value, None)), Format::Yaml)
    };
    assert_eq!(shown(), shown());
}

#[test]
fn no_pod_takes_variables_from_services() {
    for workload in [Workload::Pods, Workload::Deployments] {
        for simulated in [false, true] {
            let made = rendered(|settings| {
                settings.workload = workload;
                settings.simulated = simulated;
            });
            let specs: Vec<&Value> = made
                .iter()
                .filter_map(|child| match child.kind.kind {
                    "Pod" => Some(&child.value["spec"]),
                    "Deployment" => Some(&child.value["spec"]["template"]["spec"]),
                    _ => None,
                })
                .collect();
            assert_eq!(specs.len(), 6);
            assert!(specs.iter().all(|spec| spec["enableServiceLinks"] == false));
        }
    }
    for text in [
        include_str!("../../../deploy/operator/operator.yaml"),
        include_str!("../../../deploy/manifests/picker.yaml"),
    ] {
        assert!(text.contains("\n      enableServiceLinks: false\n"));
    }
}
