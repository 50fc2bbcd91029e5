//! Taking away what is no longer asked for, one object or all of a custom resource that was deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::desired::child::Child;
use crate::kinds::ENVOY_FILTER;
use crate::operate::api::{Failure, custom_resource};
use crate::operate::claim::{Claim, claim};
use crate::operate::cleanup::{delete, finalizer_patch, has_finalizer, keeps_children, release};
use crate::operate::reconcile::Reconciler;
use crate::operate::status::{ChildState, Condition, State};
use crate::operate::store::ObjectKey;
use crate::operate::subject::{Subject, key_of, pruned, recorded, words};

impl Reconciler {
    pub(crate) async fn set_finalizer(
        &self,
        subject: &mut Subject<'_>,
        set: bool,
    ) -> Result<(), Failure> {
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

    /// Every object that is or was this one's.
    pub(crate) fn known(&self, subject: &Subject) -> BTreeSet<ObjectKey> {
        let mut known: BTreeSet<ObjectKey> = recorded(&subject.object).into_keys().collect();
        // Whether another one is still there makes nothing this one's; asking for that would lock the store twice.
        let (owner, id) = (subject.key.owner, &subject.id);
        let is_mine = |object: &Value| claim(object, owner, id, |_, _, _| true) == Claim::Mine;
        let mine = self.shared.store.objects(|_, object| is_mine(object));
        known.extend(mine.into_iter().map(|(key, _)| key));
        known
    }

    /// Deletes what is no longer asked for. What is gone is told while the spec stays as it is; what could not be deleted
    /// stays in the list.
    pub(crate) async fn prune(
        &self,
        subject: &Subject<'_>,
        children: &[Child],
        waits_for_address: bool,
    ) -> Vec<ChildState> {
        let wanted: BTreeSet<ObjectKey> = children.iter().map(key_of).collect();
        let mut left = Vec::new();
        let state = |key: &ObjectKey, state: State| ChildState {
            kind: key.kind,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            state,
            hash: String::new(),
        };
        let before = pruned(&subject.object).into_iter();
        let mut gone: BTreeSet<ObjectKey> = before.filter(|key| !wanted.contains(key)).collect();
        for key in self.known(subject) {
            let waits = waits_for_address && *key.kind == ENVOY_FILTER;
            if wanted.contains(&key) || waits || self.shared.is_missing(key.kind) {
                continue;
            }
            let is_mine = |object: &Value| self.claims(subject, object);
            self.habits.forget(&key);
            match delete(&self.server, &self.shared.store, &key, is_mine).await {
                Ok(false) => {}
                Ok(true) => {
                    self.note(subject, "Pruned", words(&key), &key).await;
                    gone.insert(key);
                }
                Err(failure) => {
                    gone.remove(&key);
                    let failed = State::Failed(failure.reason(), failure.to_string());
                    left.push(state(&key, failed));
                }
            }
        }
        left.extend(gone.iter().map(|key| state(key, State::Pruned)));
        left
    }

    /// A custom resource that was deleted: its objects go first, unless they are to stay.
    pub(crate) async fn finish(
        &mut self,
        subject: &Subject<'_>,
    ) -> Result<Option<Duration>, Failure> {
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
            self.habits.forget(&key);
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
}
