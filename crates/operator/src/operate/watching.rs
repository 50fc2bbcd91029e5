//! Watches: they write what they hear into the store and say which custom resources to look at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use pointsman_cluster::watch::{Seen, Trouble, TroubleKind, follow};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::crd::GROUP;
use crate::desired::child::{MANAGED_BY, MANAGER, Owner};
use crate::kinds::{ALL, Kind, POOL};
use crate::operate::api::{custom_resource, plain, resource};
use crate::operate::evidence::Evidence;
use crate::operate::queue::Queue;
use crate::operate::store::{CustomKey, ObjectKey, Store};
use crate::operate::tell::{Level, Tell};

/// Between two looks at which kinds are served, while one is missing and while none is.
const LOOK: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];

/// Whose trouble it is when nothing can be reached.
const SERVER: &str = "the API server";

/// What watches share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    /// Kinds that the API server does not serve.
    missing: Mutex<BTreeSet<&'static Kind>>,
    /// Watches that have not told all there is, nor failed.
    silent: Mutex<BTreeSet<String>>,
    /// Watches of custom resources that have not told all there is.
    unlisted: Mutex<BTreeSet<String>>,
    /// What goes wrong with which watch, as far as it was told.
    troubles: Mutex<BTreeMap<String, TroubleKind>>,
    /// Hears what goes on and what goes wrong.
    pub(crate) tell: Tell,
    heard: Notify,
    /// What was found out beside the objects, by custom resource.
    evidence: Mutex<BTreeMap<CustomKey, Evidence>>,
    /// Custom resources that wait for another one to let go of an object.
    pub(crate) in_conflict: Mutex<BTreeSet<CustomKey>>,
}

impl Shared {
    pub(crate) fn new(tell: Tell) -> Self {
        Self {
            store: Store::default(),
            queue: Queue::default(),
            missing: Mutex::default(),
            silent: Mutex::default(),
            unlisted: Mutex::default(),
            troubles: Mutex::default(),
            tell,
            heard: Notify::new(),
            evidence: Mutex::default(),
            in_conflict: Mutex::default(),
        }
    }

    pub(crate) fn is_missing(&self, kind: &'static Kind) -> bool {
        self.missing.lock().contains(kind)
    }

    /// What was found out about one beside the objects; none before the first look.
    pub(crate) fn evidence(&self, key: &CustomKey) -> Option<Evidence> {
        self.evidence.lock().get(key).cloned()
    }

    pub(crate) fn set_evidence(&self, key: CustomKey, evidence: Evidence) {
        self.evidence.lock().insert(key, evidence);
    }

    pub(crate) fn drop_evidence(&self, key: &CustomKey) {
        self.evidence.lock().remove(key);
    }

    /// Waits until every watch has told all there is, or has failed once.
    pub(crate) async fn all_told(&self) {
        self.emptied(&self.silent).await;
    }

    /// Waits until all custom resources have been listed.
    pub(crate) async fn all_listed(&self) {
        self.emptied(&self.unlisted).await;
    }

    async fn emptied(&self, watches: &Mutex<BTreeSet<String>>) {
        loop {
            let heard = self.heard.notified();
            if watches.lock().is_empty() {
                return;
            }
            // What was missed between the look and the wait is seen at the next one.
            let _ = tokio::time::timeout(Duration::from_millis(100), heard).await;
        }
    }

    fn expects(&self, watch: &str) {
        self.silent.lock().insert(watch.to_owned());
    }

    fn hears(&self, watch: &str) {
        self.silent.lock().remove(watch);
        self.heard.notify_waiters();
    }

    /// A watch has told all there is.
    fn lists(&self, watch: &str) {
        self.unlisted.lock().remove(watch);
        self.hears(watch);
        self.well(watch);
    }

    /// Tells what is wrong with a watch, once until it is well again or something else is wrong.
    pub(crate) fn troubled(&self, watch: &str, trouble: &Trouble) {
        // All watches have this trouble at once, and one word is enough.
        let whose = match trouble.kind {
            TroubleKind::Unreachable => SERVER,
            _ => watch,
        };
        let before = self.troubles.lock().insert(whose.to_owned(), trouble.kind);
        if before == Some(trouble.kind) {
            return;
        }
        let more = match trouble.kind {
            TroubleKind::Unknown => {
                "; its CRD is missing: kubectl apply --server-side -f deploy/operator/crds.yaml"
            }
            _ => "",
        };
        let text = format!("cannot list and watch {watch}: {}{more}", trouble.message);
        (self.tell)(Level::Error, &text);
    }

    /// A watch is well; said where it was not.
    pub(crate) fn well(&self, watch: &str) {
        let over = {
            let mut troubles = self.troubles.lock();
            let own = troubles.remove(watch).is_some();
            troubles.remove(SERVER).is_some() || own
        };
        if over {
            (self.tell)(Level::Info, &format!("lists and watches {watch} again"));
        }
    }

    fn look_at_all(&self) {
        for key in self.store.custom_keys() {
            self.queue.add(key);
        }
    }

    /// Whoever the object belongs to, or belonged to, is looked at again.
    fn object_changed(&self, key: &ObjectKey, now: Option<&Value>, before: Option<&Value>) {
        if *key.kind == POOL {
            self.look_at_all();
        }
        for object in now.iter().chain(before.iter()) {
            let meta = &object["metadata"];
            if let Some((owner, namespace, name)) =
                Owner::of_labels(&meta["labels"], &key.namespace)
            {
                self.queue.add(CustomKey {
                    owner,
                    namespace,
                    name,
                });
            }
        }
        if now.is_none() {
            for key in self.in_conflict.lock().iter() {
                self.queue.add(key.clone());
            }
        }
    }
}

/// The namespaces to watch; empty for all.
pub(crate) type Scope = Vec<String>;

fn places(scope: &Scope) -> Vec<String> {
    match scope.is_empty() {
        true => vec![String::new()],
        false => scope.clone(),
    }
}

fn api(client: &Client, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
    match namespace {
        "" => Api::all_with(client.clone(), resource),
        one => Api::namespaced_with(client.clone(), one, resource),
    }
}

/// Watches both kinds of custom resources and all kinds of objects until dropped.
pub(crate) async fn watch_all(shared: Arc<Shared>, client: Client, scope: Scope) {
    let mut watches: JoinSet<()> = JoinSet::new();
    for owner in [Owner::Install, Owner::Simulator] {
        for place in places(&scope) {
            watches.spawn(watch_custom(
                Arc::clone(&shared),
                client.clone(),
                owner,
                place,
            ));
        }
    }
    let mut running: BTreeMap<&'static Kind, JoinSet<()>> = BTreeMap::new();
    loop {
        let served = match served(&client).await {
            Ok(served) => Some(served),
            Err(message) => {
                let kind = TroubleKind::Unreachable;
                shared.troubled("what is served", &Trouble { kind, message });
                None
            }
        };
        for kind in ALL {
            let here = kind.built_in || served.as_ref().is_none_or(|served| served.contains(kind));
            let known = running.contains_key(kind);
            if here && !known {
                // A kind of which nothing is known yet counts as served: a failed watch will tell.
                shared.missing.lock().remove(kind);
                let mut own = JoinSet::new();
                for place in places(&scope) {
                    shared.expects(&words(&kind.full_name(), &place));
                    own.spawn(watch_kind(Arc::clone(&shared), client.clone(), kind, place));
                }
                running.insert(kind, own);
                shared.look_at_all();
            } else if !here {
                let was_new = shared.missing.lock().insert(kind);
                for place in places(&scope) {
                    shared.hears(&words(&kind.full_name(), &place));
                }
                if was_new {
                    let text = format!(
                        "{} is not served: what is asked for of it is skipped until its CRD is there",
                        kind.full_name()
                    );
                    (shared.tell)(Level::Info, &text);
                }
                running.remove(kind);
                if was_new || known {
                    forget(&shared, kind);
                    shared.look_at_all();
                }
            }
        }
        shared.hears("discovery");
        let missing = !shared.missing.lock().is_empty() || served.is_none();
        tokio::time::sleep(LOOK[usize::from(!missing)]).await;
    }
}

/// Says before anything runs which watches are awaited.
pub(crate) fn expect_all(shared: &Shared, scope: &Scope) {
    shared.expects("discovery");
    for place in places(scope) {
        for owner in [Owner::Install, Owner::Simulator] {
            let watch = words(&custom_name(owner), &place);
            shared.expects(&watch);
            shared.unlisted.lock().insert(watch);
        }
    }
}

fn forget(shared: &Shared, kind: &'static Kind) {
    for key in shared.store.keys_of(kind, "") {
        shared.store.remove(&key, None);
    }
}

/// A custom resource's kind as messages name it.
fn custom_name(owner: Owner) -> String {
    format!("{}.{GROUP}", owner.plural())
}

/// What a watch is called in messages.
fn words(what: &str, place: &str) -> String {
    match place {
        "" => what.to_owned(),
        place => format!("{what} in {place}"),
    }
}

/// The kinds beyond the built-in ones that are served, or why nobody knows.
async fn served(client: &Client) -> Result<BTreeSet<&'static Kind>, String> {
    let mut found = BTreeSet::new();
    let versions: BTreeSet<String> = ALL
        .iter()
        .filter(|kind| !kind.built_in)
        .map(|kind| kind.api_version())
        .collect();
    for version in versions {
        match client.list_api_group_resources(&version).await {
            Ok(list) => {
                let names: BTreeSet<String> =
                    list.resources.into_iter().map(|one| one.name).collect();
                let here = ALL
                    .into_iter()
                    .filter(|kind| kind.api_version() == version && names.contains(kind.plural));
                found.extend(here);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(found)
}

/// Namespace and name of an object.
fn place_of(object: &Value) -> (String, String) {
    let text = |key: &str| {
        let text = object["metadata"][key].as_str();
        text.unwrap_or_default().to_owned()
    };
    (text("namespace"), text("name"))
}

async fn watch_custom(shared: Arc<Shared>, client: Client, owner: Owner, place: String) {
    let watch = words(&custom_name(owner), &place);
    let resource = custom_resource(owner);
    let read = |object: &DynamicObject| {
        let object = plain(object, &resource);
        let (namespace, name) = place_of(&object);
        let key = CustomKey {
            owner,
            namespace,
            name,
        };
        (key, object)
    };
    let apply = |object: &DynamicObject| {
        let (key, object) = read(object);
        shared.store.put_custom(key.clone(), object);
        shared.queue.add(key.clone());
        key
    };
    let api = api(&client, &resource, &place);
    follow(api, watcher::Config::default(), |seen| match seen {
        Seen::Applied(object) => {
            apply(&object);
        }
        Seen::Deleted(object) => gone(&shared, &read(&object).0),
        Seen::Listed(objects) => {
            let listed: BTreeSet<CustomKey> = objects.iter().map(apply).collect();
            let stale = shared.store.custom_keys().into_iter().filter(|key| {
                key.owner == owner
                    && (place.is_empty() || key.namespace == place)
                    && !listed.contains(key)
            });
            for key in stale {
                gone(&shared, &key);
            }
            shared.lists(&watch);
        }
        Seen::Trouble(trouble) => {
            shared.troubled(&watch, &trouble);
            shared.hears(&watch);
        }
    })
    .await;
}

fn gone(shared: &Shared, key: &CustomKey) {
    shared.store.drop_custom(key);
    shared.in_conflict.lock().remove(key);
    // Whoever waited for its objects may have them now.
    for waiting in shared.in_conflict.lock().iter() {
        shared.queue.add(waiting.clone());
    }
    shared.queue.add(key.clone());
}

async fn watch_kind(shared: Arc<Shared>, client: Client, kind: &'static Kind, place: String) {
    let watch = words(&kind.full_name(), &place);
    let resource = resource(kind);
    // Pools are made by others too.
    let config = match *kind == POOL {
        true => watcher::Config::default(),
        false => watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}")),
    };
    let read = |object: &DynamicObject| {
        let object = plain(object, &resource);
        let (namespace, name) = place_of(&object);
        let key = ObjectKey {
            kind,
            namespace,
            name,
        };
        (key, object)
    };
    let apply = |object: &DynamicObject| {
        let (key, object) = read(object);
        let before = shared.store.object(&key);
        shared.store.put(key.clone(), object.clone());
        if before.as_ref() != Some(&object) {
            shared.object_changed(&key, Some(&object), before.as_ref());
        }
        key
    };
    follow(api(&client, &resource, &place), config, |seen| match seen {
        Seen::Applied(object) => {
            apply(&object);
        }
        Seen::Deleted(object) => {
            let (key, object) = read(&object);
            let before = shared.store.remove(&key, Some(&object));
            shared.object_changed(&key, None, before.as_ref().or(Some(&object)));
        }
        Seen::Listed(objects) => {
            let listed: BTreeSet<ObjectKey> = objects.iter().map(apply).collect();
            for key in shared.store.keys_of(kind, &place) {
                if !listed.contains(&key) {
                    let before = shared.store.remove(&key, None);
                    shared.object_changed(&key, None, before.as_ref());
                }
            }
            shared.store.set_told(kind, &place, true);
            shared.lists(&watch);
        }
        Seen::Trouble(trouble) => {
            shared.store.set_told(kind, &place, false);
            shared.troubled(&watch, &trouble);
            shared.hears(&watch);
        }
    })
    .await;
}
