//! One finding: what was checked, whether it holds, and if not why and what mends it.

use pointsman_operator::check::pasteable;
use serde::Serialize;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Stable word.
    pub(crate) id: &'static str,
    /// What must hold.
    pub(crate) name: &'static str,
    /// Whether it holds.
    pub(crate) ok: bool,
    /// What was seen.
    pub(crate) detail: String,
    /// Why it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

/// Id and name of a check that is about to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Title {
    /// Stable word.
    pub(crate) id: &'static str,
    /// What must hold.
    pub(crate) name: &'static str,
}

impl Title {
    /// It holds.
    pub(crate) fn good(self, detail: impl Into<String>) -> Check {
        self.check(true, detail.into(), None, None)
    }

    /// It does not hold.
    pub(crate) fn bad(
        self,
        detail: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        self.check(
            false,
            detail.into(),
            Some(cause.into()),
            Some(pasteable(&fix.into())),
        )
    }

    /// It does not hold, or could not be looked at, because of what another check found.
    pub(crate) fn because_of(self, detail: impl Into<String>, other: Self, what: &str) -> Check {
        let cause = format!("follows from '{}': {what}", other.id);
        self.check(false, detail.into(), Some(cause), None)
    }

    /// The time was over before it could be looked at.
    pub(crate) fn not_reached(self) -> Check {
        self.check(false, "not run: the time was over".to_owned(), None, None)
    }

    fn check(self, ok: bool, detail: String, cause: Option<String>, fix: Option<String>) -> Check {
        Check {
            id: self.id,
            name: self.name,
            ok,
            detail,
            cause,
            fix,
        }
    }
}

const fn title(id: &'static str, name: &'static str) -> Title {
    Title { id, name }
}

/// The gateway and its admin port answer.
pub(crate) const REACHED: Title = title("reached", "the gateway and its admin port answer");
/// Every candidate serves when asked directly.
pub(crate) const PAIRS: Title = title("pairs", "every candidate serves when asked directly");
/// An ordinary request goes to the picker.
pub(crate) const ROUTE: Title = title("route", "an ordinary request goes to the picker");
/// The plan picks by live load.
pub(crate) const PLAN: Title = title("plan", "the plan picks by live load");
/// Candidates exist and filters leave some.
pub(crate) const CANDIDATES: Title = title("candidates", "candidates exist and filters leave some");
/// Every candidate shows its metrics.
pub(crate) const METRICS: Title = title("metrics", "every candidate shows its metrics");
/// Bursts are served and nobody is left out.
pub(crate) const BURSTS: Title = title("bursts", "bursts are served and nobody is left out");
/// No decision failed.
pub(crate) const SCHEDULING: Title = title("scheduling", "no decision failed");
/// Header routes reach their pair.
pub(crate) const HEADERS: Title = title("header-routes", "header routes reach their pair");
/// Scores and pick of a request can be seen.
pub(crate) const RECEIPTS: Title = title("receipts", "scores and pick of a request can be seen");
/// Who was chosen has served.
pub(crate) const SERVED: Title = title("chosen-served", "who was chosen has served");
/// The picker counted every request.
pub(crate) const COUNTER: Title = title("counter", "the picker counted every request");
/// A loaded candidate is picked less.
pub(crate) const LOAD: Title = title("load", "a loaded candidate is picked less");

/// The API server answers and shows what is needed.
pub(crate) const CLUSTER: Title =
    title("cluster", "the API server answers and shows what is needed");
/// The pool names its picker and gateways took it.
pub(crate) const POOL: Title = title("pool", "the pool names its picker and gateways took it");
/// The pool selects ready pods and filters leave some.
pub(crate) const PODS: Title = title("pods", "the pool selects ready pods and filters leave some");
/// The picker's Service is a real one and leads to it.
pub(crate) const PICKER_SERVICE: Title = title(
    "picker-service",
    "the picker's Service is a real one and leads to it",
);
/// The picker runs for this pool.
pub(crate) const PICKER: Title = title("picker", "the picker runs for this pool");
/// The picker may read what it needs.
pub(crate) const RIGHTS: Title = title("rights", "the picker may read what it needs");
/// The picker's configuration is valid.
pub(crate) const CONFIG: Title = title("config", "the picker's configuration is valid");
/// A route leads to the pool and gateways took it.
pub(crate) const HTTP_ROUTES: Title = title(
    "http-routes",
    "a route leads to the pool and gateways took it",
);
/// The gateways are in force.
pub(crate) const GATEWAYS: Title = title("gateways", "the gateways are in force");
/// Nothing makes the gateway ignore the picker.
pub(crate) const EXT_PROC: Title = title("ext-proc", "nothing makes the gateway ignore the picker");
/// The picker follows the cluster.
pub(crate) const WATCHES: Title = title("watches", "the picker follows the cluster");
/// Engines publish what their caches hold, where the plan wants to know.
pub(crate) const KV_EVENTS: Title = title("kv-events", "engines publish their KV events");
/// This machine's clock agrees with the API server's.
pub(crate) const CLOCK: Title = title("clock", "this clock agrees with the API server's");
/// The ports that pointsman listens on are free, or pointsman has them.
pub(crate) const PORTS: Title = title("ports", "the ports are free, or pointsman has them");
/// What runs on this machine is ready.
pub(crate) const RUNNING: Title = title("running", "what runs here is ready");
