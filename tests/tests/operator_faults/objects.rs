//! What stands in the cluster, and how it is changed by hand.

use std::collections::BTreeMap;

use pointsman_tests::cluster::Cluster;
use pointsman_tests::operator_cases::id_of;
use pointsman_tests::operator_world::MINE;
use serde_json::{Value, json};

pub(crate) use pointsman_tests::operator_world::{EPP, patch};

/// All objects that the operator has made, without what differs from one creation to the next.
pub(crate) fn made(cluster: &Cluster) -> BTreeMap<String, Value> {
    let kinds = "serviceaccounts,roles,rolebindings,configmaps,deployments.apps,services,gateways,httproutes,referencegrants.v1beta1.gateway.networking.k8s.io,destinationrules.v1beta1.networking.istio.io,envoyfilters";
    let text = cluster.kubectl(&["get", kinds, "-A", "-l", MINE, "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|object| (id_of(object), normal(object.clone())))
        .collect()
}

fn normal(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for key in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "annotations",
    ] {
        meta.remove(key);
    }
    let owners = object["metadata"]["ownerReferences"].as_array_mut();
    for owner in owners.into_iter().flatten() {
        owner["uid"] = json!("");
    }
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = json!("");
        object["spec"]["clusterIPs"] = json!([]);
    }
    if object["kind"] == "EnvoyFilter" {
        let cluster = &mut object["spec"]["configPatches"][1]["patch"]["value"]["load_assignment"];
        let place = &mut cluster["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
        place["socket_address"]["address"] = json!("");
    }
    object
}
