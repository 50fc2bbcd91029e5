//! Writing the objects into a cluster by server-side apply, one after the other, and saying what became of each.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::crd::GROUP;
use crate::desired::child::Child;
use crate::kinds::{Kind, NAMESPACE, POD};
use crate::operate::api::{plain, resource};
use crate::stack::MANAGER;

/// How often, and after which pause, something that comes too early is tried again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// How objects are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// The server checks everything and keeps nothing.
    pub dry: bool,
    /// Take over fields that others have set.
    pub force: bool,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there otherwise.
    Changed,
    /// It was there as asked.
    Unchanged,
    /// A dry run cannot check what is in a namespace that is not there.
    NotChecked,
    /// Why not.
    Refused(String),
}

/// Writes all objects; goes on after one that is refused, since most do not need each other.
pub async fn apply(
    client: &Client,
    objects: &[Child],
    how: How,
    mut told: impl FnMut(&Child, &Outcome),
) -> Vec<Outcome> {
    let mut absent: BTreeSet<&str> = BTreeSet::new();
    let mut outcomes = Vec::new();
    for child in objects {
        let outcome = match absent.contains(child.namespace.as_str()) {
            true => Outcome::NotChecked,
            false => patiently(client, child, how).await,
        };
        if how.dry && *child.kind == NAMESPACE && outcome == Outcome::Created {
            absent.insert(&child.name);
        }
        told(child, &outcome);
        outcomes.push(outcome);
    }
    outcomes
}

/// In a namespace that was just made pods are refused until a controller has made its account, and a server that has
/// too much to do says so.
async fn patiently(client: &Client, child: &Child, how: How) -> Outcome {
    let mut tries = 0;
    loop {
        match one(client, child, how).await {
            Ok(outcome) => return outcome,
            Err(error) if is_too_early(&error) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Outcome::Refused(why(child.kind, &error)),
        }
    }
}

fn is_too_early(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let account = status
        .message
        .contains("serviceaccount \"default\" not found");
    status.code == 429 || (status.code == 403 && account)
}

async fn one(client: &Client, child: &Child, how: How) -> Result<Outcome, kube::Error> {
    let kind = resource(child.kind);
    let api: Api<DynamicObject> = match child.namespace.as_str() {
        "" => Api::all_with(client.clone(), &kind),
        namespace => Api::namespaced_with(client.clone(), namespace, &kind),
    };
    let before = match api.get_opt(&child.name).await {
        // Whoever may not look at namespaces may still work in one.
        Err(kube::Error::Api(status)) if status.code == 403 && *child.kind == NAMESPACE => {
            return Ok(Outcome::Unchanged);
        }
        found => found?.map(|found| comparable(plain(&found, &kind))),
    };
    // A namespace that is there is somebody's.
    if *child.kind == NAMESPACE && before.is_some() {
        return Ok(Outcome::Unchanged);
    }
    let mut params = PatchParams::apply(MANAGER);
    params.dry_run = how.dry;
    params.force = how.force;
    let after = api
        .patch(&child.name, &params, &Patch::Apply(&child.value))
        .await?;
    let after = comparable(plain(&after, &kind));
    Ok(match before {
        None => Outcome::Created,
        Some(before) if before == after => Outcome::Unchanged,
        Some(_) => Outcome::Changed,
    })
}

/// Without what differs although nothing was changed.
fn comparable(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for key in ["managedFields", "resourceVersion", "generation"] {
            meta.remove(key);
        }
    }
    object
}

/// What the server says, and what would mend it.
fn why(kind: &Kind, error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return format!("the cluster does not answer: {error}");
    };
    let said = status.message.trim();
    let names_namespace = said.contains("namespaces \"");
    match status.code {
        404 if !names_namespace => {
            let mend = match kind.group {
                GROUP => "`pointsman crds | kubectl apply --server-side -f -` installs it",
                _ => {
                    "install the definitions of the Gateway API and its inference extension, or leave this out with --parts"
                }
            };
            format!("the cluster does not serve {}; {mend}", kind.full_name())
        }
        403 => format!("not allowed: {said}"),
        409 => format!("{said}; --force-conflicts takes the fields over"),
        422 if *kind == POD => format!(
            "{said}; a pod that runs does not take this: delete it first, or use --workload deployments"
        ),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{INSTALL, POOL};
    use kube::core::Status;

    fn said(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status {
            code,
            message: message.to_owned(),
            ..Status::default()
        }))
    }

    #[test]
    fn only_an_account_that_is_still_to_come_is_waited_for() {
        let early = "pods \"p\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found";
        assert!(is_too_early(&said(403, early)));
        assert!(!is_too_early(&said(403, "pods \"p\" is forbidden: no")));
        assert!(!is_too_early(&said(404, early)));
        assert!(is_too_early(&said(429, "too many requests")));
    }

    #[test]
    fn a_refusal_says_what_mends_it() {
        let missing = "the server could not find the requested resource";
        for (kind, error, expected) in [
            (&INSTALL, said(404, missing), "pointsman crds"),
            (
                &POOL,
                said(404, missing),
                "InferencePool.inference.networking.k8s.io",
            ),
            (
                &POOL,
                said(404, "namespaces \"x\" not found"),
                "namespaces \"x\" not found",
            ),
            (&POD, said(422, "spec: Forbidden"), "--workload deployments"),
            (
                &POOL,
                said(409, "conflict with \"me\""),
                "--force-conflicts",
            ),
            (&POOL, said(400, "bad"), "bad"),
        ] {
            let text = why(kind, &error);
            assert!(text.contains(expected), "{text}");
        }
    }
}
