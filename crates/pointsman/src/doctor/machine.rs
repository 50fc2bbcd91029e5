//! This machine: a configuration file, the ports, and what answers on them.

use std::net::SocketAddr;
use std::path::Path;

use pointsman_feeds::plan::text_of;
use pointsman_operator::check::Verdict;
use serde_json::Value;

use crate::doctor::engines::{self, Engine};
use crate::place::Place;
use crate::verify::check::{CONFIG, Check, METRICS, PORTS, RUNNING};
use crate::verify::client::Client;
use crate::verify::kube::judge::{check, read_config};

/// Where pointsman is looked for, and the configuration that it would be given.
pub(crate) struct Machine<'a> {
    /// The gateway.
    pub(crate) target: &'a Place,
    /// Its admin port.
    pub(crate) admin: &'a Place,
    /// A configuration file.
    pub(crate) config: Option<&'a Path>,
}

/// Looks.
pub(crate) async fn look(machine: &Machine<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(path) = machine.config {
        let shown = path.display().to_string();
        checks.push(match text_of(path) {
            Ok(text) => check(CONFIG, read_config(&text, &shown)),
            Err(fault) => CONFIG.bad(
                format!("{shown} cannot be read"),
                fault.to_string(),
                "name a file that can be read",
            ),
        });
    }
    let client = Client::new();
    let admin = machine.admin.resolve().await;
    let ours = match &admin {
        Ok(address) => client.read(*address, "/healthz").await,
        Err(why) => Err(why.clone()),
    };
    let runs = matches!(&ours, Ok((200, text)) if text.trim() == "ok");
    checks.push(ports(machine, runs).await);
    if let (true, Ok(address)) = (runs, admin) {
        checks.push(running(client.read(address, "/readyz").await));
        checks.push(check(METRICS, metrics(&client, address).await));
    }
    checks
}

/// Each port: free, ours, or somebody else's.
async fn ports(machine: &Machine<'_>, runs: bool) -> Check {
    let mut verdict = Verdict::default();
    let mut said = Vec::new();
    for (place, flag) in [(machine.target, "--listen"), (machine.admin, "--admin")] {
        let authority = &place.authority;
        let bound = match place.resolve().await {
            Ok(address) => tokio::net::TcpListener::bind(address).await.map(drop),
            Err(why) => Err(std::io::Error::other(why)),
        };
        match bound {
            Ok(()) => said.push(format!("{authority} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && runs => {
                said.push(format!("{authority} is pointsman's"));
            }
            Err(error) => verdict.add(
                format!("{authority} cannot be listened on: {error}"),
                format!(
                    "ss -ltnp | grep {}; end that program, or give pointsman another address with {flag}",
                    authority.rsplit(':').next().unwrap_or_default()
                ),
            ),
        }
    }
    verdict.detail = said.join(", ");
    check(PORTS, verdict)
}

fn running(ready: Result<(u16, String), String>) -> Check {
    match ready {
        Ok((200, _)) => RUNNING.good("it is ready"),
        Ok((_, text)) => RUNNING.bad(
            text.trim(),
            text.trim(),
            "give it what is missing; the log says more",
        ),
        Err(why) => RUNNING.bad(why.as_str(), why.as_str(), "look at the log"),
    }
}

/// The metrics pages of the endpoints that the running one knows.
async fn metrics(client: &Client, admin: SocketAddr) -> Verdict {
    let known = client.read(admin, "/debug/endpoints").await;
    let known: Value = known
        .ok()
        .and_then(|(_, text)| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut engines = Vec::new();
    for one in known["endpoints"].as_array().into_iter().flatten() {
        let address = one["address"].as_str().unwrap_or_default();
        let label = &one["labels"]["llm-d.ai/engine-type"];
        engines.push(Engine {
            name: one["name"].as_str().unwrap_or_default().to_owned(),
            label: label.as_str().map(str::to_owned),
            page: match address.parse() {
                Ok(address) => client.read(address, "/metrics").await,
                Err(_) => Err(format!("'{address}' is no address")),
            },
        });
    }
    engines::judge(&engines)
}
