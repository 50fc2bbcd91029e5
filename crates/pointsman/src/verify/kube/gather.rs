//! Reads what makes an installation: pools first, then the namespaces that lead to them or away from them.

use std::collections::BTreeSet;

use pointsman_cluster::Client;
use pointsman_cluster::read::{Collection, ReadError, list, may};
use pointsman_operator::check::facts::{Facts, OLD_POOL, POD, Refused, Rights, namespace_of};
use pointsman_operator::check::installation::{
    Installation, leads_by_slices, parents, pools, service_in, slice_addresses,
};
use pointsman_operator::check::rights::needed;
use pointsman_operator::kinds::{
    CONFIG_MAP, ENDPOINT_SLICE, ENVOY_FILTER, GATEWAY, GRANT, Kind, POOL, ROUTE, SERVICE,
};
use serde_json::Value;

/// What is read first, in all namespaces or in those that are named.
static FIRST: [&Kind; 2] = [&POOL, &OLD_POOL];

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

/// Reads the cluster, as far as the credentials allow. `namespaces` are those whose pools count, empty for all; routes,
/// gateways and pickers are followed wherever they are, and where the credentials do not reach so far, looked for in
/// `namespaces`, too.
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
    let everywhere = read_everywhere(client, &mut facts, &ROUTE, namespaces).await;
    let mut done = BTreeSet::new();
    follow(client, &mut facts, (namespaces, everywhere), &mut done).await;
    if !pickers_known(&facts) && read_everywhere(client, &mut facts, &POD, namespaces).await {
        follow(client, &mut facts, (namespaces, everywhere), &mut done).await;
    }
    if !done.contains(ISTIO_ROOT) && !facts.unknown.contains(&ENVOY_FILTER.full_name()) {
        read(client, &mut facts, &ENVOY_FILTER, Some(ISTIO_ROOT)).await;
    }
    facts.rights = rights(client, &facts).await;
    facts
}

/// Reads the namespaces that play a part, and those that they lead to.
async fn follow(
    client: &Client,
    facts: &mut Facts,
    (namespaces, everywhere): (&[String], bool),
    done: &mut BTreeSet<String>,
) {
    for _ in 0..ROUNDS {
        let wanted = leading(facts, namespaces);
        let fresh: Vec<String> = wanted.difference(done).cloned().collect();
        if fresh.is_empty() {
            break;
        }
        for namespace in fresh {
            for kind in OF_EACH {
                read(client, facts, kind, Some(&namespace)).await;
            }
            // Routes of a namespace that was not named may lead to the pool, too.
            if !everywhere && !namespaces.contains(&namespace) {
                read(client, facts, &ROUTE, Some(&namespace)).await;
            }
            done.insert(namespace);
        }
    }
}

/// Reads a kind in all namespaces, and says whether that was allowed; if not, what the named namespaces hold has to do,
/// which is a refusal only where none are named.
async fn read_everywhere(
    client: &Client,
    facts: &mut Facts,
    kind: &Kind,
    namespaces: &[String],
) -> bool {
    match list(client, collection(kind, None)).await {
        Ok(objects) => {
            facts.keep_new(kind, objects);
            return true;
        }
        Err(ReadError::Unknown) => drop(facts.unknown.insert(kind.full_name())),
        // Pods of the namespaces that play a part were read already.
        Err(ReadError::Forbidden(_)) if !namespaces.is_empty() || kind.kind == POD.kind => {
            facts.in_some.insert(kind.full_name());
            for namespace in namespaces.iter().filter(|_| kind.kind != POD.kind) {
                read(client, facts, kind, Some(namespace)).await;
            }
        }
        Err(error) => facts.refused.extend(refusal(kind, None, error)),
    }
    false
}

/// Whether every pool's picker was found: some pods of it, and one for each address that its Service leads to.
fn pickers_known(facts: &Facts) -> bool {
    pools(facts).into_iter().all(|pool| {
        let found = Installation::of(facts, pool);
        let addresses = found
            .services
            .last()
            .map_or(Vec::new(), |service| slice_addresses(facts, service));
        let is = |address: &&str| {
            let own = |pod: &&Value| pod["status"]["podIP"] == **address;
            found.pickers.iter().any(own)
        };
        let last = found.services.last();
        let by_slices = last.is_some_and(|service| leads_by_slices(service));
        !found.pickers.is_empty() && (!by_slices || addresses.iter().all(is))
    })
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
        found.extend(
            installation
                .pickers
                .iter()
                .map(|pod| namespace_of(pod).to_owned()),
        );
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

fn collection<'a>(kind: &Kind, namespace: Option<&'a str>) -> Collection<'a> {
    Collection {
        group: kind.group,
        version: kind.version,
        plural: kind.plural,
        namespace,
    }
}

async fn read(client: &Client, facts: &mut Facts, kind: &Kind, namespace: Option<&str>) {
    if facts.unknown.contains(&kind.full_name()) {
        return;
    }
    match list(client, collection(kind, namespace)).await {
        Ok(objects) => facts.keep_new(kind, objects),
        Err(ReadError::Unknown) => drop(facts.unknown.insert(kind.full_name())),
        Err(error) => facts.refused.extend(refusal(kind, namespace, error)),
    }
}

/// What a list that was refused or failed is remembered as.
fn refusal(kind: &Kind, namespace: Option<&str>, error: ReadError) -> Option<Refused> {
    let (forbidden, message) = match error {
        ReadError::Unknown => return None,
        ReadError::Forbidden(message) => (true, message),
        ReadError::Failed(message) => (false, message),
    };
    Some(Refused {
        group: kind.group.to_owned(),
        plural: kind.plural.to_owned(),
        namespace: namespace.map(str::to_owned),
        forbidden,
        message,
    })
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
