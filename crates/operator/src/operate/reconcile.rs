//! One custom resource, from what it asks for to what its status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::desired::child::{Child, Owner};
use crate::desired::twice::once;
use crate::desired::{Address, Observed, install, simulator};
use crate::kinds::ENVOY_FILTER;
use crate::operate::api::{Failure, Server};
use crate::operate::apply::Habits;
use crate::operate::claim::{Claim, claim};
use crate::operate::cleanup::has_finalizer;
use crate::operate::events::Events;
use crate::operate::facts;
use crate::operate::front::may_share;
use crate::operate::pods::Pods;
use crate::operate::status::{ChildState, Condition, State, accepted};
use crate::operate::store::{CustomKey, ObjectKey};
use crate::operate::subject::{Asked, Subject, key_of, recorded};
use crate::operate::tell::Level;
use crate::operate::watching::{Scope, Shared};
use crate::spec::invalid::Invalid;
use crate::spec::meta::Identity;
use crate::spec::{install as install_spec, simulator as simulator_spec};

/// First pause after a failure, and the longest: short where the server may be well again at any moment, long where
/// somebody has to give a right first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_FORBIDDEN: Duration = Duration::from_secs(30);
/// How often one that is in conflict is looked at without an event.
const CONFLICT_PAUSE: Duration = Duration::from_secs(30);

/// Objects that a custom resource of the other kind keeps, and which one.
pub(crate) type LeftTo = BTreeMap<ObjectKey, String>;

/// Looks at custom resources.
pub(crate) struct Reconciler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: Server,
    pub(crate) pods: Arc<Pods>,
    pub(crate) events: Events,
    pub(crate) scope: Scope,
    /// What the cluster adds to objects whatever is written.
    pub(crate) habits: Habits,
    /// How often each has failed in a row.
    pub(crate) failures: BTreeMap<CustomKey, u32>,
    /// The warnings told of each since all was well with it, so that each is told once.
    pub(crate) warned: BTreeMap<CustomKey, BTreeSet<String>>,
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
                let longest = match failure.code {
                    403 => LONGEST_FORBIDDEN,
                    _ => LONGEST_PAUSE,
                };
                let pause = FIRST_PAUSE * 2u32.saturating_pow((*times).min(5));
                *times += 1;
                self.shared.queue.add_later(key.clone(), pause.min(longest));
                (self.shared.tell)(Level::Error, &format!("{}: {failure}", key.words()));
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

    pub(crate) fn forget(&mut self, key: &CustomKey) {
        self.pods.ask(key, &BTreeSet::new());
        self.failures.remove(key);
        self.warned.remove(key);
        self.shared.in_conflict.lock().remove(key);
        self.shared.drop_evidence(key);
        self.server.counts.children(key.words(), BTreeMap::new());
    }

    pub(crate) fn claims(&self, subject: &Subject, object: &Value) -> Claim {
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
        if let Asked::Install(one) = asked {
            let which = facts::questions(&self.shared.store, one);
            self.pods.ask(subject.key, &which);
            // Pods that were not listed yet are not none: whoever lists them brings us back.
            if self.pods.waits(&which) {
                return Ok(None);
            }
        }
        let (mut children, mut observed) = self.render(subject, asked);
        if let Err(invalid) = once(subject.key.owner, &children) {
            self.refuse(subject, &invalid).await?;
            return Ok(None);
        }
        let left_to = match self.others(subject, asked, &children).await? {
            Ok(left_to) => left_to,
            Err(conflict) => {
                self.shared.in_conflict.lock().insert(subject.key.clone());
                self.refuse(subject, &conflict).await?;
                return Ok(Some(CONFLICT_PAUSE));
            }
        };
        match left_to.is_empty() {
            true => self.shared.in_conflict.lock().remove(subject.key),
            // It is taken over when the other one goes.
            false => self.shared.in_conflict.lock().insert(subject.key.clone()),
        };
        if !has_finalizer(&subject.object) {
            self.set_finalizer(subject, true).await?;
        }
        let mut hashes = recorded(&subject.object);
        let mut states = self
            .apply_all(subject, &children, &left_to, &mut hashes)
            .await;
        if observed.epp_address == Address::Pending {
            // The Service has its address now, and the filter can follow.
            (children, observed) = self.render(subject, asked);
            states = self
                .apply_all(subject, &children, &left_to, &mut hashes)
                .await;
        }
        let waits_for_address = observed.epp_address == Address::Pending;
        states.extend(self.prune(subject, &children, waits_for_address).await);
        if observed.epp_address == Address::Headless {
            states.push(self.headless(asked));
        }
        let failed: Vec<(&str, String)> = states
            .iter()
            .filter_map(|child| match &child.state {
                State::Failed(reason, message) => Some((*reason, message.clone())),
                _ => None,
            })
            .collect();
        self.report(subject, asked, &states).await?;
        let Some((_, message)) = failed.first() else {
            if !states.iter().any(|child| child.state == State::Skipped) {
                self.warned.remove(subject.key);
            }
            return Ok(None);
        };
        self.warn(subject, "Failed", message).await;
        let forbidden = failed.iter().all(|(reason, _)| *reason == "Forbidden");
        Err(Failure {
            code: if forbidden { 403 } else { 0 },
            verb: "keep",
            what: "objects".to_owned(),
            message: message.clone(),
        })
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

    /// The objects that are left to others, or the first one that belongs to another custom resource and cannot be.
    async fn others(
        &self,
        subject: &Subject<'_>,
        asked: &Asked,
        children: &[Child],
    ) -> Result<Result<LeftTo, Invalid>, Failure> {
        let hashes = recorded(&subject.object);
        let mut left_to = LeftTo::new();
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
            if let Claim::Others(other, whose) = self.claims(subject, &live) {
                let me = (subject.key, asked);
                let shared = |other| may_share(&self.shared.store, me, child, other);
                if other.as_ref().is_some_and(shared) {
                    left_to.insert(key, whose);
                    continue;
                }
                let text = format!(
                    "{} {}/{} belongs to {whose}; give this one another name or namespace, or delete that one",
                    child.kind.kind, child.namespace, child.name
                );
                return Ok(Err(Invalid::new("Conflict", text)));
            }
        }
        Ok(Ok(left_to))
    }
}
