//! The lab as it stands in the cluster: how it is laid, and how a run looks at it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use pointsman_tests::answer::{chat, pair_of};
use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::burst::burst;
use pointsman_tests::evidence::Part;
use pointsman_tests::istio::kubelet::Kubelet;
use pointsman_tests::istio::{Front, Mesh};
use pointsman_tests::process::Process;
use serde_json::Value;

use crate::objects::{EPP, GATEWAY, INSTALL, MODELS, PAIRS, SCHEDULER};

/// Requests at a time.
pub(crate) const CONCURRENCY: usize = 12;
const SYSTEM: &str = "pointsman-system";

/// The operator with its definitions and rights, leading.
pub(crate) fn operator(mesh: &Mesh) -> Process {
    let cluster = &mesh.cluster;
    for file in ["crds.yaml", "role.yaml", "operator.yaml"] {
        let path = workspace().join("deploy/operator").join(file);
        cluster.apply(&fs::read_to_string(path).expect("the file is in the clone"));
    }
    // The run is the operator's node.
    let scale = [
        "scale",
        "-n",
        SYSTEM,
        "deployment/pointsman-operator",
        "--replicas=0",
    ];
    cluster.kubectl(&scale);
    let mut command = Command::new(pointsman());
    command.args([
        "operator",
        "--leader-elect",
        "--leader-election-namespace",
        SYSTEM,
    ]);
    command.args([
        "--metrics-bind-address",
        "0",
        "--health-probe-bind-address",
        "0",
        "--kubeconfig",
    ]);
    command.arg(cluster.kubeconfig_of(SYSTEM, "pointsman-operator"));
    Process::start("operator", command)
}

/// The lab as far as it stands.
pub(crate) struct Lab<'a> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) kubelet: Kubelet<'a>,
    pub(crate) front: Option<Front>,
}

/// What became of a burst.
pub(crate) struct Burst {
    pub(crate) good: usize,
    pub(crate) as_chosen: usize,
    pub(crate) decisions: usize,
    pub(crate) spurious: u64,
    pub(crate) passed_over: u64,
    pub(crate) split: BTreeMap<&'static str, usize>,
}

impl Burst {
    pub(crate) fn of(&self, pair: &str) -> usize {
        self.split.get(pair).copied().unwrap_or_default()
    }

    pub(crate) fn shown(&self) -> String {
        format!("{} p2p, {} fs", self.of("p2p"), self.of("fs"))
    }
}

/// A line of the picker's log.
pub(crate) struct Decision {
    pub(crate) id: String,
    pub(crate) length: u64,
    pub(crate) pair: &'static str,
}

impl Decision {
    pub(crate) fn read(line: &Value) -> Option<Self> {
        if line["msg"] != "Scoring decision" {
            return None;
        }
        let name = line["selected"][0].as_str()?;
        let mut pairs = PAIRS.iter().map(|(pair, _)| *pair);
        Some(Self {
            id: line["request_id"].as_str()?.to_owned(),
            length: line["prompt_len"].as_u64()?,
            pair: pairs.find(|it| name.starts_with(&format!("{MODELS}/vllm-{it}-proxy-")))?,
        })
    }
}

impl<'a> Lab<'a> {
    /// Before anything of it stands.
    pub(crate) fn new(mesh: &'a Mesh) -> Self {
        Self {
            mesh,
            kubelet: Kubelet::new(&mesh.cluster),
            front: None,
        }
    }

    pub(crate) fn front(&self) -> &Front {
        self.front.as_ref().expect("the gateway stands")
    }

    /// Applies everything, the servers first: whoever asks them wants their names.
    pub(crate) fn install(&mut self, part: &mut Part) {
        self.stack("servers");
        let mut hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        for (pair, _) in PAIRS {
            for role in ["prefill", "decode"] {
                let name = format!("vllm-{role}-{pair}");
                let address = self.kubelet.pod(MODELS, &name).address;
                hosts.push_str(&format!(
                    "{address} {name} {name}.{MODELS}.svc.cluster.local\n"
                ));
            }
        }
        let file = std::env::var("POINTSMAN_ISTIO_HOSTS").expect("xtask names the file of hosts");
        fs::write(file, hosts).expect("the file of hosts can be written");
        self.stack("proxies,pool,routes,install");
        for (pair, _) in PAIRS {
            self.kubelet.pod(MODELS, &format!("vllm-{pair}-proxy"));
        }
        let picker = self.kubelet.pod(SCHEDULER, EPP);
        picker.process.wait_line("two endpoints", |line| {
            line.contains("endpoints: 2 in the pool").then_some(())
        });
        let started = picker.arguments.join(" ");
        let path = "jsonpath={.spec.template.spec.containers[0].args[*]}";
        let get = ["get", "deployment", "-n", SCHEDULER, EPP, "-o", path];
        let good = started == self.mesh.cluster.kubectl(&get);
        part.check(
            "the picker's arguments are the Deployment's",
            format!("`{started}`"),
            good,
        );
        self.front = Some(
            self.mesh
                .front(SCHEDULER, GATEWAY, Ipv4Addr::new(10, 244, 9, 1).into()),
        );
        self.front().wait_answer(&chat("first", 1));
    }

    /// These parts of the lab, without GPUs.
    fn stack(&self, parts: &str) {
        let (status, text) = self.pointsman(&["stack", "apply", "--simulated", "--parts", parts]);
        assert_eq!(status, Some(0), "stack apply --parts {parts}: {text}");
    }

    /// A command for the cluster; its exit code and what it said.
    pub(crate) fn pointsman(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(pointsman());
        command.args(arguments).arg("--kubeconfig");
        command.arg(self.mesh.cluster.kubeconfig());
        let output = command.output().expect("pointsman starts");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// What `verify --kube` says: its exit code, and the checks that do not hold with their causes.
    pub(crate) fn verified(&self) -> (Option<i32>, Vec<String>) {
        let arguments = [
            "verify",
            "--kube",
            "--direct",
            "--timeout",
            "300s",
            "-o",
            "json",
        ];
        let (status, text) = self.pointsman(&arguments);
        let mut documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let report = documents.next().and_then(Result::ok).unwrap_or_default();
        let checks = report["checks"].as_array().into_iter().flatten();
        let bad = checks.filter(|check| check["ok"] == false).map(|check| {
            let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("name"), text("cause"))
        });
        let bad: Vec<String> = bad.collect();
        match report["checks"].is_array() {
            true => (status, bad),
            false => (status, vec![text]),
        }
    }

    /// A field of the custom resource.
    pub(crate) fn of_install(&self, path: &str) -> String {
        let path = format!("jsonpath={path}");
        let get = [
            "get",
            "schedulerinstall",
            "-n",
            SCHEDULER,
            INSTALL,
            "-o",
            &path,
        ];
        self.mesh.cluster.kubectl(&get)
    }

    pub(crate) fn filters(&self) -> usize {
        let all = self
            .mesh
            .cluster
            .kubectl(&["get", "envoyfilters", "-A", "-o", "name"]);
        all.lines().count()
    }

    /// The picker's decisions so far, in their order.
    pub(crate) fn decisions(&mut self) -> Vec<Decision> {
        let picker = self.kubelet.pod(SCHEDULER, EPP);
        let lines = picker.process.lines();
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter_map(|line: Value| Decision::read(&line))
            .collect()
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.front().ext_proc(name).unwrap_or_default()
    }

    /// So many chat requests through the gateway, with these headers.
    pub(crate) fn burst(&mut self, requests: usize, header: Option<&str>) -> Burst {
        let before = self.decisions().len();
        let counted = ["spurious_msgs_received", "failure_mode_allowed"];
        let [spurious, passed_over] = counted.map(|name| self.counted(name));
        let gateway = self.front().address;
        let answers = burst(requests, CONCURRENCY, |number| {
            let mut request = chat(&format!("hello-{number}"), 8);
            if let Some(backend) = header {
                request = request.header("x-kv-backend", backend);
            }
            let answer = request.answered(gateway);
            let id = answer.header("x-request-id").unwrap_or_default().to_owned();
            (answer.status, id, answer.json())
        });
        let decisions = self.decisions();
        let chosen: BTreeMap<&str, &str> = decisions
            .iter()
            .map(|it| (it.id.as_str(), it.pair))
            .collect();
        let good = answers.iter().filter(|(status, _, _)| *status == 200);
        let served: Vec<(&String, &'static str)> =
            good.map(|(_, id, body)| (id, pair_of(body))).collect();
        let mut split = BTreeMap::new();
        for (_, pair) in &served {
            *split.entry(*pair).or_default() += 1;
        }
        let as_chosen = served
            .iter()
            .filter(|(id, pair)| chosen.get(id.as_str()) == Some(pair));
        Burst {
            good: served.len(),
            as_chosen: as_chosen.count(),
            decisions: decisions.len() - before,
            spurious: self.counted(counted[0]) - spurious,
            passed_over: self.counted(counted[1]) - passed_over,
            split,
        }
    }

    pub(crate) fn patch(&self, patch: &Value) {
        let patch = patch.to_string();
        let patched = [
            "patch",
            "schedulerinstall",
            "-n",
            SCHEDULER,
            INSTALL,
            "--type=merge",
            "-p",
            &patch,
        ];
        self.mesh.cluster.kubectl(&patched);
    }
}
