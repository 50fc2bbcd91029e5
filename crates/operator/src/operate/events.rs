//! Kubernetes Events on custom resources. Equal ones about the same object are counted, not repeated.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;

use crate::crd::API_VERSION;
use crate::desired::child::MANAGER;
use crate::operate::store::{CustomKey, ObjectKey};

/// Longest text of an event.
const LONGEST: usize = 1000;

/// Writes events.
pub(crate) struct Events {
    recorder: Recorder,
}

/// What an event says.
pub(crate) struct Said<'a> {
    pub(crate) warning: bool,
    pub(crate) reason: &'a str,
    pub(crate) text: String,
    /// The object that it is about, beside the custom resource.
    pub(crate) about: Option<&'a ObjectKey>,
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Tells of something that was done, or of why it was not. An event that cannot be written is no reason to stop.
    pub(crate) async fn tell(&self, key: &CustomKey, object: &Value, said: Said<'_>) {
        let mut note = said.text;
        if note.len() > LONGEST {
            let cut = (0..=LONGEST).rev().find(|at| note.is_char_boundary(*at));
            note.truncate(cut.unwrap_or(0));
        }
        let regarding = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(key.owner.kind().to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: object["metadata"]["uid"].as_str().map(str::to_owned),
            ..ObjectReference::default()
        };
        let secondary = said.about.map(|about| ObjectReference {
            api_version: Some(about.kind.api_version()),
            kind: Some(about.kind.kind.to_owned()),
            namespace: Some(about.namespace.clone()),
            name: Some(about.name.clone()),
            ..ObjectReference::default()
        });
        let event = Event {
            type_: if said.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: said.reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary,
        };
        let _ = self.recorder.publish(&event, &regarding).await;
    }
}
