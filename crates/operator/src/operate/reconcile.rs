//! One custom resource, from what it asks for to what its status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::desired::child::{Child, Owner};
use crate::desired::{Address, Observed, install, simulator};
use crate::kinds::{DEPLOYMENT, ENVOY_FILTER, Kind, find};
use crate::operate::api::{Failure, Server, custom_resource};
use crate::operate::apply::{Done, apply, hash_of};
use crate::operate::claim::{Claim, claim};
use crate::operate::cleanup::{delete, finalizer_patch, has_finalizer, keeps_children, release};
use crate::operate::events::{Events, Said};
use crate::operate::facts;
use crate::operate::pods::Pods;
use crate::operate::seen::look;
use crate::operate::status::{ChildState, Condition, State, accepted, conditions};
use crate::operate::store::{CustomKey, ObjectKey};
use crate::operate::verdict::{install_conditions, simulator_conditions};
use crate::operate::watching::{Scope, Shared};
use crate::spec::invalid::Invalid;
use crate::spec::meta::Identity;
use crate::spec::{install as install_spec, simulator as simulator_spec};

/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often one that is in conflict is looked at without an event.
const CONFLICT_PAUSE: Duration = Duration::from_secs(30);

/// Where words for the log go.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Looks at custom resources.
pub(crate) struct Reconciler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: Server,
    pub(crate) pods: Arc<Pods>,
    pub(crate) events: Events,
    pub(crate) scope: Scope,
    /// Hears what goes wrong.
    pub(crate) tell: Tell,
    /// How often each has failed in a row.
    pub(crate) failures: BTreeMap<CustomKey, u32>,
    /// The last warning told of each, so that it is told once.
    pub(crate) warned: BTreeMap<CustomKey, String>,
}

/// What a custom resource asks for.
enum Asked {
    Install(Box<install_spec::Install>),
    Simulator(Box<simulator_spec::Simulator>),
}

/// A custom resource that is being looked at.
struct Subject<'a> {
    key: &'a CustomKey,
    object: Value,
    id: Identity,
}

impl Reconciler {
    /// Looks at one, and arranges when to look again.
    pub(crate) async fn reconcile(&mut self, key: &CustomKey) {
        let began = Instant::now();
        let result = self.look_at(key).await;
        let good = result.is_ok();
        self.server
            .counts
            .reconciled(key.owner.kind(), good, began.elapsed());
        match result {
            Ok(None) => drop(self.failures.remove(key)),
            Ok(Some(pause)) => self.shared.queue.add_later(key.clone(), pause),
            Err(failure) => {
                let times = self.failures.entry(key.clone()).or_default();
                let pause = PAUSES.0 * 2u32.saturating_pow((*times).min(5));
                *times += 1;
                self.shared
                    .queue
                    .add_later(key.clone(), pause.min(PAUSES.1));
                (self.tell)(&format!("{}: {failure}", key.words()));
            }
        }
    }

    async fn look_at(&mut self, key: &CustomKey) -> Result<Option<Duration>, Failure> {
        let Some(object) = self.shared.store.custom(key) else {
            self.forget(key);
            return Ok(None);
        };
        let id = Identity {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: object["metadata"]["uid"].as_str().map(str::to_owned),
        };
        let mut subject = Subject { key, object, id };
        if !subject.object["metadata"]["deletionTimestamp"].is_null() {
            return self.finish(&subject).await;
        }
        let asked = match key.owner {
            Owner::Install => {
                install_spec::settle(&subject.object).map(|one| Asked::Install(Box::new(one)))
            }
            Owner::Simulator => {
                simulator_spec::settle(&subject.object).map(|one| Asked::Simulator(Box::new(one)))
            }
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(invalid) => return self.refuse(&subject, &invalid).await.map(|()| None),
        };
        self.follow(&mut subject, &asked).await
    }

    fn forget(&mut self, key: &CustomKey) {
        self.pods.ask(key, &BTreeSet::new());
        self.failures.remove(key);
        self.warned.remove(key);
        self.shared.in_conflict.lock().remove(key);
        self.server.counts.children(key.words(), BTreeMap::new());
    }

    fn claims(&self, subject: &Subject, object: &Value) -> Claim {
        claim(
            object,
            subject.key.owner,
            &subject.id,
            |owner, namespace, name| {
                // Where not all namespaces are watched, one that is not seen may well be there.
                let seen = self.scope.is_empty() || self.scope.iter().any(|one| one == namespace);
                let key = CustomKey {
                    owner,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                };
                !seen || self.shared.store.custom(&key).is_some()
            },
        )
    }

    /// A spec that cannot be followed: nothing is made, and what is there stays as it is.
    async fn refuse(&mut self, subject: &Subject<'_>, invalid: &Invalid) -> Result<(), Failure> {
        self.warn(subject, "Invalid", &invalid.message).await;
        let refused = accepted(Some(invalid));
        let ready = Condition::new("Ready", Some(false), invalid.reason, &invalid.message);
        let mut all = vec![refused, ready];
        if subject.key.owner == Owner::Install {
            all.push(Condition::new(
                "Available",
                Some(false),
                invalid.reason,
                &invalid.message,
            ));
        }
        let children = subject.object["status"]["children"].clone();
        let children = if children.is_null() {
            json!([])
        } else {
            children
        };
        self.write_status(subject, &all, json!({"children": children}))
            .await
    }

    async fn follow(
        &mut self,
        subject: &mut Subject<'_>,
        asked: &Asked,
    ) -> Result<Option<Duration>, Failure> {
        let (mut children, mut observed) = self.render(subject, asked);
        if let Some(conflict) = self.conflict(subject, &children).await? {
            self.shared.in_conflict.lock().insert(subject.key.clone());
            self.refuse(subject, &conflict).await?;
            return Ok(Some(CONFLICT_PAUSE));
        }
        self.shared.in_conflict.lock().remove(subject.key);
        if let Asked::Install(_) = asked
            && !has_finalizer(&subject.object)
        {
            self.set_finalizer(subject, true).await?;
        }
        let mut hashes = recorded(&subject.object);
        let mut states = self.apply_all(subject, &children, &mut hashes).await;
        if observed.epp_address == Address::Pending {
            // The Service has its address now, and the filter can follow.
            (children, observed) = self.render(subject, asked);
            states = self.apply_all(subject, &children, &mut hashes).await;
        }
        let waits_for_address = observed.epp_address == Address::Pending;
        states.extend(self.prune(subject, &children, waits_for_address).await);
        if observed.epp_address == Address::Headless {
            states.push(self.headless(asked));
        }
        let failed = states.iter().find_map(|child| match &child.state {
            State::Failed(_, message) => Some(message.clone()),
            _ => None,
        });
        self.report(subject, asked, &states).await?;
        match failed {
            None => {
                self.warned.remove(subject.key);
                Ok(None)
            }
            Some(message) => {
                self.warn(subject, "Failed", &message).await;
                Err(Failure {
                    code: 0,
                    verb: "keep",
                    what: "objects".to_owned(),
                    message,
                })
            }
        }
    }

    fn headless(&self, asked: &Asked) -> ChildState {
        let (namespace, name) = match asked {
            Asked::Install(one) => (
                one.scheduler_namespace.clone(),
                one.filter
                    .as_ref()
                    .map_or("", |f| f.name.as_str())
                    .to_owned(),
            ),
            Asked::Simulator(one) => (one.id.namespace.clone(), String::new()),
        };
        let state = State::Failed(
            "NoClusterIP",
            "the picker's Service has no ClusterIP, which the EnvoyFilter needs".to_owned(),
        );
        ChildState {
            kind: &ENVOY_FILTER,
            namespace,
            name,
            state,
            hash: String::new(),
        }
    }

    /// All objects, in order, and the facts that went into them.
    fn render(&self, subject: &Subject, asked: &Asked) -> (Vec<Child>, Observed) {
        match asked {
            Asked::Install(one) => {
                self.pods
                    .ask(subject.key, &facts::questions(&self.shared.store, one));
                let mut one = one.clone();
                one.id = subject.id.clone();
                let observed = facts::observed(&self.shared.store, &self.pods, &one);
                (install::desired(&one, &observed), observed)
            }
            Asked::Simulator(one) => {
                let mut one = one.clone();
                one.id = subject.id.clone();
                (simulator::desired(&one), Observed::default())
            }
        }
    }

    /// How an object stands: as watched, or asked for where that is not known.
    async fn live(&self, key: &ObjectKey, known: bool) -> Result<Option<Value>, Failure> {
        match self.shared.store.object(key) {
            Some(object) => Ok(Some(object)),
            // What carries no label of ours is not watched, so only what was once ours is known to be gone.
            None if known && self.shared.store.is_told(key.kind, &key.namespace) => Ok(None),
            None => self.server.get(key.kind, &key.namespace, &key.name).await,
        }
    }

    /// The first object that belongs to another custom resource.
    async fn conflict(
        &self,
        subject: &Subject<'_>,
        children: &[Child],
    ) -> Result<Option<Invalid>, Failure> {
        let hashes = recorded(&subject.object);
        for child in children
            .iter()
            .filter(|child| !self.shared.is_missing(child.kind))
        {
            let key = key_of(child);
            let live = match self.live(&key, hashes.contains_key(&key)).await {
                Ok(live) => live,
                // Whoever may not look will be told so by what follows.
                Err(failure) if failure.code == 403 || failure.code == 404 => None,
                Err(failure) => return Err(failure),
            };
            let Some(live) = live else { continue };
            if let Claim::Others(whose) = self.claims(subject, &live) {
                let text = format!(
                    "{} {}/{} belongs to {whose}; give this one another name or namespace, or delete that one",
                    child.kind.kind, child.namespace, child.name
                );
                return Ok(Some(Invalid::new("Conflict", text)));
            }
        }
        Ok(None)
    }

    async fn set_finalizer(&self, subject: &mut Subject<'_>, set: bool) -> Result<(), Failure> {
        let patch = finalizer_patch(&subject.object, set);
        let key = subject.key;
        let resource = custom_resource(key.owner);
        let object = self
            .server
            .merge(&resource, &key.namespace, &key.name, &patch)
            .await?;
        self.shared.store.put_custom(key.clone(), object.clone());
        subject.object = object;
        Ok(())
    }

    async fn apply_all(
        &mut self,
        subject: &Subject<'_>,
        children: &[Child],
        hashes: &mut BTreeMap<ObjectKey, String>,
    ) -> Vec<ChildState> {
        let mut states = Vec::new();
        for child in children {
            let state = match self.shared.is_missing(child.kind) {
                true => State::Skipped,
                false => self.apply_one(subject, child, hashes).await,
            };
            if state == State::Skipped {
                let text = format!(
                    "{} {}/{}: its kind is not served",
                    child.kind.kind, child.namespace, child.name
                );
                self.warn(subject, "Skipped", &text).await;
            }
            states.push(ChildState {
                kind: child.kind,
                namespace: child.namespace.clone(),
                name: child.name.clone(),
                state,
                hash: hash_of(child),
            });
        }
        states
    }

    async fn apply_one(
        &self,
        subject: &Subject<'_>,
        child: &Child,
        hashes: &mut BTreeMap<ObjectKey, String>,
    ) -> State {
        let key = key_of(child);
        let result = match self.live(&key, hashes.contains_key(&key)).await {
            // One that is being deleted cannot be kept; the event of its end brings us back.
            Ok(Some(live)) if !live["metadata"]["deletionTimestamp"].is_null() => {
                return State::Failed(
                    "BeingDeleted",
                    format!(
                        "{} {}/{} is being deleted",
                        child.kind.kind, child.namespace, child.name
                    ),
                );
            }
            Ok(live) => {
                apply(
                    &self.server,
                    child,
                    live.as_ref(),
                    hashes.get(&key).map(String::as_str),
                )
                .await
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok((done, now)) => {
                if let Some(now) = now {
                    self.shared.store.put(key.clone(), now);
                }
                hashes.insert(key, hash_of(child));
                self.tell(subject, child, done).await;
                State::Applied
            }
            Err(failure) => State::Failed(failure.reason(), failure.to_string()),
        }
    }

    async fn tell(&self, subject: &Subject<'_>, child: &Child, done: Done) {
        let key = key_of(child);
        let (reason, text) = match done {
            Done::Nothing => return,
            Done::Created => ("Created", words(&key)),
            Done::Updated(places) => ("Updated", format!("{}: {places}", words(&key))),
            Done::Corrected(who, places) => {
                self.server.counts.corrected(child.kind.kind);
                let text = format!("{}: {who} had changed {places}", words(&key));
                ("DriftCorrected", text)
            }
        };
        self.note(subject, reason, text, &key).await;
    }

    async fn note(&self, subject: &Subject<'_>, reason: &str, text: String, about: &ObjectKey) {
        let said = Said {
            warning: false,
            reason,
            text,
            about: Some(about),
        };
        self.events.tell(subject.key, &subject.object, said).await;
    }

    /// Warns once of the same thing.
    async fn warn(&mut self, subject: &Subject<'_>, reason: &str, text: &str) {
        let said = format!("{reason} {text}");
        if self.warned.get(subject.key) != Some(&said) {
            self.warned.insert(subject.key.clone(), said);
            let said = Said {
                warning: true,
                reason,
                text: text.to_owned(),
                about: None,
            };
            self.events.tell(subject.key, &subject.object, said).await;
        }
    }

    /// Every object that is or was this one's.
    fn known(&self, subject: &Subject) -> BTreeSet<ObjectKey> {
        let mut known: BTreeSet<ObjectKey> = recorded(&subject.object).into_keys().collect();
        let mine = self
            .shared
            .store
            .objects(|_, object| self.claims(subject, object) == Claim::Mine);
        known.extend(mine.into_iter().map(|(key, _)| key));
        known
    }

    /// Deletes what is no longer asked for; what could not be deleted stays in the list.
    async fn prune(
        &self,
        subject: &Subject<'_>,
        children: &[Child],
        waits_for_address: bool,
    ) -> Vec<ChildState> {
        let wanted: BTreeSet<ObjectKey> = children.iter().map(key_of).collect();
        let mut left = Vec::new();
        for key in self.known(subject) {
            let waits = waits_for_address && *key.kind == ENVOY_FILTER;
            if wanted.contains(&key) || waits || self.shared.is_missing(key.kind) {
                continue;
            }
            let is_mine = |object: &Value| self.claims(subject, object);
            match delete(&self.server, &self.shared.store, &key, is_mine).await {
                Ok(false) => {}
                Ok(true) => self.note(subject, "Pruned", words(&key), &key).await,
                Err(failure) => left.push(ChildState {
                    kind: key.kind,
                    namespace: key.namespace,
                    name: key.name,
                    state: State::Failed(failure.reason(), failure.to_string()),
                    hash: String::new(),
                }),
            }
        }
        left
    }

    /// A custom resource that was deleted: its objects go first, unless they are to stay.
    async fn finish(&mut self, subject: &Subject<'_>) -> Result<Option<Duration>, Failure> {
        if !has_finalizer(&subject.object) {
            self.forget(subject.key);
            return Ok(None);
        }
        let mut failure = None;
        let keep = keeps_children(&subject.object);
        for key in self.known(subject) {
            if self.shared.is_missing(key.kind) {
                continue;
            }
            let is_mine = |object: &Value| self.claims(subject, object);
            let done = match (keep, self.shared.store.object(&key)) {
                (true, Some(live)) => {
                    release(&self.server, &key, &live, subject.id.uid.as_deref()).await
                }
                (true, None) => Ok(()),
                (false, _) => delete(&self.server, &self.shared.store, &key, is_mine)
                    .await
                    .map(|_| ()),
            };
            if let Err(error) = done {
                failure.get_or_insert(error);
            }
        }
        if let Some(failure) = failure {
            let text = format!("cannot be deleted yet: {failure}");
            self.warn(subject, "CleanupFailed", &text).await;
            let ready = Condition::new("Ready", Some(false), "CleanupFailed", &text);
            let children = subject.object["status"]["children"].clone();
            self.write_status(subject, &[ready], json!({"children": children}))
                .await?;
            return Err(failure);
        }
        let patch = finalizer_patch(&subject.object, false);
        let key = subject.key;
        let resource = custom_resource(key.owner);
        match self
            .server
            .merge(&resource, &key.namespace, &key.name, &patch)
            .await
        {
            Err(failure) if failure.code != 404 => Err(failure),
            _ => Ok(None),
        }
    }

    async fn report(
        &self,
        subject: &Subject<'_>,
        asked: &Asked,
        states: &[ChildState],
    ) -> Result<(), Failure> {
        let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
        for child in states {
            *by_state.entry(child.word().to_owned()).or_default() += 1;
        }
        self.server.counts.children(subject.key.words(), by_state);
        let children: Vec<Value> = states.iter().map(ChildState::written).collect();
        match asked {
            Asked::Install(one) => {
                let sights = look(&self.shared, &self.pods, one);
                let fields =
                    json!({"children": children, "epp": sights.epp, "endpoints": sights.endpoints});
                let all = install_conditions(states, sights);
                self.write_status(subject, &all, fields).await
            }
            Asked::Simulator(one) => {
                let deployment = self.servers(one);
                let number = |key: &str| deployment["status"][key].as_i64().unwrap_or(0);
                let (replicas, ready) = (number("replicas"), number("readyReplicas"));
                let fields =
                    json!({"children": children, "replicas": replicas, "readyReplicas": ready});
                let all = simulator_conditions(states, replicas == ready);
                self.write_status(subject, &all, fields).await
            }
        }
    }

    /// The Deployment whose pods the status counts: that of the decode servers, or the only one.
    fn servers(&self, one: &simulator_spec::Simulator) -> Value {
        let name = simulator::counted(one);
        let key = ObjectKey {
            kind: &DEPLOYMENT,
            namespace: one.id.namespace.clone(),
            name,
        };
        self.shared.store.object(&key).unwrap_or(Value::Null)
    }

    async fn write_status(
        &self,
        subject: &Subject<'_>,
        all: &[Condition],
        fields: Value,
    ) -> Result<(), Failure> {
        let before = &subject.object["status"];
        let generation = &subject.object["metadata"]["generation"];
        let mut status = fields;
        status["conditions"] = conditions(&before["conditions"], all, generation, &now());
        status["observedGeneration"] = generation.clone();
        let changed = status.as_object().is_some_and(|fields| {
            // A field that is null here and not there is the same.
            fields
                .iter()
                .any(|(key, value)| before[key.as_str()] != *value)
        });
        if !changed {
            return Ok(());
        }
        let key = subject.key;
        let patch = json!({"status": status});
        match self
            .server
            .merge_status(key.owner, &key.namespace, &key.name, &patch)
            .await
        {
            Ok(object) => {
                self.shared.store.put_custom(key.clone(), object);
                Ok(())
            }
            Err(failure) if failure.code == 404 => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

fn words(key: &ObjectKey) -> String {
    format!("{} {}/{}", key.kind.kind, key.namespace, key.name)
}

fn key_of(child: &Child) -> ObjectKey {
    ObjectKey {
        kind: child.kind,
        namespace: child.namespace.clone(),
        name: child.name.clone(),
    }
}

/// The objects that the status lists, with the hash of what was last asked for.
fn recorded(custom: &Value) -> BTreeMap<ObjectKey, String> {
    let children = custom["status"]["children"]
        .as_array()
        .into_iter()
        .flatten();
    children
        .filter_map(|child| {
            let word = |key: &str| child[key].as_str().unwrap_or_default();
            let kind: &'static Kind = find(word("group"), word("kind"))?;
            let key = ObjectKey {
                kind,
                namespace: word("namespace").to_owned(),
                name: word("name").to_owned(),
            };
            (word("state") != "Skipped").then(|| (key, word("hash").to_owned()))
        })
        .collect()
}

/// The time as conditions tell it.
fn now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
