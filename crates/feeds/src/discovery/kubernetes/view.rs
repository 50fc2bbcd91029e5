//! What is known of the cluster, and what follows from it for the pool. No IO: objects in, members and directives out.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pointsman_core::model::rewrites::{Rewrite, Rewrites};

use crate::directives::Directives;
use crate::discovery::kubernetes::objects::{PodFacts, PoolSpec};
use crate::membership::Member;

/// Where objectives and rewrites come from; later ones win where both name an objective.
pub(super) const GROUPS: [&str; 2] = ["inference.networking.x-k8s.io", "llm-d.ai"];

/// Everything that was heard.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The pool; `None` while there is none.
    pub(super) pool: Option<PoolSpec>,
    /// Whether pods have been listed at least once.
    pub(super) pods_listed: bool,
    /// Pods by full name.
    pub(super) pods: BTreeMap<String, PodFacts>,
    /// Priorities by name, for each of [`GROUPS`].
    pub(super) objectives: [BTreeMap<String, i64>; 2],
    /// Rewrites by name, for each of [`GROUPS`].
    pub(super) rewrites: [BTreeMap<String, Rewrite>; 2],
}

impl View {
    /// Whether enough is known to pick.
    pub(super) fn is_synced(&self) -> bool {
        self.pool.is_some() && self.pods_listed
    }

    /// The members of the pool: a member for each port of each pod that serves.
    pub(super) fn members(&self) -> Vec<Member> {
        let Some(pool) = &self.pool else {
            return Vec::new();
        };
        let belongs = |pod: &PodFacts| {
            let mut wanted = pool.selector.iter();
            wanted.all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let mut members = Vec::new();
        for pod in self.pods.values().filter(|pod| belongs(pod)) {
            let Some(address) = pod.serving_at else {
                continue;
            };
            for (rank, port) in pool.ports.iter().enumerate() {
                let is_active = |active: &Vec<u16>| active.contains(port);
                if pod.active.as_ref().is_none_or(is_active) {
                    let labels = pod.labels.iter();
                    members.push(Member {
                        name: format!("{}-rank-{rank}", pod.name),
                        address: SocketAddr::new(address, *port),
                        labels: labels.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                    });
                }
            }
        }
        members
    }

    /// Priorities and rewrites.
    pub(super) fn directives(&self) -> Directives {
        let objectives = self.objectives.iter().flatten();
        let rewrites = self.rewrites.iter().flat_map(BTreeMap::values);
        Directives {
            objectives: objectives
                .map(|(name, priority)| (name.clone(), *priority))
                .collect(),
            rewrites: Rewrites::of(rewrites.cloned().collect()),
            app_protocol: self
                .pool
                .as_ref()
                .and_then(|pool| pool.app_protocol.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(name: &str, at: Option<&str>, labels: &[(&str, &str)]) -> PodFacts {
        let labels = labels.iter();
        PodFacts {
            name: format!("n/{name}"),
            serving_at: at.map(|ip| ip.parse().unwrap()),
            labels: labels
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            active: None,
        }
    }

    fn view(pods: Vec<PodFacts>) -> View {
        View {
            pool: Some(PoolSpec {
                selector: BTreeMap::from([("app".to_owned(), "x".to_owned())]),
                ports: vec![8000, 8001],
                app_protocol: None,
            }),
            pods_listed: true,
            pods: pods
                .into_iter()
                .map(|pod| (pod.name.clone(), pod))
                .collect(),
            ..View::default()
        }
    }

    #[test]
    fn each_port_of_a_serving_pod_is_an_endpoint() {
        let mut restricted = pod("c", Some("::1"), &[("app", "x")]);
        restricted.active = Some(vec![8001]);
        let view = view(vec![
            pod("a", Some("127.0.0.2"), &[("app", "x"), ("more", "y")]),
            pod("b", None, &[("app", "x")]),
            restricted,
            pod("d", Some("127.0.0.4"), &[("app", "other")]),
        ]);
        let members: Vec<String> = view
            .members()
            .iter()
            .map(|member| format!("{} {}", member.name, member.address))
            .collect();
        assert_eq!(
            members,
            [
                "n/a-rank-0 127.0.0.2:8000",
                "n/a-rank-1 127.0.0.2:8001",
                "n/c-rank-1 [::1]:8001"
            ]
        );
        assert!(view.is_synced());
    }

    #[test]
    fn without_a_pool_there_is_nobody() {
        let mut view = view(vec![pod("a", Some("127.0.0.2"), &[("app", "x")])]);
        view.pool = None;
        assert!(view.members().is_empty() && !view.is_synced());
    }

    #[test]
    fn the_present_group_wins_where_both_name_an_objective() {
        let mut view = View::default();
        view.objectives[0] = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        view.objectives[1] = BTreeMap::from([("a".to_owned(), 9)]);
        let directives = view.directives();
        assert_eq!(directives.objectives["a"], 9);
        assert_eq!(directives.objectives["b"], 2);
    }
}
