//! The model-server side of the lab: prefill and decode servers, the P/D proxies in front of each pair, the pool of
//! proxies, the routes, and the `SchedulerInstall` that puts a picker and a gateway before them.
//!
//! What is rendered is a pure function of the settings; only [`apply`] talks to a cluster.

pub mod apply;
mod install;
mod proxies;
mod routing;
mod servers;
pub mod settings;
mod simulator;
mod usable;
pub mod volume;

use serde_json::{Value, json};

use crate::desired::child::{Child, MANAGED_BY};
use crate::kinds::{Kind, NAMESPACE};
use crate::stack::settings::{Part, Settings, Shape};

/// Who the objects say has made them, and the field manager that writes them.
pub const MANAGER: &str = "pointsman-stack";

/// All objects, in the order in which they have to be written.
pub fn objects(settings: &Settings) -> Vec<Child> {
    let mut made = Vec::new();
    for namespace in namespaces(settings) {
        made.push(object(&NAMESPACE, "", &namespace, &[], json!({})));
    }
    let wants = |part| settings.parts.contains(&part);
    match settings.shape {
        Shape::Pairs => {
            if wants(Part::Servers) {
                servers::servers(settings, &mut made);
            }
            if wants(Part::Proxies) {
                proxies::proxies(settings, &mut made);
            }
        }
        Shape::Simulator => {
            if wants(Part::Servers) {
                made.push(simulator::simulator(settings));
            }
        }
    }
    if wants(Part::Pool) {
        made.push(routing::pool(settings));
    }
    if wants(Part::Routes) && settings.shape == Shape::Pairs {
        routing::by_header(settings, &mut made);
    }
    if wants(Part::Install) {
        made.push(install::install(settings));
    }
    made
}

/// The namespaces that the objects are in.
fn namespaces(settings: &Settings) -> Vec<String> {
    let own = [Part::Servers, Part::Proxies, Part::Pool, Part::Routes];
    let mut all = Vec::new();
    if own.iter().any(|part| settings.parts.contains(part)) {
        all.push(settings.namespace.clone());
    }
    let schedulers = [Part::Routes, Part::Install];
    if schedulers.iter().any(|part| settings.parts.contains(part))
        && settings.scheduler_namespace != settings.namespace
    {
        all.push(settings.scheduler_namespace.clone());
    }
    all
}

/// One object; an empty namespace is none.
fn object(
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    labels: &[(&str, &str)],
    body: Value,
) -> Child {
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    let own = (MANAGED_BY, MANAGER);
    metadata["labels"] = map(labels.iter().copied().chain([own]));
    Child::new(kind, namespace, name, metadata, body)
}

/// Words by name.
fn map<'a>(words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entries = words
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)));
    Value::Object(entries.collect())
}

/// What a container of our image may do, which is nothing but compute and listen.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    })
}
