//! A picker that takes its pool from the API server, with pods at loopback addresses.

use std::net::SocketAddr;
use std::path::Path;

use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use serde_json::{Value, json};

const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
";

/// What the shared cluster starts with; other definitions come while pickers wait for them.
pub(crate) fn setup() -> Setup {
    Setup {
        crds: vec!["gaie-v1.5.0"],
        ..Setup::default()
    }
}

/// A namespace of a cluster.
pub(crate) struct Bed<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
    files: Scratch,
}

impl<'a> Bed<'a> {
    /// A fresh one.
    pub(crate) fn new(cluster: &'a Cluster, name: &str) -> Self {
        Self {
            cluster,
            namespace: cluster.namespace(name),
            files: Scratch::new(name),
        }
    }

    /// A picker with these flags, alive and perhaps not ready; whoever reaches its metrics port may read.
    #[track_caller]
    pub(crate) fn picker(&self, kubeconfig: &Path, flags: &[&str]) -> Picker {
        let flags = [&["--metrics-endpoint-auth=false"], flags].concat();
        self.picker_as_it_comes(kubeconfig, &flags)
    }

    /// The same, without that.
    #[track_caller]
    pub(crate) fn picker_as_it_comes(&self, kubeconfig: &Path, flags: &[&str]) -> Picker {
        let config = self.files.file("config.yaml", CONFIG);
        let namespace = format!("--pool-namespace={}", self.namespace);
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let own = [
            "--secure-serving=false",
            "--config-file",
            &config,
            &namespace,
            &kubeconfig,
        ];
        Picker::alive(&[&own[..], flags].concat())
    }

    /// The picker of the pool `pool`.
    #[track_caller]
    pub(crate) fn picker_of_pool(&self, flags: &[&str]) -> Picker {
        let own = ["--pool-name", "pool"];
        self.picker(&self.cluster.kubeconfig(), &[&own[..], flags].concat())
    }

    /// Makes or changes the pool `pool` over pods with the label `app: <app>`.
    #[track_caller]
    pub(crate) fn pool(&self, app: &str, ports: &[u16]) {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"number": port})).collect();
        self.apply(json!({
            "apiVersion": "inference.networking.k8s.io/v1",
            "kind": "InferencePool",
            "metadata": {"name": "pool"},
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "targetPorts": ports,
                "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
            },
        }));
    }

    /// Applies an object of this namespace.
    #[track_caller]
    pub(crate) fn apply(&self, mut object: Value) {
        object["metadata"]["namespace"] = json!(self.namespace);
        self.cluster.apply(&object.to_string());
    }

    /// A pod on a node, so that its deletion takes until somebody says that it has ended.
    #[track_caller]
    pub(crate) fn pod(&self, name: &str, app: &str, annotations: Value) {
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}, "annotations": annotations},
            "spec": {"nodeName": "somewhere", "containers": [{"name": "c", "image": "none"}]},
        }));
    }

    /// What a kubelet would say of it.
    #[track_caller]
    pub(crate) fn status(&self, pod: &str, address: &str, is_ready: bool) {
        let ready = if is_ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let object = format!("pod/{pod}");
        self.cluster
            .patch_status(&self.namespace, &object, &status.to_string());
    }

    /// Waits until the picker knows exactly these endpoints, `<name> <address>`, in the order of names.
    #[track_caller]
    pub(crate) fn wait_endpoints(&self, picker: &Picker, expected: &[&str]) {
        let mut last = Vec::new();
        let expected: Vec<String> = expected
            .iter()
            .map(|row| format!("{}/{row}", self.namespace))
            .collect();
        until(&format!("the endpoints {expected:?}"), || {
            let found = endpoints(picker);
            if found != last {
                println!("endpoints: {found:?}");
                last.clone_from(&found);
            }
            (found == expected).then_some(())
        });
    }
}

/// `<name> <address>` of all endpoints.
pub(crate) fn endpoints(picker: &Picker) -> Vec<String> {
    let mut rows: Vec<String> = picker
        .server
        .endpoints()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("name"), text("address"))
        })
        .collect();
    rows.sort();
    rows
}

/// Waits until `/debug/discovery` satisfies.
#[track_caller]
pub(crate) fn wait_discovery(picker: &Picker, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let view = picker.server.admin_json("/debug/discovery");
        holds(&view).then_some(view)
    })
}

/// The state of one watch.
pub(crate) fn state<'a>(view: &'a Value, what: &str) -> &'a str {
    let mut watches = view["watches"].as_array().into_iter().flatten();
    let found = watches.find(|watch| watch["what"] == what);
    found.map_or("", |watch| watch["state"].as_str().unwrap_or(""))
}

/// Whether the picker says that it is ready.
pub(crate) fn is_ready(picker: &Picker) -> bool {
    let request = pointsman_tests::http::Request::get("/readyz");
    request
        .send(picker.server.admin)
        .is_ok_and(|response| response.status == 200)
}

/// Model servers at 127.0.0.<each>, on one port, which say where they are and which model they were asked for.
pub(crate) fn servers(hosts: &[u8]) -> (Vec<Backend>, u16) {
    let port = port::free().port();
    let start = |host: &u8| {
        let address = SocketAddr::from(([127, 0, 0, *host], port));
        Backend::at(address, move |request: &Received, reply: &mut Reply| {
            if request.path == "/metrics" {
                return reply.whole(404, "text/plain", b"");
            }
            let model = request.json()["model"].clone();
            reply.json(
                200,
                &json!({"host": address.ip().to_string(), "model": model}),
            );
        })
    };
    (hosts.iter().map(start).collect(), port)
}
