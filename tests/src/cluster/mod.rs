//! A real Kubernetes API server on loopback, with the definitions of [`crds`](crate::cluster::Setup::crds) in it.
//!
//! It starts in seconds and takes about half a gigabyte, so the tests of one binary share one ([`Cluster::shared`])
//! and use a namespace each. It never outlives the test process, however that ends.

pub mod between;
mod component;
mod kubectl;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::binary::{kubernetes, workspace};
use crate::patience::until;
use crate::port;
use component::{Component, Sweeper};

/// How often the control plane is started with new ports when another process was quicker to take one.
const ATTEMPTS: usize = 4;

/// What runs beside etcd and the API server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// The controller manager: deletion by owner, ReplicaSets of Deployments, the `default` ServiceAccount, deletion
    /// of namespaces, EndpointSlices.
    pub controllers: bool,
    /// The scheduler and this many nodes, whose pods run and are ready at once. A pod's annotations steer that:
    /// `fakelet/pod-ip: ADDRESS`, `fakelet/not-ready: "true"`, `fakelet/manual: "true"` (its status is left alone).
    /// Needs the controllers.
    pub nodes: usize,
    /// Folders of `tests/crds` whose definitions are applied; with `all` every one of them.
    pub crds: Vec<&'static str>,
    /// Whether every request is written down ([`Cluster::audit`]).
    pub audit: bool,
}

impl Setup {
    /// Etcd and API server only, with all definitions.
    pub fn plain() -> Self {
        Self {
            crds: vec!["all"],
            ..Self::default()
        }
    }
}

/// A running control plane.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    ports: [u16; 3],
    running: Mutex<Running>,
    _sweeper: Sweeper,
}

/// In the order in which they are ended.
#[derive(Default)]
struct Running {
    beside: Vec<Component>,
    api: Option<Component>,
    etcd: Option<Component>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.beside.clear();
        self.api = None;
        self.etcd = None;
    }
}

impl Cluster {
    /// The one that all tests of this process share; it ends with the process.
    ///
    /// # Panics
    /// When it does not start, or is asked for with another setup than the first time.
    #[track_caller]
    pub fn shared(setup: &Setup) -> &'static Self {
        static SHARED: OnceLock<(Setup, Cluster)> = OnceLock::new();
        let (first, cluster) = SHARED.get_or_init(|| (setup.clone(), Self::start(setup)));
        assert_eq!(first, setup, "the shared cluster was started otherwise");
        cluster
    }

    /// One of one's own.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(setup: &Setup) -> Self {
        let mut attempt = 1;
        loop {
            match Self::attempt(setup) {
                Ok(cluster) => return cluster,
                Err(lines) if attempt < ATTEMPTS && lines.contains("address already in use") => {
                    attempt += 1;
                }
                Err(lines) => panic!("the control plane does not start:\n{lines}"),
            }
        }
    }

    fn attempt(setup: &Setup) -> Result<Self, String> {
        let folder = folder();
        let cluster = Self {
            programs: kubernetes(),
            ports: [port::free(), port::free(), port::free()].map(|address| address.port()),
            running: Mutex::default(),
            _sweeper: Sweeper::of(&folder),
            folder,
        };
        cluster.write_keys(setup);
        let etcd = cluster.launch("etcd", &cluster.etcd_arguments());
        cluster.lock().etcd = Some(etcd);
        cluster.lock().api = Some(cluster.launch("kube-apiserver", &cluster.api_arguments(setup)));
        cluster.wait_certificate()?;
        let token = cluster.admin_token();
        cluster.write_kubeconfig("kubeconfig", &token);
        cluster.wait_ready()?;
        cluster.apply_definitions(&setup.crds);
        cluster.start_beside(setup);
        Ok(cluster)
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Where the API server listens.
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports[2])
    }

    /// Ends the API server at once, as a crash does; etcd keeps its objects.
    pub fn stop_api(&self) {
        let api = self.lock().api.take();
        drop(api);
    }

    /// Starts the API server again, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start_api(&self, setup: &Setup) {
        let api = self.launch("kube-apiserver", &self.api_arguments(setup));
        self.lock().api = Some(api);
        if let Err(lines) = self.wait_ready() {
            panic!("the API server does not start again:\n{lines}");
        }
    }

    /// All requests so far that were answered, one value of `audit.k8s.io/v1` each.
    ///
    /// # Panics
    /// When the setup did not ask for them.
    #[track_caller]
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let path = self.folder.join("audit.log");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; Setup::audit", path.display()));
        // The last line may still be half written.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, program: &str, arguments: &[String]) -> Component {
        let log = self.folder.join(format!("{program}.log"));
        Component::start(&self.programs.join(program), arguments, &log)
    }

    /// The folder of the state, as text for command lines.
    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let [client, peer] = [0, 1].map(|at| format!("http://127.0.0.1:{}", self.ports[at]));
        [
            "--name=tests".to_owned(),
            format!("--data-dir={}", self.file("etcd")),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=tests={peer}"),
        ]
        .to_vec()
    }

    fn api_arguments(&self, setup: &Setup) -> Vec<String> {
        let key = self.file("signing.key");
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports[0]),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports[2]),
            format!("--cert-dir={}", self.file("certificates")),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            "--allow-privileged=true".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            "--shutdown-delay-duration=0s".to_owned(),
        ];
        if !setup.controllers {
            // Nobody makes the ServiceAccount `default`, without which no pod would be let in.
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        if setup.audit {
            arguments.extend([
                format!("--audit-policy-file={}", self.file("audit.yaml")),
                format!("--audit-log-path={}", self.file("audit.log")),
                "--audit-log-mode=blocking".to_owned(),
            ]);
        }
        arguments
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }

    fn write_keys(&self, setup: &Setup) {
        let token: String = (0..3).map(|_| random_word()).collect();
        self.write(
            "tokens.csv",
            &format!("{token},admin,admin,system:masters\n"),
        );
        component::make_key(&self.programs, &self.folder.join("signing.key"));
        if setup.audit {
            self.write("audit.yaml", AUDIT);
        }
    }

    fn admin_token(&self) -> String {
        let line = std::fs::read_to_string(self.folder.join("tokens.csv")).unwrap_or_default();
        line.split(',').next().unwrap_or_default().to_owned()
    }

    /// Waits for the certificate that the API server makes itself.
    fn wait_certificate(&self) -> Result<(), String> {
        let path = self.folder.join("certificates/apiserver.crt");
        self.wait("the API server's certificate", || {
            std::fs::metadata(&path).is_ok_and(|found| found.len() > 0)
        })
    }

    fn wait_ready(&self) -> Result<(), String> {
        self.wait("the API server to be ready", || {
            self.try_kubectl(&["get", "--raw=/readyz"]).is_ok()
        })
    }

    /// Waits for a condition, or until etcd or the API server has ended.
    fn wait(&self, what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
        let good = until(what, || {
            if is_so() {
                return Some(true);
            }
            let mut running = self.lock();
            let Running { api, etcd, .. } = &mut *running;
            let ended = [api, etcd].into_iter().flatten().any(Component::has_ended);
            ended.then_some(false)
        });
        if good {
            return Ok(());
        }
        let logs = ["etcd", "kube-apiserver"].map(|program| {
            let text = std::fs::read_to_string(self.folder.join(format!("{program}.log")));
            let text = text.unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!(
                "{program}:\n{}",
                lines[lines.len().saturating_sub(8)..].join("\n")
            )
        });
        Err(format!("{what}\n{}", logs.join("\n")))
    }

    /// Definitions come first: controllers notice kinds that are added later only after half a minute.
    fn apply_definitions(&self, folders: &[&str]) {
        let all = workspace().join("tests/crds");
        for name in folders {
            let folder = if *name == "all" {
                all.clone()
            } else {
                all.join(name)
            };
            self.apply_folder(&folder);
        }
        if !folders.is_empty() {
            self.kubectl(&[
                "wait",
                "--for=condition=Established",
                "--all",
                "crd",
                "--timeout=60s",
            ]);
        }
    }

    /// Applies every definition below a folder of `tests/crds`, or a file of it.
    ///
    /// # Panics
    /// When the API server refuses one.
    #[track_caller]
    pub fn apply_folder(&self, folder: &Path) {
        let folder = folder.to_string_lossy();
        self.kubectl(&["apply", "--server-side", "-R", "-f", &folder]);
    }

    fn start_beside(&self, setup: &Setup) {
        assert!(
            setup.controllers || setup.nodes == 0,
            "nodes need the controllers"
        );
        let kubeconfig = format!("--kubeconfig={}", self.file("kubeconfig"));
        let common = [
            kubeconfig,
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let mut beside = Vec::new();
        if setup.controllers {
            let own = [
                "--controllers=*,-node-lifecycle-controller".to_owned(),
                format!(
                    "--service-account-private-key-file={}",
                    self.file("signing.key")
                ),
                format!("--root-ca-file={}", self.file("certificates/apiserver.crt")),
                "--use-service-account-credentials=false".to_owned(),
            ];
            beside.push(self.launch("kube-controller-manager", &[&common[..], &own].concat()));
        }
        if setup.nodes > 0 {
            beside.push(self.launch("kube-scheduler", &common));
            let arguments = [self.file("kubeconfig"), setup.nodes.to_string()];
            beside.push(self.launch("fakelet", &arguments));
        }
        self.lock().beside = beside;
        if setup.controllers {
            until("the ServiceAccount default", || {
                self.try_kubectl(&["get", "serviceaccount", "-n", "default", "default"])
                    .ok()
            });
        }
    }
}

/// Every request in one line; of those that change something also the body.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [\"system:apiserver\"]}
- {level: Request, verbs: [create, update, patch, delete, deletecollection]}
- {level: Metadata}
";

/// A new folder for the state.
fn folder() -> PathBuf {
    let name = format!("pointsman-cluster-{}-{}", std::process::id(), random_word());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("make {}: {error}", folder.display()));
    folder
}

/// Sixteen digits that nobody can guess: the hasher's keys are random.
pub(crate) fn random_word() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
