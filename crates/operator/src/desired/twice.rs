//! One custom resource that asks for the same object twice, which nobody could keep both ways.

use std::collections::BTreeSet;

use crate::desired::child::{Child, Owner};
use crate::spec::invalid::Invalid;

/// The first object that is asked for twice, as a broken rule that names the two fields.
///
/// # Errors
/// There is one.
pub fn once(owner: Owner, children: &[Child]) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    let again = children
        .iter()
        .find(|child| !seen.insert((child.kind, &child.namespace, &child.name)));
    let Some(again) = again else { return Ok(()) };
    let (one, other) = fields(owner, &again.name);
    Err(Invalid::value(format!(
        "{one} and {other} both ask for {} {}/{}: give one of them another name",
        again.kind.kind, again.namespace, again.name
    )))
}

/// Which two fields can lead to one name: pickers, gateways and the Service in front of the servers have one each.
fn fields(owner: Owner, name: &str) -> (&'static str, &'static str) {
    match owner {
        Owner::Install => ("spec.epp.name", "spec.proxyService.name"),
        Owner::Simulator if name.ends_with("-epp") => ("spec.service.name", "spec.epp.enabled"),
        Owner::Simulator if name.ends_with("-istio") => {
            ("spec.service.name", "spec.inferenceGateway.istio.enabled")
        }
        Owner::Simulator => (
            "spec.service.name",
            "spec.inferenceGateway.standard.enabled",
        ),
    }
}
