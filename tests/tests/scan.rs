//! `pointsman scan`: the same picture from files, from a machine and from an API server; labels arrive; what cannot
//! be read is named.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use pointsman_tests::backend::Backend;
use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::scratch::Scratch;
use serde_json::{Value, json};

fn scan(flags: &[&str]) -> Output {
    let mut command = Command::new(pointsman());
    command.arg("scan").args(flags).env_remove("KUBECONFIG");
    command.output().unwrap()
}

fn fixture(name: &str) -> String {
    workspace()
        .join("crates/topo/fixtures")
        .join(name)
        .display()
        .to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schemaVersion"], 1);
    document
}

#[test]
fn the_lab_is_shown_as_table_picture_and_placements() {
    let output = scan(&["--input", &fixture("lab")]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    for line in [
        "  worker-A  2     H100-NVL   2 GPUs, 600 GB/s  none  1 (100G)  2     -      -     nvlink",
        "|  | | GPU0: H100-NVL | <----------------> | GPU1: H100-NVL |               |  |",
        "  good  nvlink  both on worker-A           600",
        "  poor  fs      two of worker-A, worker-B  12",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_scan_is_kept_and_repeated_elsewhere() {
    let scratch = Scratch::new("scan-keep");
    let kept = scratch.path().join("kept");
    let drawn = scratch.path().join("picture.svg");
    let first = document(&scan(&[
        "--input",
        &fixture("lab"),
        "-o",
        "json",
        "--save-to",
        kept.to_str().unwrap(),
        "--svg",
        drawn.to_str().unwrap(),
    ]));
    let again = document(&scan(&["--input", kept.to_str().unwrap(), "-o", "json"]));
    assert_eq!(first, again);
    let report: Value =
        serde_json::from_slice(&std::fs::read(kept.join("report.json")).unwrap()).unwrap();
    assert_eq!(report, first);
    let drawn = std::fs::read_to_string(drawn).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.contains("NVLink, 600 GB/s"),
        "{drawn}"
    );
}

#[test]
fn a_machine_is_asked_by_its_files_and_its_tool() {
    let scratch = Scratch::new("scan-machine");
    let lab = fixture("lab/nodes/worker-A");
    let tool = scratch.file(
        "nvidia-smi",
        &format!("#!/bin/sh\ncase \"$1\" in topo) cat '{lab}/topo.txt';; --query-gpu=*) cat '{lab}/gpus.csv';; esac\n"),
    );
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sys = format!("{lab}/sys");
    let found = document(&scan(&[
        "--node",
        "--sys",
        &sys,
        "--nvidia-smi",
        &tool,
        "-o",
        "json",
    ]));
    assert_eq!(found["platform"]["value"], "machine");
    assert_eq!(found["nodes"][0]["nvlink"]["groups"], json!([[0, 1]]));
    assert_eq!(found["nodes"][0]["gpus"][1]["numa"], 1);

    // A tool that fails is named, and the rest is still read.
    let broken = scratch.file(
        "broken",
        "#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n",
    );
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = scan(&["--sys", &sys, "--nvidia-smi", &broken, "-o", "json"]);
    let found = document(&output);
    assert_eq!(found["nodes"][0]["gpu"]["method"], "PCI devices");
    let said = text(&output.stderr);
    assert!(
        said.contains("ended with exit status: 9 and said: NVIDIA-SMI has failed"),
        "{said}"
    );
}

/// An API server with the lab's nodes, in two pages.
fn api_server() -> Backend {
    let list = std::fs::read_to_string(fixture("lab/nodes.json")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    Backend::start(move |received, reply| match received.method.as_str() {
        "PATCH" => reply.json(200, &received.json()),
        _ => {
            let second = received.path.contains("continue=more");
            let item = &list["items"][usize::from(second)];
            let token = if second { "" } else { "more" };
            reply.json(
                200,
                &json!({
                    "apiVersion": "v1", "kind": "NodeList",
                    "metadata": {"resourceVersion": "7", "continue": token},
                    "items": [item],
                }),
            );
        }
    })
}

fn kubeconfig(scratch: &Scratch, url: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    });
    scratch.file("kubeconfig", &config.to_string())
}

#[test]
fn an_api_server_is_asked_page_by_page_and_gets_the_labels() {
    let scratch = Scratch::new("scan-kube");
    let server = api_server();
    let config = kubeconfig(&scratch, &server.url());
    let output = scan(&[
        "--kube",
        "--kubeconfig",
        &config,
        "--apply-labels",
        "-o",
        "json",
    ]);
    let found = document(&output);
    assert_eq!(found["platform"]["value"], "openshift");
    assert_eq!(found["nodes"].as_array().unwrap().len(), 2);
    assert!(
        text(&output.stderr).contains("labelled 2 of 2 nodes"),
        "{}",
        text(&output.stderr)
    );
    for (node, backend) in [("worker-A", "nvlink"), ("worker-B", "fs")] {
        let path = format!("/api/v1/nodes/{node}?&force=true&fieldManager=pointsman-scan");
        let patches = server.received(&path);
        assert_eq!(patches.len(), 1, "{path}");
        assert_eq!(
            patches[0].header("content-type"),
            Some("application/apply-patch+yaml")
        );
        let sent = patches[0].json();
        assert_eq!(sent["metadata"]["labels"]["llm-d.ai/kv-backend"], backend);
        let keys: Vec<&String> = sent["metadata"]["labels"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert!(
            keys.iter().all(|key| key.starts_with("llm-d.ai/kv-")),
            "{keys:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_exit_code_says_so() {
    let scratch = Scratch::new("scan-bad");
    let broken = scratch.file("nodes.json", "{\n\"items\": [\n");
    let nowhere = kubeconfig(&scratch, "http://127.0.0.1:1");
    let cases: [(&[&str], &str); 5] = [
        (&["--nodes", &broken], "nodes.json:3: is no JSON"),
        (
            &["--nodes", "/nowhere/nodes.json"],
            "/nowhere/nodes.json cannot be read",
        ),
        (&["--input", "/nowhere"], "/nowhere: is no folder"),
        (
            &["--kube", "--kubeconfig", &nowhere],
            "nodes cannot be listed",
        ),
        (
            &["--input", &fixture("lab"), "--svg", "/nowhere/a.svg"],
            "/nowhere/a.svg cannot be written",
        ),
    ];
    for (flags, expected) in cases {
        let output = scan(flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
    // A broken matrix costs NVLink, not the scan.
    let node = scratch.path().join("scans/nodes/n");
    std::fs::create_dir_all(&node).unwrap();
    std::fs::write(
        node.join("gpus.csv"),
        "index, name\n0, NVIDIA H100 NVL\n1, NVIDIA H100 NVL\n",
    )
    .unwrap();
    std::fs::write(
        node.join("topo.txt"),
        "\tGPU0\tGPU1\nGPU0\t X \tWARP\nGPU1\tWARP\t X \n",
    )
    .unwrap();
    let output = scan(&["--input", scratch.path().join("scans").to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("topo.txt:2: GPU0 to GPU1 says 'WARP'; expected NV#"),
        "{said}"
    );
}
