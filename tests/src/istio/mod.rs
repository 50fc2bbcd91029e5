//! The real Istio: its control plane against a cluster's API server, and the plain Envoy that it drives as a gateway.
//!
//! Only for programs in a network namespace of their own, as `cargo xtask test --istio` starts them: Envoy listens at every
//! address, and pods have addresses as in a cluster.

pub mod kubelet;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use crate::binary::envoy;
use crate::cluster::{Cluster, Setup};
use crate::http::Request;
use crate::patience::until;
use crate::process::Process;
use crate::scratch::Scratch;

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

/// The gateway's Service and pod, as Istio finds them.
const AROUND: &str = "
apiVersion: v1
kind: Service
metadata: {name: <name>-istio, namespace: <namespace>, labels: {gateway.networking.k8s.io/gateway-name: <name>}}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: <name>}
  ports: [{name: http, port: 80, targetPort: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: <name>-istio, namespace: <namespace>, labels: {gateway.networking.k8s.io/gateway-name: <name>}, annotations: {fakelet/pod-ip: <address>}}
spec: {containers: [{name: istio-proxy, image: envoy}]}
";

/// A plain Envoy that takes everything from Istio, as a gateway's pod does, and shows its counters where such a pod does.
const BOOTSTRAP: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
node:
  id: router~<address>~<name>-istio.<namespace>~<namespace>.svc.cluster.local
  cluster: <name>-istio.<namespace>
  metadata: {NAMESPACE: <namespace>, NAME: <name>-istio, CLUSTER_ID: Kubernetes, ISTIO_VERSION: 1.31.0, INSTANCE_IPS: <address>}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  listeners:
  - name: stats
    address: {socket_address: {address: <address>, port_value: 15090}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: stats
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: stats, domains: ["*"], routes: [{match: {path: /stats/prometheus}, route: {cluster: admin}}]}]}
  clusters:
  - name: admin
    type: STATIC
    load_assignment: {cluster_name: admin, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}}]}]}
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15010}}}}]}]}
"#;

/// A cluster with controllers, a node and Istio's control plane.
pub struct Mesh {
    _pilot: Process,
    /// The cluster.
    pub cluster: Cluster,
    /// Files of the run.
    pub files: Scratch,
}

impl Mesh {
    /// Starts both, with these namespaces in them.
    ///
    /// # Panics
    /// When one does not start, or `POINTSMAN_ISTIO` does not say where Istio is.
    #[track_caller]
    pub fn start(namespaces: &[&str]) -> Self {
        let cluster = Cluster::start(&Setup {
            controllers: true,
            nodes: 1,
            ..Setup::plain()
        });
        let istio = std::env::var("POINTSMAN_ISTIO").expect(
            "POINTSMAN_ISTIO names the folder of Istio: run this by `cargo xtask test --istio`",
        );
        let definitions = format!("{istio}/crds.yaml");
        let apply = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            &definitions,
        ];
        cluster.kubectl(&apply);
        until("the node to be ready", || {
            let nodes = cluster.try_kubectl(&["get", "nodes"]).ok()?;
            nodes.contains(" Ready ").then_some(())
        });
        for namespace in [&["istio-system"], namespaces].concat() {
            cluster.kubectl(&["create", "namespace", namespace]);
        }
        for namespace in namespaces {
            until("the namespace's ServiceAccount", || {
                let get = ["get", "serviceaccount", "default", "-n", namespace];
                cluster.try_kubectl(&get).ok()
            });
        }
        let files = Scratch::new("istio");
        let pilot = pilot(&istio, &cluster, &files);
        Self {
            _pilot: pilot,
            cluster,
            files,
        }
    }

    /// The gateway's Service and pod at an address of this host, and Envoy there.
    ///
    /// # Panics
    /// When something of it does not come to be.
    #[track_caller]
    pub fn front(&self, namespace: &str, name: &str, address: IpAddr) -> Front {
        kubelet::give(address);
        let fill = |text: &str| {
            let text = text
                .replace("<namespace>", namespace)
                .replace("<name>", name);
            text.replace("<address>", &address.to_string())
        };
        self.cluster.apply(&fill(AROUND));
        until("the gateway's pod to be ready", || {
            let path = "jsonpath={.items[*].endpoints[*].conditions.ready}";
            let which = format!("kubernetes.io/service-name={name}-istio");
            let get = [
                "get",
                "endpointslices",
                "-n",
                namespace,
                "-l",
                &which,
                "-o",
                path,
            ];
            let found = self.cluster.try_kubectl(&get).ok()?;
            found.contains("true").then_some(())
        });
        let bootstrap = self.files.file("envoy.yaml", &fill(BOOTSTRAP));
        let mut command = Command::new(envoy());
        command.args([
            "-c",
            &bootstrap,
            "--disable-hot-restart",
            "--concurrency",
            "2",
        ]);
        command.args(["--log-level", "warning"]);
        Front {
            process: Process::start("envoy", command),
            address: SocketAddr::new(address, 80),
        }
    }

    /// What Istio says of a pool, once it says something: `Accepted=True ResolvedRefs=True`.
    ///
    /// # Panics
    /// When it says nothing.
    #[track_caller]
    pub fn pool_conditions(&self, namespace: &str, pool: &str) -> String {
        let path = "jsonpath={range .status.parents[*].conditions[*]}{.type}={.status} {end}";
        let get = ["get", "inferencepool", "-n", namespace, pool, "-o", path];
        let found = until("Istio's conditions of the pool", || {
            let found = self.cluster.kubectl(&get);
            found.contains("ResolvedRefs=").then_some(found)
        });
        found.trim().to_owned()
    }
}

fn pilot(istio: &str, cluster: &Cluster, files: &Scratch) -> Process {
    let mesh = files.file("mesh.yaml", MESH);
    let mut command = Command::new(format!("{istio}/pilot-discovery"));
    command.args(["discovery", "--kubeconfig"]);
    command.arg(cluster.kubeconfig());
    command.args(["--meshConfig", &mesh, "--httpAddr", "127.0.0.1:15080"]);
    command.args(["--httpsAddr", "", "--secureGRPCAddr", ""]);
    command.args([
        "--grpcAddr",
        "127.0.0.1:15010",
        "--ctrlz_address",
        "127.0.0.1",
    ]);
    command.args(["--monitoringAddr", "127.0.0.1:15014"]);
    command.envs(PILOT);
    let process = Process::start("pilot-discovery", command);
    process.wait_line("to be ready", |line| {
        line.contains("marking server ready").then_some(())
    });
    process
}

/// The Envoy of a gateway.
pub struct Front {
    /// The child.
    pub process: Process,
    /// Where clients go.
    pub address: SocketAddr,
}

impl Front {
    /// Waits until Istio has sent all of it and a request is answered.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn wait_answer(&self, request: &Request) {
        until("a first answer through the gateway", || {
            let answer = request.send(self.address).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Envoy's own count of what went between it and the picker, over all routes; `None`: it does not count that.
    ///
    /// # Panics
    /// When Envoy does not answer.
    #[track_caller]
    pub fn ext_proc(&self, name: &str) -> Option<u64> {
        let admin = SocketAddr::from(([127, 0, 0, 1], 15000));
        let stats = Request::get("/stats?filter=ext_proc")
            .answered(admin)
            .text();
        let suffix = format!("ext_proc.{name}: ");
        let lines = stats.lines();
        let values = lines.filter_map(|line| line.split_once(&suffix)?.1.trim().parse().ok());
        values.reduce(|a: u64, b: u64| a + b)
    }
}
