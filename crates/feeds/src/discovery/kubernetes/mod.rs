//! Takes the endpoints from a Kubernetes cluster: the pods of an InferencePool, or of a selector, and what the
//! cluster says of priorities and models.
//!
//! Each kind is followed by a watch of its own; every change leads to one comparison of what should be with what is.
//! While the API server cannot be asked, the pool stays as it is.

mod objects;
mod view;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use pointsman_cluster::watch::{Seen, Trouble, TroubleKind, follow};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::directives::Directives;
use crate::discovery::kubernetes::objects::{PodFacts, PoolSpec, is_for, priority, rewrite};
use crate::discovery::kubernetes::view::{GROUPS, View};
use crate::discovery::watches::{State, Watches};
use crate::membership::{Member, Membership};

/// Whose pods are wanted.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Those of an InferencePool.
    Pool {
        /// Its API group.
        group: String,
        /// Its name.
        name: String,
    },
    /// Those with these labels, on these ports.
    Selector {
        /// As the API server reads it.
        labels: String,
        /// The ports of each pod.
        ports: Vec<u16>,
    },
}

/// What discovery writes to.
#[derive(Clone)]
pub struct Outlets {
    /// The pool.
    pub membership: Arc<Membership>,
    /// Priorities and rewrites.
    pub directives: Arc<ArcSwap<Directives>>,
    /// How it stands with each watch.
    pub watches: Arc<Watches>,
    /// Whether enough is known to pick.
    pub synced: Arc<AtomicBool>,
    /// Takes a line about each change of state.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Follows the cluster until dropped.
pub async fn run(client: Client, namespace: String, wanted: Wanted, outlets: Outlets) {
    let selector = watch::channel(None);
    let (view, ports) = match &wanted {
        Wanted::Pool { .. } => (View::default(), None),
        Wanted::Selector { labels, ports } => {
            selector.0.send_replace(Some(labels.clone()));
            let pool = PoolSpec {
                ports: ports.clone(),
                ..PoolSpec::default()
            };
            let view = View {
                pool: Some(pool),
                ..View::default()
            };
            (view, Some(ports.len()))
        }
    };
    let follower = Follower {
        client,
        namespace,
        outlets,
        state: Mutex::new((view, Vec::new())),
        selector: selector.0,
    };
    if ports.is_some() {
        return follower.pods(selector.1).await;
    }
    if let Wanted::Pool { group, name } = wanted {
        tokio::join!(
            follower.pool(&group, &name),
            follower.pods(selector.1),
            follower.objectives(0, &group, &name),
            follower.objectives(1, &group, &name),
            follower.rewrites(0, &group, &name),
            follower.rewrites(1, &group, &name),
        );
    }
}

struct Follower {
    client: Client,
    namespace: String,
    outlets: Outlets,
    /// What is known, and the members that were made of it.
    state: Mutex<(View, Vec<Member>)>,
    selector: watch::Sender<Option<String>>,
}

impl Follower {
    async fn pool(&self, group: &str, name: &str) {
        let version = if group == "inference.networking.x-k8s.io" {
            "v1alpha2"
        } else {
            "v1"
        };
        let api = self.api(group, version, "InferencePool", "inferencepools");
        let config = Config::default().fields(&format!("metadata.name={name}"));
        self.follow("the pool", false, api, config, |view, seen| {
            match seen {
                Seen::Listed(found) => view.pool = found.first().map(PoolSpec::read),
                Seen::Applied(object) => view.pool = Some(PoolSpec::read(&object)),
                Seen::Deleted(_) => view.pool = None,
                Seen::Trouble(_) => {}
            }
            let text = view.pool.as_ref().map(PoolSpec::selector_text);
            self.selector.send_if_modified(|current| {
                let is_new = *current != text;
                current.clone_from(&text);
                is_new
            });
            usize::from(view.pool.is_some())
        })
        .await;
    }

    /// Pods of the selector in force; another selector begins another listing, and until it is there, those known.
    async fn pods(&self, mut selector: watch::Receiver<Option<String>>) {
        loop {
            let labels = selector.borrow_and_update().clone();
            let following = async {
                let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
                    return std::future::pending().await;
                };
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
                let config = Config::default().labels(&labels);
                self.follow("pods", false, api, config, |view, seen| {
                    let facts = |pod| {
                        let facts = PodFacts::read(pod);
                        (facts.name.clone(), facts)
                    };
                    match seen {
                        Seen::Listed(pods) => {
                            view.pods = pods.into_iter().map(facts).collect();
                            view.pods_listed = true;
                        }
                        Seen::Applied(pod) => {
                            view.pods.extend([facts(pod)]);
                        }
                        Seen::Deleted(pod) => {
                            view.pods.remove(&facts(pod).0);
                        }
                        Seen::Trouble(_) => {}
                    }
                    view.pods.len()
                })
                .await;
            };
            tokio::select! {
                () = following => {}
                changed = selector.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn objectives(&self, at: usize, group: &str, pool: &str) {
        const WHAT: [&str; 2] = [
            "inferenceobjectives.inference.networking.x-k8s.io",
            "inferenceobjectives.llm-d.ai",
        ];
        let api = self.api(
            GROUPS[at],
            "v1alpha2",
            "InferenceObjective",
            "inferenceobjectives",
        );
        let ours = |object: &DynamicObject| is_for(object, group, pool);
        self.follow(WHAT[at], true, api, Config::default(), |view, seen| {
            apply(&mut view.objectives[at], seen, &ours, priority)
        })
        .await;
    }

    async fn rewrites(&self, at: usize, group: &str, pool: &str) {
        const WHAT: [&str; 2] = [
            "inferencemodelrewrites.inference.networking.x-k8s.io",
            "inferencemodelrewrites.llm-d.ai",
        ];
        let api = self.api(
            GROUPS[at],
            "v1alpha2",
            "InferenceModelRewrite",
            "inferencemodelrewrites",
        );
        let ours = |object: &DynamicObject| is_for(object, group, pool);
        self.follow(WHAT[at], true, api, Config::default(), |view, seen| {
            apply(&mut view.rewrites[at], seen, &ours, rewrite)
        })
        .await;
    }

    fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Follows one kind. `take` puts what is seen into the view and says how many objects it knows. `optional`: the
    /// cluster need not have the kind.
    async fn follow<K>(
        &self,
        what: &'static str,
        optional: bool,
        api: Api<K>,
        config: Config,
        take: impl Fn(&mut View, Seen<K>) -> usize,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.outlets.watches.note(what, State::Starting);
        follow(api, config, |seen| {
            let state = match &seen {
                Seen::Trouble(trouble) => Some(state_of(trouble, optional)),
                _ => None,
            };
            let mut held = self.state.lock();
            let count = if state == Some(State::Absent) {
                // Without the kind there are no objects of it.
                take(&mut held.0, Seen::Listed(Vec::new()))
            } else {
                take(&mut held.0, seen)
            };
            self.publish(&mut held);
            drop(held);
            self.note(what, state.unwrap_or(State::Following(count)));
        })
        .await;
    }

    fn note(&self, what: &'static str, state: State) {
        let text = match &state {
            State::Starting => return,
            State::Following(count) => format!("discovery: following {what} ({count} now)"),
            State::Absent => format!("discovery: the cluster has no {what}"),
            State::Degraded(why) => {
                format!(
                    "discovery: degraded: {what} cannot be followed: {why}; what is known stands, trying again"
                )
            }
        };
        if self.outlets.watches.note(what, state) {
            (self.outlets.tell)(&text);
        }
    }

    /// Brings what others read to what is known.
    fn publish(&self, (view, last): &mut (View, Vec<Member>)) {
        let members = view.members();
        if members != *last {
            let left_out = self.outlets.membership.replace(&members);
            let mut text = format!("endpoints: {} in the pool", members.len());
            if left_out > 0 {
                text.push_str(&format!("; {left_out} found no room and were left out"));
            }
            (self.outlets.tell)(&text);
            *last = members;
        }
        let directives = view.directives();
        if **self.outlets.directives.load() != directives {
            self.outlets.directives.store(Arc::new(directives));
        }
        let synced = view.is_synced();
        self.outlets.synced.store(synced, Ordering::Release);
    }
}

/// What a trouble means for a watch.
fn state_of(trouble: &Trouble, optional: bool) -> State {
    match trouble.kind {
        TroubleKind::Unknown if optional => State::Absent,
        _ => State::Degraded(trouble.message.clone()),
    }
}

/// Puts what was seen of named objects into a map of what matters of them.
fn apply<T>(
    known: &mut std::collections::BTreeMap<String, T>,
    seen: Seen<DynamicObject>,
    ours: &impl Fn(&DynamicObject) -> bool,
    read: impl Fn(&DynamicObject) -> T,
) -> usize {
    match seen {
        Seen::Listed(found) => {
            let found = found.iter().filter(|object| ours(object));
            *known = found.map(|one| (one.name_any(), read(one))).collect();
        }
        Seen::Applied(object) if ours(&object) => {
            known.insert(object.name_any(), read(&object));
        }
        Seen::Applied(object) | Seen::Deleted(object) => {
            known.remove(&object.name_any());
        }
        Seen::Trouble(_) => {}
    }
    known.len()
}
