//! Prefers the candidate that the request's session was sent to before.
//!
//! # When to use
//! For conversations and agents whose state is best found where the last turn ran, as a preference that load may
//! outweigh. To insist on it use `session-affinity-filter`.
//!
//! # Formula
//! 1 for the candidate that the session is bound to, 0 for all others; 0 for all without a session, or when that
//! candidate is gone.
//!
//! With `encoded_endpoint_header` the answer carries a header with the endpoint's name in base64, and a request that
//! sends it back belongs to that session. With `session_id` the client sends an id of its own; where it went is
//! remembered here, and moves only when that endpoint is gone or fails. The first generation knows the first way only,
//! with the header `x-session-token`.
//!
//! # Reads
//! The request's headers, or the session that a `session-id-producer` finds.
//!
//! # Example
//! ```yaml
//! - type: session-affinity-scorer
//!   parameters:
//!     strategy: session_id
//!     sessionIdConfig:
//!       sources: [{header: x-session-id}]
//!       evictionTtlSeconds: 600
//! ```
//!
//! # Limits
//! What is remembered is this process's own, and ends with it. At most about a million sessions are remembered, with
//! ids of at most 512 bytes; a change of the configuration keeps them.

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::observer::{Announcer, Observer};
use pointsman_core::contract::roles::{Built, Scorer, State};
use pointsman_core::contract::spec::{ParamFault, Params, PluginSpec, Role, Stability, schema_of};
use pointsman_core::index::row_set::RowSet;

use crate::session::Affinity;
use crate::session::parameters::{Parameters, affinity, requires};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "session-affinity-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Alpha,
    reads: &[],
    requires,
    source: include_str!("session_affinity.rs"),
    schema: schema_of::<Parameters>,
    build,
};

struct SessionAffinity(Arc<Affinity>);

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let affinity = Arc::new(affinity(params)?);
    Ok(Built::Scorer(Box::new(SessionAffinity(affinity))))
}

impl Scorer for SessionAffinity {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        if let Some(row) = self.0.bound(ctx, rows) {
            out[row] = 1.0;
        }
    }

    fn observer(self: Arc<Self>) -> Option<Arc<dyn Observer>> {
        let remembers = self.0.remembers();
        remembers.then(|| Arc::clone(&self.0) as Arc<dyn Observer>)
    }

    fn announcer(self: Arc<Self>) -> Option<Arc<dyn Announcer>> {
        let announces = self.0.announces();
        announces.then(|| Arc::clone(&self.0) as Arc<dyn Announcer>)
    }

    fn state(&self) -> Option<State> {
        self.0.state()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, pool, scorer};
    use pointsman_core::model::headers::Headers;

    #[test]
    fn the_name_in_the_header_is_preferred_in_both_generations() {
        let pool = pool("default/a\ndefault/b\n");
        let mut scene = Scene::new(&pool);
        // base64 of "default/b".
        let headers: &[(&str, &str)] = &[("x-session-token", "ZGVmYXVsdC9i")];
        for generation in [Generation::G1, Generation::G2] {
            let scorer = scorer(&SPEC, "{}", generation);
            scene.request.headers = Headers::default();
            assert_eq!(scene.scores(&*scorer), [0.0, 0.0]);
            scene.request.headers = Headers::of(&headers);
            assert_eq!(scene.scores(&*scorer), [0.0, 1.0]);
            let announcer = scorer.announcer().unwrap();
            let mut out = String::new();
            announcer.write(&pool.snapshot.endpoints[1], &mut out);
            assert_eq!(
                (announcer.header(), &*out),
                ("x-session-token", "ZGVmYXVsdC9i")
            );
        }
    }

    #[test]
    fn an_id_is_bound_by_its_first_pick() {
        let pool = pool("a\nb\nc\n");
        let mut scene = Scene::new(&pool);
        let parameters = r#"{"strategy":"session_id","sessionIdConfig":{
            "sources":[{"header":"x-none"},{"attribute":"SessionID"}]}}"#;
        let scorer = scorer(&SPEC, parameters, Generation::G2);
        let observer = Arc::clone(&scorer).observer().unwrap();
        assert!(Arc::clone(&scorer).announcer().is_none());
        scene.pick(&*observer, 0);
        let producer = "session-id-producer".into();
        scene.produced.add_session(&producer, "mine");
        assert_eq!(scene.scores(&*scorer), [0.0, 0.0, 0.0]);
        scene.pick(&*observer, 2);
        assert_eq!(scene.scores(&*scorer), [0.0, 0.0, 1.0]);
        scene.pick(&*observer, 1);
        assert_eq!(scene.scores(&*scorer), [0.0, 0.0, 1.0], "it stays");
        scene.produced.begin();
        scene.produced.add_session(&producer, "other");
        assert_eq!(scene.scores(&*scorer), [0.0, 0.0, 0.0]);
    }
}
