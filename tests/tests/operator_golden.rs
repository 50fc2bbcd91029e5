//! The recorded cases of the operator without a server: what is rendered is what the original makes, but for what is
//! listed as different on purpose.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pointsman_operator::desired::child::{Child, Owner};
use pointsman_operator::desired::{Address, Observed};
use pointsman_operator::render::children;
use pointsman_tests::operator_cases::{
    Action, Case, all, differences, id_of, is_custom, merge, without_server_defaults,
};
use serde_json::Value;

/// Custom resources as a case goes on, in the order in which they came.
#[derive(Default)]
struct World {
    custom: Vec<(Owner, Value)>,
}

/// What becomes of them.
#[derive(Default)]
struct Outcome {
    objects: BTreeMap<String, Value>,
    /// Why one is not ready, by its id.
    faults: BTreeMap<String, &'static str>,
}

fn owner_of(kind: &str) -> Option<Owner> {
    [Owner::Install, Owner::Simulator]
        .into_iter()
        .find(|owner| owner.kind().eq_ignore_ascii_case(kind))
}

impl World {
    /// Whether the step was about the custom resources at all.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Apply(objects) => {
                for object in objects {
                    let owner = owner_of(object["kind"].as_str().unwrap()).unwrap();
                    self.custom
                        .retain(|(_, other)| id_of(other) != id_of(&object));
                    self.custom.push((owner, object));
                }
                true
            }
            Action::Patch(target, patch) => {
                let found = self.custom.iter_mut().find(|(owner, object)| {
                    owner.kind().eq_ignore_ascii_case(&target.kind)
                        && object["metadata"]["name"] == target.name.as_str()
                });
                found.map(|(_, object)| merge(object, &patch)).is_some()
            }
            Action::Delete(target) => {
                let before = self.custom.len();
                self.custom
                    .retain(|(_, object)| object["metadata"]["name"] != target.name.as_str());
                self.custom.len() < before
            }
        }
    }

    /// What the operator would make of it: who comes first keeps what two want.
    fn settle(&self, without: &[String]) -> Outcome {
        let mut outcome = Outcome::default();
        for (owner, object) in &self.custom {
            let id = id_of(object);
            let epp = object["spec"]["epp"]["name"]
                .as_str()
                .unwrap_or("gaie-inference-scheduling-epp");
            let observed = Observed {
                epp_address: Address::Ip(format!("<clusterIP of {epp}>")),
                ..Observed::default()
            };
            let made = match children(*owner, object, &observed) {
                Ok(made) => made,
                Err(invalid) => {
                    outcome.faults.insert(id, invalid.reason);
                    continue;
                }
            };
            if made
                .iter()
                .any(|child| outcome.objects.contains_key(&id_of(&child.value)))
            {
                outcome.faults.insert(id, "Conflict");
                continue;
            }
            let served = |child: &Child| !without.iter().any(|group| group == child.kind.group);
            if !made.iter().all(served) {
                outcome.faults.insert(id, "CRDMissing");
            }
            for child in made.into_iter().filter(served) {
                outcome.objects.insert(id_of(&child.value), child.value);
            }
        }
        outcome
    }
}

fn check(case: &Case) -> Vec<String> {
    let mut faults = Vec::new();
    let mut world = World::default();
    for number in 0..case.steps() {
        let refused = case.rejected(number).is_some();
        if !world.act(case.action(number)) {
            // What is done to generated objects needs a server.
            continue;
        }
        let outcome = world.settle(&case.without());
        let mut fault =
            |text: String| faults.push(format!("{} step {}: {text}", case.name, number + 1));
        if refused {
            if outcome.faults.is_empty() {
                fault("is rendered although the API server refuses it".to_owned());
            }
            world.custom.clear();
            continue;
        }
        let expected = case.expected(number);
        for ready in &expected.ready {
            let of = |(_, object): &(Owner, Value)| id_of(object);
            let id = ready
                .object
                .clone()
                .unwrap_or_else(|| world.custom.first().map(of).unwrap());
            let found = outcome.faults.get(&id).copied();
            if ready.status == "False" && found != ready.reason.as_deref()
                || ready.status == "True" && found.is_some()
            {
                fault(format!("{id}: {found:?}, expected: {ready:?}"));
            }
        }
        if expected.ready.is_empty() && !outcome.faults.is_empty() {
            fault(format!("{:?}", outcome.faults));
        }
        let custom = |id: &str| is_custom(id);
        for (id, recorded) in expected.objects.iter().filter(|(id, _)| !custom(id)) {
            let Some(ours) = outcome.objects.get(id) else {
                fault(format!("{id} is missing"));
                continue;
            };
            if expected.only_existence {
                continue;
            }
            let mut recorded = recorded.clone();
            without_server_defaults(&mut recorded);
            for difference in differences(&recorded, ours) {
                fault(format!("{id}: {difference}"));
            }
        }
        for id in outcome.objects.keys() {
            if !expected.objects.contains_key(id) && !expected.may.contains(id) {
                fault(format!("{id} is there and should not be"));
            }
        }
    }
    faults
}

#[test]
fn golden_cases_render_as_recorded() {
    let faults: Vec<String> = all().iter().flat_map(check).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn golden_comparison_refuses_what_differs() {
    let cases = all();
    let case = cases
        .iter()
        .find(|case| case.name == "sched-sample-default")
        .unwrap();
    let mut world = World::default();
    world.act(case.action(0));
    world.custom[0].1["spec"]["epp"]["port"] = 9100.into();
    let outcome = world.settle(&[]);
    let id = "Deployment/llm-d-inference-scheduler/gaie-inference-scheduling-epp";
    let found = differences(&case.expected(0).objects[id], &outcome.objects[id]);
    assert!(
        found.iter().any(|text| text.contains("args[14]")),
        "{found:?}"
    );
}
