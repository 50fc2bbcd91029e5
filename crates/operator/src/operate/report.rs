//! Writing the status, when it says something else than before.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::desired::simulator;
use crate::kinds::DEPLOYMENT;
use crate::operate::api::Failure;
use crate::operate::reconcile::Reconciler;
use crate::operate::seen::look;
use crate::operate::status::{ChildState, Condition, conditions};
use crate::operate::store::ObjectKey;
use crate::operate::subject::{Asked, Subject};
use crate::operate::verdict::{install_conditions, simulator_conditions};
use crate::spec::simulator as simulator_spec;

impl Reconciler {
    pub(crate) async fn report(
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
                let sights = look(&self.shared, &self.pods, subject, one);
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
    pub(crate) fn servers(&self, one: &simulator_spec::Simulator) -> Value {
        let name = simulator::counted(one);
        let key = ObjectKey {
            kind: &DEPLOYMENT,
            namespace: one.id.namespace.clone(),
            name,
        };
        self.shared.store.object(&key).unwrap_or(Value::Null)
    }

    pub(crate) async fn write_status(
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

/// The time as conditions tell it.
fn now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
