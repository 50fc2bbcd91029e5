//! Everything about the lab that can be another way; the defaults are the lab's own.

use crate::spec::install::{EPP_NAME, GATEWAY_CLASS, GATEWAY_NAME, POOL_NAME, PROXY_NAME};
use crate::stack::volume::Source;

/// The lab's own values.
pub mod defaults {
    /// Where servers, proxies and pool are.
    pub const NAMESPACE: &str = "llm-d-vllm";
    /// Where simulated servers of a `SimulatorDeployment` are.
    pub const SIMULATOR_NAMESPACE: &str = "llm-d-sim";
    /// Where picker, gateway and route are.
    pub const SCHEDULER_NAMESPACE: &str = "llm-d-inference-scheduler";
    /// The model.
    pub const MODEL: &str = "Qwen/Qwen3-Coder-30B-A3B-Instruct";
    /// The servers' image.
    pub const IMAGE: &str = "vllm/vllm-openai:v0.15.0";
    /// Ours.
    pub const POINTSMAN_IMAGE: &str = concat!("pointsman:", env!("CARGO_PKG_VERSION"));
    /// The GPUs of the nodes that servers run on.
    pub const GPU_PRODUCT: &str = "NVIDIA-H100-NVL";
    /// Share of a GPU's memory that a server takes.
    pub const GPU_MEMORY: &str = "0.90";
    /// Tokens of prompt and answer together.
    pub const MAX_MODEL_LEN: u32 = 2048;
    /// How tool calls are read out of answers.
    pub const TOOL_CALL_PARSER: &str = "qwen3_coder";
    /// The servers' port.
    pub const PORT: u16 = 8000;
    /// The port on which servers hand over KV.
    pub const KV_PORT: u16 = 14579;
    /// The proxies' port.
    pub const PROXY_PORT: u16 = 8080;
    /// The port of servers of a `SimulatorDeployment`.
    pub const SIMULATOR_PORT: u16 = 8200;
    /// Where a node keeps the KV that goes through its file system.
    pub const KV_VOLUME: &str = "host:/var/lib/pointsman/kv-cache";
    /// The pool of proxies.
    pub const POOL: &str = "vllm-proxy-performance";
    /// The route by header.
    pub const AB_ROUTE: &str = "vllm-ab-test";
    /// The header that it looks at.
    pub const AB_HEADER: &str = "x-kv-backend";
    /// The `SchedulerInstall`.
    pub const INSTALL: &str = "llm-sched-install";
    /// The `SimulatorDeployment`.
    pub const SIMULATOR: &str = "llm-sim";
}

/// What kind of servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Pairs of a prefill and a decode server with a proxy each.
    Pairs,
    /// A `SimulatorDeployment`, whose decode servers are the candidates.
    Simulator,
}

/// A part that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Prefill and decode servers.
    Servers,
    /// The proxies.
    Proxies,
    /// The InferencePool.
    Pool,
    /// The route by header, and the grant that it needs.
    Routes,
    /// The `SchedulerInstall`: picker, gateway, the route to the pool.
    Install,
}

/// How a pair moves its KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// GPU to GPU over NVLink.
    P2p,
    /// Through a file system that both can reach.
    Fs,
}

impl Backend {
    /// As names of objects say it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Fs => "fs",
        }
    }

    /// As the label by which profiles filter says it, and the header of the route.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::P2p => "nvlink",
            Self::Fs => "fs",
        }
    }
}

/// What servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Bare pods, as in the lab.
    Pods,
    /// Deployments, which come again when a node is lost, and take changes.
    Deployments,
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What kind of servers there are.
    pub shape: Shape,
    /// Which parts are made.
    pub parts: Vec<Part>,
    /// Pairs that move KV from GPU to GPU.
    pub p2p_pairs: u32,
    /// Pairs that move KV through a file system.
    pub fs_pairs: u32,
    /// No GPUs: simulated servers, and our image everywhere.
    pub simulated: bool,
    /// Where servers, proxies and pool are.
    pub namespace: String,
    /// Where picker, gateway and routes are.
    pub scheduler_namespace: String,
    /// The model.
    pub model: String,
    /// The servers' image.
    pub image: String,
    /// Ours: of the proxies, and of simulated servers.
    pub pointsman_image: String,
    /// What servers run as.
    pub workload: Workload,
    /// GPUs of a server, which share its tensors.
    pub gpus: u32,
    /// Labels of the nodes that servers run on.
    pub node_selector: Vec<(String, String)>,
    /// Share of a GPU's memory that a server takes.
    pub gpu_memory: String,
    /// Tokens of prompt and answer together.
    pub max_model_len: u32,
    /// How tool calls are read out of answers; empty for not at all.
    pub tool_call_parser: String,
    /// Further arguments of every server.
    pub server_args: Vec<String>,
    /// Where models are kept.
    pub model_volume: Source,
    /// The Secret whose key `token` lets servers fetch the model.
    pub token_secret: Option<String>,
    /// Where KV that goes through a file system is kept.
    pub kv_volume: Source,
    /// The servers' port.
    pub port: u16,
    /// The port on which servers hand over KV.
    pub kv_port: u16,
    /// The proxies' port; that of the servers in a `SimulatorDeployment`.
    pub proxy_port: u16,
    /// Servers of each stage of a `SimulatorDeployment`.
    pub replicas: u32,
    /// The pool.
    pub pool: String,
    /// What a gateway does without a picker: FailOpen or FailClose.
    pub failure_mode: String,
    /// The route by header.
    pub ab_route: String,
    /// The header that it looks at.
    pub ab_header: String,
    /// The `SchedulerInstall`.
    pub install: String,
    /// The `SimulatorDeployment`.
    pub simulator: String,
    /// How the picker picks.
    pub profile: String,
    /// The picker's name.
    pub epp: String,
    /// Its image; none leaves it to the definition's default, which is the lab's.
    pub epp_image: Option<String>,
    /// Its port.
    pub epp_port: u16,
    /// The Service in front of the candidates.
    pub proxy_service: String,
    /// The Gateway.
    pub gateway: String,
    /// Its class.
    pub gateway_class: String,
    /// The port on which it listens.
    pub gateway_port: u16,
    /// How the gateway is told to ask the picker.
    pub filter_mode: String,
    /// How Istio balances over the Service; empty for no rule.
    pub balancing: String,
    /// Requests that may wait for a connection.
    pub max_pending: u32,
    /// Requests that a connection serves.
    pub max_per_connection: u32,
}

impl Default for Settings {
    /// The lab with both pairs on one node.
    fn default() -> Self {
        let own = str::to_owned;
        Self {
            shape: Shape::Pairs,
            parts: vec![
                Part::Servers,
                Part::Proxies,
                Part::Pool,
                Part::Routes,
                Part::Install,
            ],
            p2p_pairs: 1,
            fs_pairs: 1,
            simulated: false,
            namespace: own(defaults::NAMESPACE),
            scheduler_namespace: own(defaults::SCHEDULER_NAMESPACE),
            model: own(defaults::MODEL),
            image: own(defaults::IMAGE),
            pointsman_image: own(defaults::POINTSMAN_IMAGE),
            workload: Workload::Pods,
            gpus: 1,
            node_selector: vec![(own("nvidia.com/gpu.product"), own(defaults::GPU_PRODUCT))],
            gpu_memory: own(defaults::GPU_MEMORY),
            max_model_len: defaults::MAX_MODEL_LEN,
            tool_call_parser: own(defaults::TOOL_CALL_PARSER),
            server_args: Vec::new(),
            model_volume: Source::Empty,
            token_secret: None,
            kv_volume: Source::Host(own("/var/lib/pointsman/kv-cache")),
            port: defaults::PORT,
            kv_port: defaults::KV_PORT,
            proxy_port: defaults::PROXY_PORT,
            replicas: 2,
            pool: own(defaults::POOL),
            failure_mode: own("FailClose"),
            ab_route: own(defaults::AB_ROUTE),
            ab_header: own(defaults::AB_HEADER),
            install: own(defaults::INSTALL),
            simulator: own(defaults::SIMULATOR),
            profile: own("proxy-performance"),
            epp: own(EPP_NAME),
            epp_image: None,
            epp_port: 9002,
            proxy_service: own(PROXY_NAME),
            gateway: own(GATEWAY_NAME),
            gateway_class: own(GATEWAY_CLASS),
            gateway_port: 80,
            filter_mode: own("Auto"),
            balancing: own("ROUND_ROBIN"),
            max_pending: 1,
            max_per_connection: 1,
        }
    }
}

impl Settings {
    /// The lab without GPUs and proxies: a `SimulatorDeployment` of our image, its decode servers behind a picker.
    pub fn of_simulator() -> Self {
        Self {
            shape: Shape::Simulator,
            simulated: true,
            namespace: defaults::SIMULATOR_NAMESPACE.to_owned(),
            proxy_port: defaults::SIMULATOR_PORT,
            pool: POOL_NAME.to_owned(),
            profile: "default".to_owned(),
            ..Self::default()
        }
    }

    /// All pairs, in order.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let of = |backend, count| (0..count).map(move |number| Pair { backend, number });
        of(Backend::P2p, self.p2p_pairs)
            .chain(of(Backend::Fs, self.fs_pairs))
            .collect()
    }

    /// The backends of which there is a pair.
    pub(crate) fn backends(&self) -> Vec<Backend> {
        let counts = [(Backend::P2p, self.p2p_pairs), (Backend::Fs, self.fs_pairs)];
        let used = counts.into_iter().filter(|(_, count)| *count > 0);
        used.map(|(backend, _)| backend).collect()
    }

    /// The labels of the candidates.
    pub(crate) fn candidates(&self) -> Vec<(&'static str, &'static str)> {
        match self.shape {
            Shape::Pairs => vec![("role", "proxy")],
            Shape::Simulator => vec![
                ("llm-d.ai/inferenceServing", "true"),
                ("llm-d.ai/role", "decode"),
            ],
        }
    }
}

/// One pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) backend: Backend,
    /// Counts the pairs of one backend from 0.
    pub(crate) number: u32,
}

impl Pair {
    fn named(&self, start: &str) -> String {
        match self.number {
            0 => start.to_owned(),
            number => format!("{start}-{number}"),
        }
    }

    /// Its proxy.
    pub(crate) fn proxy(&self) -> String {
        self.named(&format!("vllm-{}-proxy", self.backend.word()))
    }

    /// The server that does this.
    pub(crate) fn server(&self, role: &str) -> String {
        self.named(&format!("vllm-{role}-{}", self.backend.word()))
    }

    /// The label `app` of everything of this backend.
    pub(crate) fn app(&self) -> String {
        format!("vllm-{}-test", self.backend.word())
    }

    /// The label that keeps the two servers of a pair together.
    pub(crate) fn case(&self) -> String {
        self.named(&format!("{}-same", self.backend.word()))
    }
}
