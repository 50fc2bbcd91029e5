//! Keeps only the candidate that the request's session was sent to before.
//!
//! # When to use
//! Where a session must stay on its endpoint as long as that is there: state that only it holds. As a preference that
//! load may outweigh use `session-affinity-scorer`.
//!
//! # Rule
//! The candidate that the session is bound to stays alone. Without a session, or when that candidate is gone, all stay.
//! How sessions are known is as with `session-affinity-scorer`: by a header that the answer carries and the client sends
//! back, or by an id of the client's that is remembered here.
//!
//! # Reads
//! The request's headers, or the session that a `session-id-producer` finds.
//!
//! # Example
//! ```yaml
//! - type: session-affinity-filter
//!   parameters:
//!     encodedEndpointHeaderConfig:
//!       header: x-session-token
//! ```
//!
//! # Limits
//! A busy endpoint keeps its sessions, however idle others are. Put it before filters by load, or a candidate that they
//! removed counts as gone.

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::observer::{Announcer, Observer};
use pointsman_core::contract::roles::{Built, Filter, State};
use pointsman_core::contract::spec::{ParamFault, Params, PluginSpec, Role, Stability, schema_of};
use pointsman_core::index::row_set::RowSet;

use crate::session::Affinity;
use crate::session::parameters::{Parameters, affinity, requires};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "session-affinity-filter",
    aliases: &[],
    role: Role::Filter,
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
    Ok(Built::Filter(Box::new(SessionAffinity(affinity))))
}

impl Filter for SessionAffinity {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        if let Some(bound) = self.0.bound(ctx, rows) {
            rows.retain(|row| row == bound);
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
    use pointsman_core::fixture::{Scene, filter, pool};
    use pointsman_core::model::headers::Headers;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: &str) {
        let pool = pool("a\nb\nc out\n");
        let mut scene = Scene::new(&pool);
        scene.request.headers = Headers::of(&headers);
        let filter = filter(&SPEC, "{}", Generation::G2);
        assert_eq!(scene.kept(&*filter), expected, "{headers:?}");
    }

    #[test]
    fn keeps_the_bound_one_if_it_is_there() {
        check(&[], "a b");
        check(&[("x-session-token", "Yg==")], "b");
        check(&[("x-session-token", "Yw==")], "a b");
        check(&[("x-session-token", "Zm9v")], "a b");
        check(&[("x-session-token", "b")], "a b");
    }

    #[test]
    fn bindings_outlive_the_plan() {
        let pool = pool("a\nb\n");
        let mut scene = Scene::new(&pool);
        let headers: &[(&str, &str)] = &[("x-session-id", "s1")];
        scene.request.headers = Headers::of(&headers);
        let by_id = r#"{"strategy":"session_id"}"#;
        let first = filter(&SPEC, by_id, Generation::G2);
        scene.pick(&*Arc::clone(&first).observer().unwrap(), 1);
        assert_eq!(scene.kept(&*first), "b");
        let value = serde_json::from_str(by_id).unwrap();
        let state = first.state().unwrap();
        let params = Params {
            value: Some(&value),
            generation: Generation::G2,
            name: SPEC.kind,
            previous: Some(&state),
            own: &Default::default(),
            flow_headers: &[],
        };
        let Ok(Built::Filter(second)) = build(&params) else {
            panic!("refused")
        };
        assert_eq!(scene.kept(&*second), "b");
    }
}
