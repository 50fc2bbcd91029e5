//! `pointsman epp`: the picker that a gateway asks.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::http::Request;
use crate::patience::until;
use crate::port;
use crate::process::Process;
use crate::server::{Gateway, plain};

/// How often the picker is started with new ports when another process was quicker to take one.
const ATTEMPTS: usize = 4;

/// A picker with its ports.
pub struct Picker {
    /// The process; its `address` is the ext_proc port, its `admin` the metrics port.
    pub server: Gateway,
    /// The health port.
    pub health: SocketAddr,
}

impl Picker {
    /// A picker without TLS for the endpoints of a file, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn before(endpoints: &str, flags: &[&str]) -> Self {
        let flags = [&["--endpoints", endpoints, "--secure-serving=false"], flags].concat();
        Self::start(&flags)
    }

    /// A picker with these flags beside its ports, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        Self::up_to("/readyz", |ports| with_ports(ports, flags))
    }

    /// The same, alive and not yet ready.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn alive(flags: &[&str]) -> Self {
        Self::up_to("/livez", |ports| with_ports(ports, flags))
    }

    /// A picker with exactly the arguments of the Deployment that the operator of the simulators writes, and this
    /// configuration: no command, and flags that the reference's image of that time takes. What a Deployment does not say, here
    /// the endpoints (a cluster's are its pods) and the port of the metrics, is in the environment.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn deployed(config: &str, endpoints: &str) -> Self {
        Self::by(|[door, health, admin]| {
            let (door, health) = (door.port().to_string(), health.port().to_string());
            let arguments = [
                "--pool-name",
                "gaie-inference-scheduling",
                "--pool-namespace",
                "llm-d-sim",
                "--pool-group",
                "inference.networking.k8s.io",
                "--zap-encoder",
                "json",
                "--config-file",
                config,
                "--kv-cache-usage-percentage-metric",
                "vllm:kv_cache_usage_perc",
                "--secure-serving=false",
                "--grpc-port",
                &door,
                "--grpc-health-port",
                &health,
                "--v",
                "1",
                "--tracing=false",
            ];
            let mut command = plain(&arguments.map(str::to_owned));
            command.env("POINTSMAN_ENDPOINTS", endpoints);
            command.env("POINTSMAN_METRICS_PORT", admin.port().to_string());
            command
        })
    }

    /// A picker by a command that is told its ports: ext_proc, health, metrics.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn by(build: impl Fn([SocketAddr; 3]) -> Command) -> Self {
        Self::up_to("/readyz", build)
    }

    #[track_caller]
    fn up_to(page: &str, build: impl Fn([SocketAddr; 3]) -> Command) -> Self {
        for attempt in 1..=ATTEMPTS {
            let ports = [port::free(), port::free(), port::free()];
            let mut process = Process::start("epp", build(ports));
            let [address, health, admin] = ports;
            let ended = until(&format!("epp to be ready at {admin}"), || {
                if let Some(status) = process.ended() {
                    return Some(Some(status));
                }
                let request = Request::get(page).patience(Duration::from_secs(5));
                let good = request.send(admin).is_ok_and(|r| r.status == 200);
                (good && TcpStream::connect(address).is_ok()).then_some(None)
            });
            let Some(status) = ended else {
                let server = Gateway {
                    process,
                    address,
                    admin,
                };
                return Self { server, health };
            };
            process.wait_end();
            let lines = process.lines().join("\n");
            assert!(
                lines.contains("in use") && attempt < ATTEMPTS,
                "epp ended with {status}:\n{lines}"
            );
        }
        unreachable!("the last attempt returns or panics")
    }

    /// The endpoint that was picked for a request, by its name.
    ///
    /// # Panics
    /// When there is no such decision.
    #[track_caller]
    pub fn picked(&self, request_id: &str) -> String {
        let receipt = self
            .server
            .admin_json(&format!("/debug/decisions/{request_id}"));
        let profiles = receipt["profiles"].as_array().cloned().unwrap_or_default();
        let picked = profiles.last().map(|run| run["picked"][0].clone());
        picked
            .as_ref()
            .and_then(|name| name.as_str())
            .unwrap_or_else(|| panic!("nobody was picked: {receipt}"))
            .to_owned()
    }
}

/// The command of a picker at these ports, with flags beside.
fn with_ports(ports: [SocketAddr; 3], flags: &[&str]) -> Command {
    let mut arguments = vec!["epp".to_owned(), "--bind=127.0.0.1".into()];
    let names = ["--grpc-port", "--grpc-health-port", "--metrics-port"];
    for (name, port) in names.iter().zip(ports) {
        arguments.extend([(*name).to_owned(), port.port().to_string()]);
    }
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    plain(&arguments)
}
