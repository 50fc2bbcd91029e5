//! Making every object as it should be, and telling what was done.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::desired::child::Child;
use crate::operate::api::Failure;
use crate::operate::apply::{Done, apply, hash_of};
use crate::operate::events::Said;
use crate::operate::reconcile::{LeftTo, Reconciler};
use crate::operate::status::{ChildState, State};
use crate::operate::store::ObjectKey;
use crate::operate::subject::{Subject, key_of, words};

/// So many warnings of one custom resource are remembered.
const MOST_WARNINGS: usize = 64;

impl Reconciler {
    /// How an object stands: as watched, or asked for where that is not known.
    pub(crate) async fn live(
        &self,
        key: &ObjectKey,
        known: bool,
    ) -> Result<Option<Value>, Failure> {
        match self.shared.store.object(key) {
            Some(object) => Ok(Some(object)),
            // What carries no label of ours is not watched, so only what was once ours is known to be gone.
            None if known && self.shared.store.is_told(key.kind, &key.namespace) => Ok(None),
            None => self.server.get(key.kind, &key.namespace, &key.name).await,
        }
    }

    pub(crate) async fn apply_all(
        &mut self,
        subject: &Subject<'_>,
        children: &[Child],
        left_to: &LeftTo,
        hashes: &mut BTreeMap<ObjectKey, String>,
    ) -> Vec<ChildState> {
        let mut states = Vec::new();
        for child in children {
            let state = match left_to.get(&key_of(child)) {
                Some(whose) => State::Shared(whose.clone()),
                None if self.shared.is_missing(child.kind) => State::Skipped,
                None => self.apply_one(subject, child, hashes).await,
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

    pub(crate) async fn apply_one(
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
                    &self.habits,
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

    pub(crate) async fn tell(&self, subject: &Subject<'_>, child: &Child, done: Done) {
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

    pub(crate) async fn note(
        &self,
        subject: &Subject<'_>,
        reason: &str,
        text: String,
        about: &ObjectKey,
    ) {
        let said = Said {
            warning: false,
            reason,
            text,
            about: Some(about),
        };
        self.events.tell(subject.key, &subject.object, said).await;
    }

    /// Warns once of the same thing, until all is well again.
    pub(crate) async fn warn(&mut self, subject: &Subject<'_>, reason: &str, text: &str) {
        let told = self.warned.entry(subject.key.clone()).or_default();
        // Texts that change at every look must not gather for ever.
        if told.len() > MOST_WARNINGS {
            told.clear();
        }
        if told.insert(format!("{reason} {text}")) {
            let said = Said {
                warning: true,
                reason,
                text: text.to_owned(),
                about: None,
            };
            self.events.tell(subject.key, &subject.object, said).await;
        }
    }
}
