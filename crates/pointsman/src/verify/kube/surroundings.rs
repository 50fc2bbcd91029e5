//! What the cluster adds to the pages of a picker: routes, and addresses that can be reached from here.

use std::net::SocketAddr;

use pointsman_operator::check::facts::{Facts, id_of, name_of, namespace_of, text};
use pointsman_operator::check::installation::Installation;
use serde_json::Value;

use crate::verify::kube::reach::Reach;
use crate::verify::kube::routes::{is_of, routes};
use crate::verify::seen::Views;

/// The cluster around a gateway.
pub(crate) struct Surroundings {
    /// What was read of it.
    pub(crate) facts: Facts,
    /// Namespace and name of the pool.
    pub(crate) pool: (String, String),
    /// Ways to its pods.
    pub(crate) reach: Reach,
    /// The host that routes ask for.
    pub(crate) host: Option<String>,
}

impl Surroundings {
    /// The pool with what belongs to it.
    pub(crate) fn installation(&self) -> Option<Installation<'_>> {
        let pool = pool_named(&self.facts, &self.pool)?;
        Some(Installation::of(&self.facts, pool))
    }

    /// Puts the cluster's routes into the pages, and for each candidate an address that leads to it from here. One that
    /// no way leads to keeps its own.
    pub(crate) async fn complete(&self, views: &mut Views) {
        let Some(found) = self.installation() else {
            return;
        };
        views.routes = routes(&found, &views.pool);
        for candidate in &mut views.pool.endpoints {
            let Ok(address) = candidate.address.parse::<SocketAddr>() else {
                continue;
            };
            let ip = address.ip().to_string();
            let is = |pod: &&&Value| {
                text(&pod["status"]["podIP"]) == ip && is_of(&candidate.name, &id_of(pod))
            };
            if let Some(pod) = found.candidates.iter().find(is)
                && let Ok(here) = self.reach.port(pod, address.port()).await
            {
                candidate.address = here.to_string();
            }
        }
    }
}

/// A pool by namespace and name.
pub(crate) fn pool_named<'a>(facts: &'a Facts, pool: &(String, String)) -> Option<&'a Value> {
    let all = pointsman_operator::check::installation::pools(facts);
    all.into_iter()
        .find(|one| namespace_of(one) == pool.0 && name_of(one) == pool.1)
}
