//! `pointsman stack`: every set that it renders is taken by a real API server with the real definitions, applying it
//! twice changes nothing the second time, and the simulated lab that it renders serves requests.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Output};

use pointsman_tests::answer::chat;
use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::http::Request;
use pointsman_tests::operator_world::World;
use pointsman_tests::patience::until;
use pointsman_tests::process::Process;
use pointsman_tests::scratch::Scratch;
use serde_json::Value;

/// `pointsman stack`, with the cluster's administrator where one is given.
fn stack(cluster: Option<&Cluster>, arguments: &[&str]) -> Output {
    let mut command = Command::new(pointsman());
    command.arg("stack").args(arguments);
    if let Some(cluster) = cluster {
        command.arg("--kubeconfig").arg(cluster.kubeconfig());
    }
    command.output().unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    text
}

fn cluster() -> &'static Cluster {
    let cluster = Cluster::shared(&Setup::plain());
    cluster.apply(&std::fs::read_to_string(workspace().join("deploy/operator/crds.yaml")).unwrap());
    cluster
}

/// Every set, in namespaces that are there.
const SETS: [&[&str]; 7] = [
    &[],
    &["--simulated"],
    &["--preset", "p2p-same-node", "--pairs", "p2p=3"],
    &["--preset", "fs-same-node", "--kv-volume", "pvc:kv"],
    &["--preset", "simulator"],
    &[
        "--workload=deployments",
        "--gpus=8",
        "--model-volume=nfs:files.example:/models",
    ],
    &[
        "--envoy-filter=FullDuplex",
        "--destination-rule=none",
        "--hf-token-secret=hf",
        "--failure-mode=FailOpen",
        "--server-arg=--max-num-seqs=64",
        "--profile=proxy-performance-by-backend",
    ],
];

#[test]
fn a_cluster_takes_every_set_and_a_dry_run_keeps_nothing() {
    let cluster = cluster();
    let (models, scheduler) = (cluster.namespace("models"), cluster.namespace("scheduler"));
    for set in SETS {
        let places = [
            "--namespace",
            &models,
            "--scheduler-namespace",
            &scheduler,
            "--dry-run=server",
        ];
        let said = good(&stack(
            Some(cluster),
            &[&["apply"], set, &places[..]].concat(),
        ));
        assert!(said.contains("objects are taken"), "{set:?}: {said}");
        assert!(!said.contains("not checked"), "{set:?}: {said}");
    }
    let kinds = "pods,services,deployments,inferencepools.inference.networking.k8s.io,httproutes,schedulerinstalls,simulatordeployments";
    let there = cluster.kubectl(&["get", kinds, "-n", &models, "-o", "name"]);
    assert_eq!(there.trim(), "");
    // What is in a namespace that is not there cannot be checked, and that is said.
    let said = good(&stack(
        Some(cluster),
        &["apply", "--namespace=nowhere", "--dry-run=server"],
    ));
    assert!(said.contains("Pod nowhere/vllm-prefill-p2p: not checked"));
    assert!(said.contains("could not be checked"), "{said}");
}

#[test]
fn applying_twice_changes_nothing_and_a_change_is_named() {
    let cluster = cluster();
    let places = ["--namespace=twice", "--scheduler-namespace=twice-s"];
    let apply = |more: &[&str]| {
        let arguments = [
            &["apply", "--simulated", "--workload=deployments"],
            &places[..],
            more,
        ];
        stack(Some(cluster), &arguments.concat())
    };
    let first = good(&apply(&[]));
    for line in first.lines() {
        assert!(line.ends_with(": created"), "{line}");
    }
    let second = good(&apply(&[]));
    assert_eq!(second.lines().count(), first.lines().count());
    for line in second.lines() {
        assert!(line.ends_with(": as it should be"), "{line}");
    }
    let third = good(&apply(&["--profile=default"]));
    let changed: Vec<&str> = third
        .lines()
        .filter(|line| line.ends_with(": changed"))
        .collect();
    assert_eq!(
        changed,
        ["SchedulerInstall twice-s/llm-sched-install: changed"]
    );
    // What somebody else has set is not taken over in silence.
    cluster.kubectl(&[
        "scale",
        "-n",
        "twice",
        "deployment/vllm-fs-proxy",
        "--replicas=3",
    ]);
    let refused = apply(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("--force-conflicts"), "{said}");
    good(&apply(&["--force-conflicts"]));
    let replicas = cluster.kubectl(&[
        "get",
        "-n",
        "twice",
        "deployment/vllm-fs-proxy",
        "-o",
        "jsonpath={.spec.replicas}",
    ]);
    assert_eq!(replicas, "1");
}

#[test]
fn a_cluster_without_definitions_is_told_what_is_missing_and_takes_the_rest() {
    let bare = Cluster::start(&Setup::default());
    let output = stack(Some(&bare), &["apply"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in [
        "Pod llm-d-vllm/vllm-prefill-p2p: created",
        "does not serve InferencePool.inference.networking.k8s.io",
        "`pointsman crds | kubectl apply --server-side -f -`",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("4 of 18 objects were refused"), "{error}");
}

#[test]
fn what_cannot_be_is_refused_in_the_words_of_the_flags() {
    for (arguments, expected) in [
        (&["--kv-volume=empty"][..], "each pod's own"),
        (&["--pairs=nvlink=1"], "--pairs"),
        (&["--model-volume=/models"], "pvc:NAME"),
        (&["--profile=fast"], "proxy-performance"),
        (&["--port=14579"], "--kv-port"),
    ] {
        let output = stack(None, &[&["render"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn the_simulated_lab_comes_up_in_a_cluster_with_nothing_but_the_operator() {
    let setup = Setup {
        controllers: true,
        nodes: 1,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let _operator = world.operator("the operator");
    let said = good(&stack(Some(&world.cluster), &["apply", "--simulated"]));
    for line in said.lines() {
        assert!(line.ends_with(": created"), "{line}");
    }
    let (install, scheduler) = ("llm-sched-install", "llm-d-inference-scheduler");
    for condition in ["Ready", "EPPAvailable", "PoolResolved", "EndpointsReady"] {
        until(&format!("{condition} to be true"), || {
            let now = world.condition(scheduler, install, condition);
            now.starts_with("True ").then_some(())
        });
    }
    let endpoints = [
        "get",
        "schedinst",
        "-n",
        scheduler,
        install,
        "-o",
        "jsonpath={.status.endpoints}",
    ];
    assert_eq!(world.cluster.kubectl(&endpoints), "2/2");
    // The gateway finds its picker in the pool's namespace, at the address of the picker's pod.
    let address = |arguments: &[&str]| {
        let text = world
            .cluster
            .kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let epp = "gaie-inference-scheduling-epp";
    until("the picker's address beside the pool", || {
        let slice = address(&["endpointslice", "-n", "llm-d-vllm", &format!("{epp}-ipv4")]);
        let pods = address(&["pods", "-n", scheduler, "-l", &format!("app={epp}")]);
        let beside = slice["endpoints"][0]["addresses"][0].as_str()?.to_owned();
        (pods["items"][0]["status"]["podIP"] == beside.as_str()).then_some(())
    });
}

/// Containers as their manifests start them, where names of Services stand for addresses of this host.
struct Running {
    addresses: BTreeMap<String, SocketAddr>,
    processes: Vec<Process>,
}

impl Running {
    /// Starts the container of a workload on a free port of its own.
    fn start(&mut self, workload: &Value) -> SocketAddr {
        let name = workload["metadata"]["name"].as_str().unwrap();
        let pod = workload
            .pointer("/spec/template/spec")
            .unwrap_or_else(|| &workload["spec"]);
        let container = &pod["containers"][0];
        let mut command = Command::new(pointsman());
        for word in container["args"].as_array().unwrap() {
            command.arg(self.here(word.as_str().unwrap()));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            if let Some(value) = variable["value"].as_str() {
                command.env(variable["name"].as_str().unwrap(), self.here(value));
            }
        }
        let process = Process::start(name, command);
        let address = process.wait_line("its address", |line| {
            let after = line.split("http://").nth(1)?;
            let end = after.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
            let place = after[..end.unwrap_or(after.len())].trim_end_matches(':');
            let address: SocketAddr = place.parse().ok()?;
            // Every address of this host is meant.
            Some(SocketAddr::from(([127, 0, 0, 1], address.port())))
        });
        self.addresses.insert(name.to_owned(), address);
        self.processes.push(process);
        address
    }

    /// A word of a manifest on this host: its own port is any, and a server's URL is where that runs.
    fn here(&self, word: &str) -> String {
        let own = ["--port=8000", ":8080", "8200"];
        if own.contains(&word) {
            return word.replace(|c: char| c.is_ascii_digit(), "") + "0";
        }
        for (name, address) in &self.addresses {
            let url = format!("http://{name}:8000");
            if word.ends_with(&url) {
                return word.replace(&url, &format!("http://{address}"));
            }
        }
        word.to_owned()
    }
}

fn objects(arguments: &[&str]) -> Vec<Value> {
    let text = good(&stack(
        None,
        &[&["render", "-o", "json"], arguments].concat(),
    ));
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[test]
fn the_simulated_lab_serves_as_it_is_rendered() {
    let all = objects(&["--simulated"]);
    let mut running = Running {
        addresses: BTreeMap::new(),
        processes: Vec::new(),
    };
    for pod in all.iter().filter(|object| object["kind"] == "Pod") {
        running.start(pod);
    }
    for (proxy, id) in [
        (
            "vllm-p2p-proxy",
            "___prefill_addr_vllm-prefill-p2p:14579___decode_addr_vllm-decode-p2p:14579_",
        ),
        ("vllm-fs-proxy", "___prefill_addr_"),
    ] {
        let found = all
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == proxy);
        let address = running.start(found.unwrap());
        let answer = chat("hello", 4).answered(address);
        assert_eq!(answer.status, 200, "{proxy}: {}", answer.text());
        let body = answer.json();
        assert!(body["id"].as_str().unwrap().contains(id), "{body}");
        assert_eq!(Request::get("/metrics").answered(address).status, 200);
    }
}

#[test]
fn a_simulator_deployment_of_our_image_runs_with_the_operator_s_arguments() {
    let all = objects(&["--preset", "simulator"]);
    let simulator = all
        .iter()
        .find(|object| object["kind"] == "SimulatorDeployment");
    let folder = pointsman_tests::scratch::Scratch::new("stack");
    let file = folder.file("simulator.json", &simulator.unwrap().to_string());
    let output = Command::new(pointsman())
        .args(["render", "-o", "json", &file])
        .output()
        .unwrap();
    let list: Value = serde_json::from_str(&good(&output)).unwrap();
    let decode = list["items"].as_array().unwrap().iter().find(|object| {
        object["kind"] == "Deployment"
            && object["metadata"]["name"] == "ms-sim-llm-d-modelservice-decode"
    });
    let mut running = Running {
        addresses: BTreeMap::new(),
        processes: Vec::new(),
    };
    let address = running.start(decode.unwrap());
    let answer = chat("hello", 4).answered(address);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // It listens for others, not for itself alone.
    running.processes[0].wait_line("every address", |line| {
        line.contains("0.0.0.0").then_some(())
    });
}

#[test]
fn what_cannot_work_is_wrong_usage() {
    let sets: [&[&str]; 12] = [
        &["--port", "0"],
        &["--max-model-len", "0"],
        &["--gpu-memory-utilization", "1.5"],
        &["--namespace", "UPPER"],
        &["--pool", "bad_name"],
        &["--epp-port", "9090"],
        &["--gateway-port", "0"],
        &["--model", ""],
        &["--ab-header", "bad header"],
        &["--pairs", "x=1"],
        &["--preset", "simulator", "--pairs", "p2p=2"],
        &["--preset", "p2p-same-node", "--pairs", "fs=1"],
    ];
    for set in sets {
        let output = stack(None, &[&["render"], set].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set:?}: {said}");
        let flag = set
            .iter()
            .rev()
            .find(|word| word.starts_with("--"))
            .unwrap();
        assert!(said.contains(flag), "{set:?}: {said}");
        assert!(output.stdout.is_empty(), "{set:?}");
    }
}

#[test]
fn a_difference_shows_what_the_operator_would_do() {
    let world = World::start(&Setup::plain());
    let _operator = world.operator("the operator");
    world.namespace("s");
    world.namespace("m");
    let install = |more: &str| {
        format!(
            "apiVersion: sim.llm-d.io/v1alpha1\nkind: SchedulerInstall\nmetadata: {{name: i, namespace: s}}\nspec:\n  simulatorNamespace: m\n  gateway: {{enabled: true}}\n  envoyFilter: {{enabled: true}}\n{more}"
        )
    };
    let now = install("  epp: {enabled: true}\n  destinationRule: {enabled: true}\n");
    world.cluster.apply(&now);
    until("the install to be followed", || {
        let ready = world.condition("s", "i", "Ready");
        ready.starts_with("True ").then_some(())
    });
    let files = Scratch::new("difference");
    let diff = |text: &str, flags: &[&str]| {
        let file = files.file("install.yaml", text);
        let mut command = Command::new(pointsman());
        command.args(["render", "--diff", &file, "--kubeconfig"]);
        command.arg(world.cluster.kubeconfig()).args(flags);
        good(&command.output().unwrap())
    };
    let same = diff(&now, &[]);
    assert!(
        same.starts_with("0 of ") && same.lines().count() == 1,
        "{same}"
    );
    let then = install("  epp: {enabled: true, verbosity: 4}\n");
    let said = diff(&then, &[]);
    for words in [
        "Deployment s/gaie-inference-scheduling-epp would be changed",
        "DestinationRule m/gaie-inference-scheduling-proxy-lb would be deleted",
        "1 of ",
        "1 more would be deleted",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(
        !said.contains("ownerReferences") && !said.contains("EnvoyFilter"),
        "{said}"
    );
    let document: Value = serde_json::from_str(&diff(&then, &["-o", "json"])).unwrap();
    assert_eq!(document["changes"].as_array().unwrap().len(), 2);
    assert_eq!(document["changes"][1]["change"], "deleted");
}
