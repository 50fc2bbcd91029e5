//! What stands in front of the servers is wanted by both kinds of custom resource, under one name in the samples of
//! the original: whoever made it keeps it, and the other one does without until that one goes.

use crate::desired::child::{Child, Owner};
use crate::kinds::{DESTINATION_RULE, SERVICE};
use crate::operate::store::{CustomKey, Store};
use crate::operate::subject::Asked;
use crate::spec::simulator::{Role, Simulator};
use crate::spec::{install, simulator};

/// Namespace and name of the Service in front of the servers.
type Front = (String, String);

fn of_install(one: &install::Install) -> Front {
    (one.simulator_namespace.clone(), one.proxy.name.clone())
}

fn of_simulator(one: &Simulator) -> Option<Front> {
    one.servers.iter().find_map(|servers| match &servers.role {
        Role::Alone { service, .. } => Some((one.id.namespace.clone(), service.clone())),
        _ => None,
    })
}

fn of_asked(asked: &Asked) -> Option<Front> {
    match asked {
        Asked::Install(one) => Some(of_install(one)),
        Asked::Simulator(one) => of_simulator(one),
    }
}

fn of_other(store: &Store, key: &CustomKey) -> Option<Front> {
    let object = store.custom(key)?;
    match key.owner {
        Owner::Install => install::settle(&object).ok().as_ref().map(of_install),
        Owner::Simulator => of_simulator(&simulator::settle(&object).ok()?),
    }
}

/// Whether an object that this one asks for may be left to another one, of the other kind.
pub(crate) fn may_share(
    store: &Store,
    (key, asked): (&CustomKey, &Asked),
    child: &Child,
    other: &CustomKey,
) -> bool {
    if other.owner == key.owner {
        return false;
    }
    let (Some(mine), Some(theirs)) = (of_asked(asked), of_other(store, other)) else {
        return false;
    };
    let name = match child.kind {
        kind if *kind == SERVICE => mine.1.clone(),
        kind if *kind == DESTINATION_RULE => format!("{}-lb", mine.1),
        _ => return false,
    };
    mine == theirs && child.namespace == mine.0 && child.name == name
}
