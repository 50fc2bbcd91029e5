//! From a tree to the document as written: every field that cannot be read is told and left out.

use serde_json::Value;

use crate::config::basis::Registry;
use crate::config::fault::{Fault, refuses};
use crate::config::shape::{shaped, taken};
use crate::config::tree::{Node, Tree};
use crate::config::written::Written;
use crate::contract::spec::schema_of;

/// Reads a document; the faults are in the order of the document, without places.
pub fn read(tree: &Tree, registry: &Registry) -> (Written, Vec<Fault>) {
    let schema = schema_of::<Written>();
    let (value, mut faults) = shaped(tree, schema.as_value(), "");
    let value = value.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let mut written: Written = match serde_json::from_value(value) {
        Ok(written) => written,
        Err(why) => {
            faults.push(Fault::error("", why.to_string()));
            return (Written::default(), faults);
        }
    };
    for (at, plugin) in written.plugins.iter_mut().enumerate() {
        let Some(tree) = parameters_of(tree, at) else {
            continue;
        };
        let path = format!("plugins[{at}].parameters");
        let Some(spec) = registry.find(&plugin.kind) else {
            plugin.parameters = Some(taken(tree));
            continue;
        };
        let schema = (spec.schema)();
        let (parameters, found) = match (&tree.node, schema.as_value().get("properties")) {
            // Parameters of a plugin that takes none are ignored, whatever they are.
            (Node::Map(_), None) => (Some(taken(tree)), Vec::new()),
            _ => shaped(tree, schema.as_value(), &path),
        };
        plugin.parameters = parameters;
        let found: Vec<Fault> = found
            .into_iter()
            .map(|mut fault| {
                fault.message = format!(
                    "failed to create plugin '{}' (type: {}): {}",
                    plugin.name.as_deref().unwrap_or(&plugin.kind),
                    plugin.kind,
                    fault.message
                );
                fault
            })
            .collect();
        plugin.broken = refuses(&found);
        faults.extend(found);
    }
    (written, faults)
}

fn parameters_of(tree: &Tree, at: usize) -> Option<&Tree> {
    let Node::List(plugins) = &entry(tree, "plugins")?.node else {
        return None;
    };
    entry(plugins.get(at)?, "parameters")
}

fn entry<'t>(tree: &'t Tree, name: &str) -> Option<&'t Tree> {
    let Node::Map(entries) = &tree.node else {
        return None;
    };
    entries
        .iter()
        .find(|entry| entry.name == name)
        .map(|entry| &entry.value)
}

/// Gives every fault its place in `tree` and sorts by place. A fault that `also` finds at or below a field that
/// `first` already refuses follows from it and is left out.
pub fn located(tree: &Tree, first: Vec<Fault>, also: Vec<Fault>) -> Vec<Fault> {
    let follows = |fault: &Fault| {
        first.iter().any(|refused| {
            !refused.on_name
                && !refused.path.is_empty()
                && fault
                    .path
                    .strip_prefix(refused.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    let also: Vec<Fault> = also.into_iter().filter(|fault| !follows(fault)).collect();
    let mut all: Vec<Fault> = first.into_iter().chain(also).collect();
    for fault in &mut all {
        let place = tree.place_of(&fault.path, fault.on_name);
        let _ = fault.place.get_or_insert(place);
    }
    all.sort_by_key(|fault| fault.place);
    all
}
