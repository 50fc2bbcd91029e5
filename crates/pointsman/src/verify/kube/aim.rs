//! Where to aim: the gateway's address and the picker's pages, found in the cluster.

use std::net::SocketAddr;
use std::time::Duration;

use pointsman_operator::check::facts::{id_of, is_ready, items, text};
use pointsman_operator::check::installation::{Installation, metrics_port};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::place::Place;
use crate::verify::kube::reach::Reach;

/// How long a gateway's own address is tried before a way through the API server is opened.
const KNOCK: Duration = Duration::from_secs(1);

/// The gateway, where clients connect: the address in its status if that can be reached, else a port of its pod.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn gateway(found: &Installation<'_>, reach: &Reach) -> Result<Place, String> {
    let mut tried = Vec::new();
    for gateway in &found.gateways {
        let name = id_of(gateway);
        let listener = items(&gateway["spec"]["listeners"])
            .iter()
            .find(|one| one["protocol"] == "HTTP")
            .and_then(|one| u16::try_from(one["port"].as_u64()?).ok());
        let Some(port) = listener else {
            tried.push(format!("gateway {name} has no HTTP listener"));
            continue;
        };
        for address in items(&gateway["status"]["addresses"]) {
            let authority = match text(&address["value"]) {
                ip if ip.contains(':') => format!("[{ip}]:{port}"),
                host => format!("{host}:{port}"),
            };
            if answers(&authority).await {
                return Ok(Place { authority });
            }
            tried.push(format!("{authority} of gateway {name} takes no connection"));
        }
        let pods = found.gateway_pods(gateway);
        let Some(pod) = pods.iter().find(|pod| is_ready(pod)) else {
            tried.push(format!("gateway {name} has no ready pod"));
            continue;
        };
        match reach.port(pod, pod_port(found, gateway, pod, port)).await {
            Ok(address) => return Ok(place(address)),
            Err(why) => tried.push(why),
        }
    }
    if tried.is_empty() {
        tried.push("no gateway leads to the pool".to_owned());
    }
    Err(format!("{}; name it with --target", tried.join("; ")))
}

/// The port on a gateway's pod where its Service sends a listener's port.
fn pod_port(found: &Installation<'_>, gateway: &Value, pod: &Value, port: u16) -> u16 {
    let service = found.gateway_service(gateway);
    let ports = service.map_or(&[][..], |service| items(&service["spec"]["ports"]));
    let Some(sent) = ports.iter().find(|one| one["port"] == port) else {
        return port;
    };
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    if let Some(target) = number(&sent["targetPort"]) {
        return target;
    }
    let name = text(&sent["targetPort"]);
    let mut offered = items(&pod["spec"]["containers"])
        .iter()
        .flat_map(|container| items(&container["ports"]));
    let named = offered.find(|one| !name.is_empty() && one["name"] == name);
    named
        .and_then(|one| number(&one["containerPort"]))
        .unwrap_or(port)
}

/// The pages of every picker that is ready.
///
/// # Errors
/// Why there are none, in words.
pub(crate) async fn pickers(found: &Installation<'_>, reach: &Reach) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    let mut wrong = None;
    for pod in found.pickers.iter().filter(|pod| is_ready(pod)) {
        match reach.port(pod, metrics_port(pod)).await {
            Ok(address) => places.push(place(address)),
            Err(why) => wrong = Some(why),
        }
    }
    match (places.is_empty(), wrong) {
        (false, _) => Ok(places),
        (true, Some(why)) => Err(why),
        (true, None) => Err(format!("no picker of pool {} is ready", found.name())),
    }
}

fn place(address: SocketAddr) -> Place {
    Place {
        authority: address.to_string(),
    }
}

async fn answers(authority: &str) -> bool {
    matches!(
        timeout(KNOCK, TcpStream::connect(authority)).await,
        Ok(Ok(_))
    )
}
