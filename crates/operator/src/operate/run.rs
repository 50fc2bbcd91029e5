//! The operator as a whole: watches, queue and reconciler, until it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use serde_json::Value;

use crate::desired::child::Child;
use crate::operate::api::Server;
use crate::operate::apply::Habits;
use crate::operate::counts::Counts;
use crate::operate::difference::find;
use crate::operate::events::Events;
use crate::operate::pods::Pods;
use crate::operate::probe::Prober;
use crate::operate::reconcile::Reconciler;
pub use crate::operate::tell::{Level, Tell};
use crate::operate::watching::{Shared, expect_all, watch_all};

/// The Lease by which one operator is chosen: the original's name, so that both never act at once.
pub const LEASE: &str = "sim-operator.llm-d.io";

/// What the process around the operator can see of it.
#[derive(Default)]
pub struct Operator {
    /// What it counts.
    pub counts: Arc<Counts>,
    /// Whether it knows what is in the cluster.
    pub ready: AtomicBool,
}

impl Operator {
    /// Watches and keeps, and every so often asks pickers and gateways what they count. Runs until it is dropped; must only run while this process leads.
    pub async fn run(&self, client: Client, namespaces: Vec<String>, probe: Duration, tell: Tell) {
        let shared = Arc::new(Shared::new(tell));
        expect_all(&shared, &namespaces);
        let watches = watch_all(Arc::clone(&shared), client.clone(), namespaces.clone());
        let pods = Pods::new(Arc::clone(&shared), client.clone());
        let server = Server {
            client: client.clone(),
            counts: Arc::clone(&self.counts),
        };
        let prober = Prober {
            shared: Arc::clone(&shared),
            server: server.clone(),
            pods: Arc::clone(&pods),
            every: probe,
        };
        let mut reconciler = Reconciler {
            pods,
            server,
            events: Events::new(client),
            scope: namespaces,
            habits: Habits::default(),
            shared: Arc::clone(&shared),
            failures: BTreeMap::new(),
            warned: BTreeMap::new(),
        };
        let work = async {
            shared.all_told().await;
            loop {
                for key in shared.queue.take().await {
                    reconciler.reconcile(&key).await;
                }
            }
        };
        let ready = async {
            // Who has never seen the custom resources does nothing for them.
            shared.all_listed().await;
            self.ready.store(true, Ordering::Release);
        };
        tokio::join!(watches, work, ready, prober.run());
    }
}

/// How the cluster would change: for each object what stands there now (none where nothing does) and what would,
/// asked of the server without writing.
///
/// # Errors
/// The server refused one; the text says which and why.
pub async fn difference(
    client: Client,
    children: &[Child],
) -> Result<Vec<(Option<Value>, Value)>, String> {
    let server = Server {
        client,
        counts: Arc::default(),
    };
    let mut changes = Vec::new();
    for child in children {
        let (kind, namespace, name) = (child.kind, child.namespace.as_str(), child.name.as_str());
        let live = server
            .get(kind, namespace, name)
            .await
            .map_err(|failure| failure.to_string())?;
        let then = server
            .apply(kind, namespace, name, &child.value, true)
            .await;
        let then = then.map_err(|failure| failure.to_string())?;
        if live
            .as_ref()
            .is_none_or(|live| !find(&child.value, live).is_empty())
        {
            changes.push((live, then));
        }
    }
    Ok(changes)
}
