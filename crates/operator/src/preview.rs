//! What a custom resource out of a file would change in a cluster: asked of the server, with what only the cluster knows,
//! and without writing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use serde_json::Value;

use crate::check::facts::{POD, is_ready, text};
use crate::check::labels::labels_of;
use crate::desired::child::{Child, Owner};
use crate::desired::{Address, Observed};
use crate::kinds::{INSTALL, Kind, POOL, SERVICE, SIMULATOR};
use crate::operate::api::{Failure, Server};
use crate::operate::claim::{Claim, claim};
use crate::operate::facts::{asked_pool, fails_open};
use crate::operate::run::difference;
use crate::operate::subject::recorded;
use crate::render::children;
use crate::spec::install;
use crate::spec::meta::Identity;

/// One object that would not stay as it is.
#[derive(Clone, Debug)]
pub enum Change {
    /// It would be made.
    Created(Value),
    /// It would be another: before and after.
    Changed(Value, Value),
    /// It would go.
    Deleted(Value),
}

/// What one custom resource would change.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// The objects that would not stay as they are.
    pub changes: Vec<Change>,
    /// How many objects it stands for.
    pub objects: usize,
}

/// Asks the cluster what this custom resource would change there; `standalone` leaves out owner references.
///
/// # Errors
/// The custom resource cannot be followed, or the server refused something; the text says what and why.
pub async fn preview(
    client: Client,
    owner: Owner,
    object: &Value,
    standalone: bool,
) -> Result<Preview, String> {
    let server = Server {
        client: client.clone(),
        counts: Arc::default(),
    };
    let told = |failure: Failure| failure.to_string();
    let mut id = Identity::of(object).map_err(|invalid| invalid.to_string())?;
    let kind = match owner {
        Owner::Install => &INSTALL,
        Owner::Simulator => &SIMULATOR,
    };
    let live = server.get(kind, &id.namespace, &id.name).await;
    let live = live.map_err(told)?;
    let uid = live.as_ref().map(|live| live["metadata"]["uid"].clone());
    let mut object = object.clone();
    object["metadata"]["uid"] = uid.unwrap_or_default();
    id.uid = object["metadata"]["uid"].as_str().map(str::to_owned);
    let observed = observed(&server, owner, &object).await.map_err(told)?;
    let mut wanted = children(owner, &object, &observed).map_err(|invalid| invalid.to_string())?;
    // No server takes an owner reference without the uid, which only one that is there has.
    if standalone || id.uid.is_none() {
        for child in &mut wanted {
            if let Some(meta) = child.value["metadata"].as_object_mut() {
                meta.remove("ownerReferences");
            }
        }
    }
    let compared = difference(client, &wanted).await?;
    let mut changes: Vec<Change> = compared
        .into_iter()
        .map(|(before, after)| match before {
            Some(before) => Change::Changed(before, after),
            None => Change::Created(after),
        })
        .collect();
    if let Some(live) = &live {
        let gone = gone(&server, (owner, &id), live, &wanted).await;
        changes.extend(gone.map_err(told)?.into_iter().map(Change::Deleted));
    }
    Ok(Preview {
        changes,
        objects: wanted.len(),
    })
}

/// What only the cluster knows.
async fn observed(server: &Server, owner: Owner, object: &Value) -> Result<Observed, Failure> {
    let settled = match owner {
        Owner::Install => install::settle(object).ok(),
        Owner::Simulator => None,
    };
    let pool = settled.as_ref().and_then(asked_pool);
    let Some((namespace, epp)) = settled.and_then(|it| Some((it.scheduler_namespace, it.epp?)))
    else {
        return Ok(Observed::default());
    };
    let pool = match &pool {
        Some((namespace, name)) => match server.get(&POOL, namespace, name).await {
            // A cluster may have no pools.
            Err(failure) if failure.code == 404 => None,
            found => found?,
        },
        None => None,
    };
    let service = server.get(&SERVICE, &namespace, &epp.name).await?;
    let address = service.map(|service| text(&service["spec"]["clusterIP"]).to_owned());
    let epp_address = match address.as_deref() {
        // A Service that is yet to be made has no address to show: its name stands for it.
        None | Some("") => Address::Offline,
        Some("None") => Address::Headless,
        Some(ip) => Address::Ip(ip.to_owned()),
    };
    let mut epp_pods = BTreeMap::new();
    for pod in server.list(&POD, &namespace).await? {
        let address = text(&pod["status"]["podIP"]);
        if labels_of(&pod).get("app") == Some(&epp.name.as_str()) && !address.is_empty() {
            epp_pods.insert(address.to_owned(), is_ready(&pod));
        }
    }
    Ok(Observed {
        epp_address,
        epp_pods,
        pool_fails_open: pool.is_some_and(|pool| fails_open(&pool)),
    })
}

/// What the operator keeps for this custom resource and would no longer be asked for.
async fn gone(
    server: &Server,
    (owner, id): (Owner, &Identity),
    live: &Value,
    wanted: &[Child],
) -> Result<Vec<Value>, Failure> {
    let place = |kind: &Kind, namespace: &str, name: &str| {
        (kind.full_name(), namespace.to_owned(), name.to_owned())
    };
    let wanted: BTreeSet<_> = wanted
        .iter()
        .map(|child| place(child.kind, &child.namespace, &child.name))
        .collect();
    let mut gone = Vec::new();
    for key in recorded(live).into_keys() {
        if wanted.contains(&place(key.kind, &key.namespace, &key.name)) {
            continue;
        }
        let found = match server.get(key.kind, &key.namespace, &key.name).await {
            // A kind that is no longer served has no objects.
            Err(failure) if failure.code == 404 => None,
            found => found?,
        };
        let mine = |object: &Value| claim(object, owner, id, |_, _, _| true) == Claim::Mine;
        gone.extend(found.filter(mine));
    }
    Ok(gone)
}
