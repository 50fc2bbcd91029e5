//! Custom resources come, change and go in any order (O5).

use std::collections::BTreeMap;

use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::operator_world::{World, install};
use pointsman_tests::patience::until;
use serde_json::{Value, json};

use crate::objects::{EPP, made};

/// A generator of numbers that are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn install(&mut self, namespace: &str) -> String {
        let profiles = [
            "default",
            "proxy-performance",
            "proxy-performance-by-backend",
        ];
        let (epp, gateway) = (self.flag(), self.flag());
        let names = [EPP, "other-epp"];
        let more = json!({
            "epp": {
                "enabled": epp,
                "name": names[self.below(2) as usize],
                "configProfile": profiles[self.below(3) as usize],
                "replicas": 1 + self.below(2),
            },
            "gateway": {"enabled": gateway},
            "routing": {"enabled": self.flag()},
            "destinationRule": {"enabled": self.flag()},
            "envoyFilter": {"enabled": epp && self.flag()},
            "proxyService": {"port": 8000 + self.below(3)},
        });
        install(namespace, &more)
    }

    fn simulator(&mut self, namespace: &str) -> String {
        let spec = json!({
            "replicas": 1 + self.below(3),
            "prefill": {"enabled": self.flag(), "port": 8200 + self.below(2)},
            "decode": {"enabled": self.flag()},
            "epp": {"enabled": self.flag()},
            "inferenceGateway": {"enabled": self.flag(), "standard": {"enabled": true}, "istio": {"enabled": self.flag()}},
        });
        json!({
            "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SimulatorDeployment",
            "metadata": {"name": "s", "namespace": namespace}, "spec": spec,
        })
        .to_string()
    }
}

fn all_settled(cluster: &Cluster, wanted: &BTreeMap<(String, bool), String>) -> Option<()> {
    let kinds = "schedulerinstalls,simulatordeployments";
    let text = cluster.kubectl(&["get", kinds, "-A", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap();
    let settled = items.iter().all(|custom| {
        let conditions = custom["status"]["conditions"].as_array();
        let applied = conditions
            .into_iter()
            .flatten()
            .any(|one| one["type"] == "Applied" && one["status"] == "True");
        applied && custom["status"]["observedGeneration"] == custom["metadata"]["generation"]
    });
    (settled && items.len() == wanted.len()).then_some(())
}

#[test]
fn o5_the_order_of_twenty_custom_resources_does_not_matter() {
    let setup = Setup {
        controllers: true,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    let places: Vec<String> = (0..10).map(|n| format!("o5-{n}")).collect();
    for place in &places {
        world.namespace(place);
        world.namespace(&format!("{place}-m"));
    }
    let mut draws = Draws(20_261_128);
    let mut wanted: BTreeMap<(String, bool), String> = BTreeMap::new();
    for _ in 0..70 {
        let place = &places[draws.below(10) as usize];
        let key = (place.clone(), draws.flag());
        let kind = if key.1 { "schedinst/i" } else { "simdep/s" };
        if wanted.contains_key(&key) && draws.below(3) == 0 {
            cluster.kubectl(&["delete", "-n", place, kind, "--wait=false"]);
            wanted.remove(&key);
            continue;
        }
        let custom = match key.1 {
            true => draws.install(place),
            false => draws.simulator(place),
        };
        // One that is still being deleted comes again afterwards.
        until("the former one to be gone", || {
            let time = "jsonpath={.metadata.deletionTimestamp}";
            let found = cluster.try_kubectl(&["get", "-n", place, kind, "-o", time]);
            found.map_or(Some(()), |time| time.is_empty().then_some(()))
        });
        cluster.apply(&custom);
        wanted.insert(key, custom);
    }
    until("all to be settled", || all_settled(cluster, &wanted));
    // What went with a deleted one is collected in its own time.
    let belongs = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        let of = |label: &str| labels[label].as_str().map(str::to_owned);
        let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
        match of("sim.llm-d.io/schedulerNamespace") {
            Some(namespace) => wanted.contains_key(&(namespace, true)),
            None => wanted.contains_key(&(namespace, false)),
        }
    };
    let after_all = until("what belongs to nobody to be gone", || {
        let made = made(cluster);
        made.values().all(belongs).then_some(made)
    });
    cluster.kubectl(&["delete", "schedinst,simdep", "-A", "--all"]);
    until("everything to be gone", || {
        made(cluster).is_empty().then_some(())
    });
    let all: Vec<String> = wanted.values().cloned().collect();
    cluster.apply(&all.join("\n---\n"));
    until("all to be settled", || all_settled(cluster, &wanted));
    let fresh = made(cluster);
    assert!(fresh.len() > 30, "{}", fresh.len());
    let ids = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&after_all), ids(&fresh));
    for (id, object) in &fresh {
        assert_eq!(after_all[id], *object, "{id}");
    }
}
