//! The two custom resource definitions: their schemas, the defaults that the API server fills in, and the rules that it
//! refuses by.
//!
//! Names, types, defaults and closed lists are those of the original operator, so that its custom resources apply
//! unchanged; a test compares the schemas. What differs is listed in `docs/operator.md`.

mod scheduler_install;
mod schema;
mod simulator_deployment;

use serde_json::{Value, json};

use crate::crd::schema::Schema;

/// The API group of both kinds.
pub const GROUP: &str = "sim.llm-d.io";

/// The one version.
pub const VERSION: &str = "v1alpha1";

/// Group and version, as objects name them.
pub const API_VERSION: &str = "sim.llm-d.io/v1alpha1";

/// Both definitions, in the order of the manual.
pub fn definitions() -> Vec<Value> {
    vec![
        scheduler_install::definition(),
        simulator_deployment::definition(),
    ]
}

/// The names of a kind.
struct Names {
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
}

/// A column of `kubectl get`: its name, its type, where it is found.
type Column = (&'static str, &'static str, &'static str);

fn definition(
    names: &Names,
    says: &str,
    columns: &[Column],
    spec: Schema,
    status: Schema,
) -> Value {
    let whole = Schema::object(
        says,
        [
            (
                "apiVersion",
                Schema::text("The group and version that this object is written in."),
            ),
            ("kind", Schema::text("What this object is.")),
            ("metadata", Schema::object("", []).without_properties()),
            ("spec", spec),
            ("status", status),
        ],
    )
    .rule(
        "self.metadata.name.size() <= 63",
        "metadata.name must be at most 63 long, since it becomes the value of a label",
    );
    let columns: Vec<Value> = columns
        .iter()
        .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", names.plural)},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": names.kind.to_lowercase(),
                "shortNames": [names.short],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": whole.done()},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What ours has and the original has not, by path; below one of these nothing is compared.
    const ADDED: &[&str] = &[
        "spec.epp.autoscaled",
        "spec.epp.flavor",
        "spec.epp.reload",
        "spec.gateway.statsPort",
        "spec.gateway.tls",
        "spec.envoyFilter.mode",
        "spec.inferencePool",
        "status.children",
        "status.endpoints",
        "status.epp",
        "status.observedGeneration",
    ];

    /// Defaults of the original that ours leaves out, so that another field decides.
    const DEFAULTS_LEFT_OUT: &[&str] = &["spec.proxyService.targetPort"];

    fn original(plural: &str) -> Value {
        let path = format!(
            "{}/../../tests/crds/sim.llm-d.io/sim.llm-d.io_{plural}.yaml",
            env!("CARGO_MANIFEST_DIR")
        );
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn compare(path: &str, theirs: &Value, ours: &Value, faults: &mut Vec<String>) {
        let (Value::Object(a), Value::Object(b)) = (theirs, ours) else {
            if theirs != ours {
                faults.push(format!("{path}: {theirs} there, {ours} here"));
            }
            return;
        };
        for (key, value) in a {
            if matches!(key.as_str(), "description") && value.is_string() {
                continue;
            }
            if key == "default" && DEFAULTS_LEFT_OUT.contains(&path) {
                assert!(!b.contains_key("default"), "{path}");
                continue;
            }
            match b.get(key) {
                None => faults.push(format!("{path}.{key} is missing")),
                Some(other) => {
                    let below = match key.as_str() {
                        "properties" | "items" => path.to_owned(),
                        _ => format!("{path}.{key}").trim_start_matches('.').to_owned(),
                    };
                    compare(&below, value, other, faults);
                }
            }
        }
        for key in b.keys().filter(|key| !a.contains_key(*key)) {
            let below = format!("{path}.{key}");
            let below = below.trim_start_matches('.');
            let only_ours = matches!(
                key.as_str(),
                "x-kubernetes-validations" | "description" | "maxLength"
            );
            if !only_ours && !ADDED.contains(&below) {
                faults.push(format!("{below} is not in the original"));
            }
        }
    }

    #[test]
    fn schemas_are_those_of_the_original_but_for_what_is_listed() {
        for ours in definitions() {
            let plural = ours["spec"]["names"]["plural"].as_str().unwrap();
            let theirs = original(plural);
            assert_eq!(ours["spec"]["names"], theirs["spec"]["names"]);
            assert_eq!(ours["spec"]["scope"], theirs["spec"]["scope"]);
            let schema =
                |crd: &Value| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            let mut faults = Vec::new();
            compare("", &schema(&theirs), &schema(&ours), &mut faults);
            assert!(faults.is_empty(), "{plural}:\n{}", faults.join("\n"));
            for key in ["name", "served", "storage", "subresources"] {
                assert_eq!(
                    ours["spec"]["versions"][0][key],
                    theirs["spec"]["versions"][0][key]
                );
            }
        }
    }

    #[test]
    fn a_comparison_sees_what_is_missing_added_and_other() {
        let mut faults = Vec::new();
        let theirs = json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
        let ours = json!({"properties": {"b": {"type": "integer"}, "c": {"type": "string"}}});
        compare("", &theirs, &ours, &mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn the_file_that_is_installed_is_this() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../deploy/operator/crds.yaml"
        );
        let all = definitions();
        let text = crate::render::text(
            all.iter().map(|one| (one, None)),
            crate::render::Format::Yaml,
        );
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            text,
            "write it again: pointsman crds > deploy/operator/crds.yaml"
        );
    }

    #[test]
    fn columns_of_the_original_are_kept() {
        let theirs = original("simulatordeployments");
        let ours = &definitions()[1];
        let columns = |crd: &Value| {
            crd["spec"]["versions"][0]["additionalPrinterColumns"]
                .as_array()
                .unwrap()
                .clone()
        };
        for column in columns(&theirs) {
            assert!(columns(ours).contains(&column), "{column}");
        }
    }
}
