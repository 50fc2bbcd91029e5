//! Ways to the ports of pods: their own addresses where those can be reached, else through the API server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pointsman_cluster::Client;
use pointsman_cluster::forward::Forward;
use pointsman_operator::check::facts::{id_of, name_of, namespace_of, text};
use serde_json::Value;
use tokio::sync::Mutex;

/// Where a pod finds the token of its account: who has it is in the cluster's network.
const IN_A_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Pod and port.
type Door = (String, u16);

/// How pods are reached. Copies share the forwarded ports.
#[derive(Clone)]
pub(crate) struct Reach {
    client: Client,
    direct: bool,
    open: Arc<Mutex<BTreeMap<Door, Forward>>>,
}

impl Reach {
    /// By the pods' own addresses if `direct`, or in a pod; else by port-forwarding.
    pub(crate) fn new(client: Client, direct: bool) -> Self {
        Self {
            client,
            direct: direct || Path::new(IN_A_POD).exists(),
            open: Arc::default(),
        }
    }

    /// An address that leads to a port of a pod.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn port(&self, pod: &Value, port: u16) -> Result<SocketAddr, String> {
        if self.direct {
            let ip = text(&pod["status"]["podIP"]);
            let parsed = ip.parse().map(|ip| SocketAddr::new(ip, port));
            return parsed.map_err(|_| format!("pod {} has no address", id_of(pod)));
        }
        let door = (id_of(pod), port);
        let mut open = self.open.lock().await;
        if let Some(forward) = open.get(&door) {
            return Ok(forward.address());
        }
        let made = Forward::open(&self.client, namespace_of(pod), name_of(pod), port).await;
        let forward = made.map_err(|why| {
            format!(
                "{why} (it takes the right to create pods/portforward in {}; with a way into the cluster's network use --direct)",
                namespace_of(pod)
            )
        })?;
        let address = forward.address();
        open.insert(door, forward);
        Ok(address)
    }
}
