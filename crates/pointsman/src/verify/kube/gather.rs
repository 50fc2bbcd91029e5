//! Reads what makes an installation: pools first, then the namespaces that lead to them or away from them.

use std::collections::BTreeSet;

use pointsman_cluster::Client;
use pointsman_cluster::read::{Collection, ReadError, list, may};
use pointsman_operator::check::facts::{Facts, OLD_POOL, POD, Refused, Rights, namespace_of};
use pointsman_operator::check::installation::{Installation, parents, pools, service_in};
use pointsman_operator::check::rights::needed;
use pointsman_operator::kinds::{
    CONFIG_MAP, ENDPOINT_SLICE, ENVOY_FILTER, GATEWAY, GRANT, Kind, POOL, ROUTE, SERVICE,
};

/// What is read first, in all namespaces or in those that are named.
static FIRST: [&Kind; 3] = [&POOL, &OLD_POOL, &ROUTE];

/// What is read of each namespace that plays a part.
static OF_EACH: [&Kind; 7] = [
    &POD,
    &SERVICE,
    &ENDPOINT_SLICE,
    &CONFIG_MAP,
    &GATEWAY,
    &GRANT,
    &ENVOY_FILTER,
];

/// Where filters of Istio hold for all namespaces.
const ISTIO_ROOT: &str = "istio-system";

/// How often namespaces may lead to further ones.
const ROUNDS: usize = 4;

/// Reads the cluster, as far as the credentials allow; `namespaces` empty: all that lead to a pool.
pub(crate) async fn gather(client: &Client, server: &str, namespaces: &[String]) -> Facts {
    let mut facts = Facts {
        server: server.to_owned(),
        ..Facts::default()
    };
    for kind in FIRST {
        match namespaces.is_empty() {
            true => read(client, &mut facts, kind, None).await,
            false => {
                for namespace in namespaces {
                    read(client, &mut facts, kind, Some(namespace)).await;
                }
            }
        }
    }
    let mut done = BTreeSet::new();
    for _ in 0..ROUNDS {
        let wanted = leading(&facts, namespaces);
        let fresh: Vec<String> = wanted.difference(&done).cloned().collect();
        if fresh.is_empty() {
            break;
        }
        for namespace in fresh {
            for kind in OF_EACH {
                read(client, &mut facts, kind, Some(&namespace)).await;
            }
            // Routes of a namespace that was not named may lead to the pool, too.
            if !namespaces.is_empty() && !namespaces.contains(&namespace) {
                read(client, &mut facts, &ROUTE, Some(&namespace)).await;
            }
            done.insert(namespace);
        }
    }
    if !done.contains(ISTIO_ROOT) && !facts.unknown.contains(&ENVOY_FILTER.full_name()) {
        read(client, &mut facts, &ENVOY_FILTER, Some(ISTIO_ROOT)).await;
    }
    facts.rights = rights(client, &facts).await;
    facts
}

/// Namespaces that play a part, as far as is known by now.
fn leading(facts: &Facts, named: &[String]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = named.iter().cloned().collect();
    for pool in pools(facts) {
        found.insert(namespace_of(pool).to_owned());
        let installation = Installation::of(facts, pool);
        for route in &installation.routes {
            found.insert(namespace_of(route).to_owned());
            found.extend(parents(route).map(|(namespace, _)| namespace.to_owned()));
        }
        for service in &installation.services {
            let external = service["spec"]["externalName"].as_str();
            found.extend(external.and_then(service_in).map(|(ns, _)| ns.to_owned()));
            let slices = facts.within(&ENDPOINT_SLICE, namespace_of(service));
            let targets =
                slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
            found.extend(
                targets.filter_map(|one| Some(one["targetRef"]["namespace"].as_str()?.to_owned())),
            );
        }
    }
    found
}

async fn read(client: &Client, facts: &mut Facts, kind: &Kind, namespace: Option<&str>) {
    if facts.unknown.contains(&kind.full_name()) {
        return;
    }
    let which = Collection {
        group: kind.group,
        version: kind.version,
        plural: kind.plural,
        namespace,
    };
    let refused = |forbidden, message| Refused {
        group: kind.group.to_owned(),
        plural: kind.plural.to_owned(),
        namespace: namespace.map(str::to_owned),
        forbidden,
        message,
    };
    match list(client, which).await {
        Ok(objects) => facts.keep(kind, objects),
        Err(ReadError::Unknown) => drop(facts.unknown.insert(kind.full_name())),
        Err(ReadError::Forbidden(message)) => facts.refused.push(refused(true, message)),
        Err(ReadError::Failed(message)) => facts.refused.push(refused(false, message)),
    }
}

/// Whether the pickers' accounts may do what they must.
async fn rights(client: &Client, facts: &Facts) -> Rights {
    let mut rights = Rights::default();
    for pool in pools(facts) {
        for right in needed(&Installation::of(facts, pool)) {
            let (namespace, name) = right.account.split_once('/').unwrap_or_default();
            let user = format!("system:serviceaccount:{namespace}:{name}");
            let what = (right.group.as_str(), right.resource.as_str());
            match may(client, &user, &right.verb, what, &right.namespace).await {
                Ok(held) => rights.asked.push((right, held)),
                Err(why) => {
                    rights.untold = Some(why.to_string());
                    return rights;
                }
            }
        }
    }
    rights
}
