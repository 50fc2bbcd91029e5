//! Pods that somebody asks about: those of a picker, those of a pool. Watched only while asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use pointsman_cluster::watch::{self, follow};
use tokio::task::AbortHandle;

use crate::operate::store::CustomKey;
use crate::operate::watching::Shared;

/// Which pods: a namespace and a label selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    pub(crate) namespace: String,
    pub(crate) selector: String,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) address: Option<String>,
    pub(crate) ready: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The pods of one question, and who asks.
struct Watched {
    task: AbortHandle,
    askers: BTreeSet<CustomKey>,
    /// Whether they were listed; none while nobody has answered.
    listed: Option<bool>,
    pods: BTreeMap<String, Seen>,
}

/// All questions.
pub(crate) struct Pods {
    shared: Arc<Shared>,
    client: Client,
    watched: Mutex<BTreeMap<Which, Watched>>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        for watched in self.watched.lock().values() {
            watched.task.abort();
        }
    }
}

impl Pods {
    pub(crate) fn new(shared: Arc<Shared>, client: Client) -> Arc<Self> {
        Arc::new(Self {
            shared,
            client,
            watched: Mutex::default(),
        })
    }

    /// From now on this custom resource asks about these pods and no others.
    pub(crate) fn ask(self: &Arc<Self>, asker: &CustomKey, which: &BTreeSet<Which>) {
        let mut watched = self.watched.lock();
        for one in which {
            let entry = watched.entry(one.clone()).or_insert_with(|| {
                let (pods, which) = (Arc::downgrade(self), one.clone());
                let client = self.client.clone();
                let task = tokio::spawn(watch_pods(pods, client, which)).abort_handle();
                Watched {
                    task,
                    askers: BTreeSet::new(),
                    listed: None,
                    pods: BTreeMap::new(),
                }
            });
            entry.askers.insert(asker.clone());
        }
        watched.retain(|one, entry| {
            if !which.contains(one) {
                entry.askers.remove(asker);
            }
            let wanted = !entry.askers.is_empty();
            if !wanted {
                entry.task.abort();
            }
            wanted
        });
    }

    /// What is known of these pods.
    pub(crate) fn seen(&self, which: &Which) -> Vec<Seen> {
        let watched = self.watched.lock();
        watched
            .get(which)
            .map(|entry| entry.pods.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether the first answer about some of these is still to come, be it that nothing can be said.
    pub(crate) fn waits(&self, which: &BTreeSet<Which>) -> bool {
        let watched = self.watched.lock();
        let waits = |one| watched.get(one).is_some_and(|entry| entry.listed.is_none());
        which.iter().any(waits)
    }

    /// Whether these have been listed, so that those that are not seen are not there.
    pub(crate) fn listed(&self, which: &Which) -> bool {
        let watched = self.watched.lock();
        let entry = watched.get(which);
        entry.is_some_and(|entry| entry.listed == Some(true))
    }

    /// The first answer is news, even if there are no pods.
    fn answered(&self, which: &Which, listed: bool) {
        let mut watched = self.watched.lock();
        let Some(entry) = watched.get_mut(which) else {
            return;
        };
        let before = entry.listed;
        entry.listed = Some(listed || before == Some(true));
        if entry.listed != before {
            for asker in &entry.askers {
                self.shared.queue.add(asker.clone());
            }
        }
    }

    fn change(&self, which: &Which, change: impl FnOnce(&mut BTreeMap<String, Seen>)) {
        let mut watched = self.watched.lock();
        let Some(entry) = watched.get_mut(which) else {
            return;
        };
        let before = entry.pods.clone();
        change(&mut entry.pods);
        if entry.pods != before {
            for asker in &entry.askers {
                self.shared.queue.add(asker.clone());
            }
        }
    }
}

async fn watch_pods(pods: Weak<Pods>, client: Client, which: Which) {
    let api: Api<Pod> = Api::namespaced(client, &which.namespace);
    let config = watcher::Config::default().labels(&which.selector);
    let watch = format!("pods in {}", which.namespace);
    follow(api, config, |heard| {
        // Whoever drops them ends this task, too.
        let Some(pods) = pods.upgrade() else { return };
        match heard {
            watch::Seen::Listed(found) => {
                let found = found.into_iter().map(seen).collect();
                pods.change(&which, |all| *all = found);
                pods.answered(&which, true);
                pods.shared.well(&watch);
            }
            watch::Seen::Applied(pod) => {
                let (name, seen) = seen(pod);
                pods.change(&which, |all| drop(all.insert(name, seen)));
            }
            watch::Seen::Deleted(pod) => {
                let (name, _) = seen(pod);
                pods.change(&which, |all| drop(all.remove(&name)));
            }
            // What was known stays.
            watch::Seen::Trouble(trouble) => {
                pods.shared.troubled(&watch, &trouble);
                pods.answered(&which, false);
            }
        }
    })
    .await;
}

fn seen(pod: Pod) -> (String, Seen) {
    let status = pod.status.unwrap_or_default();
    let is_ready = |kind: &str, value: &str| kind == "Ready" && value == "True";
    let conditions = status.conditions.unwrap_or_default();
    let ready = pod.metadata.deletion_timestamp.is_none()
        && conditions
            .iter()
            .any(|one| is_ready(&one.type_, &one.status));
    let labels = pod
        .metadata
        .labels
        .unwrap_or_default()
        .into_iter()
        .collect();
    let seen = Seen {
        address: status.pod_ip,
        ready,
        labels,
    };
    (pod.metadata.name.unwrap_or_default(), seen)
}
