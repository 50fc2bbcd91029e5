//! One check: what was looked at, whether it holds, and if not why and what mends it.

use serde::Serialize;

/// The verdict about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// A short word for it.
    pub(crate) id: &'static str,
    /// What holds when it is good.
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

impl Check {
    /// It holds.
    pub(crate) fn good(id: &'static str, name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            id,
            name,
            ok: true,
            detail: detail.into(),
            cause: None,
            fix: None,
        }
    }

    /// It does not hold.
    pub(crate) fn bad(
        id: &'static str,
        name: &'static str,
        detail: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            ok: false,
            cause: Some(cause.into()),
            fix: Some(fix.into()),
            ..Self::good(id, name, detail)
        }
    }

    /// It was not reached.
    pub(crate) fn not_run(id: &'static str, name: &'static str) -> Self {
        Self::bad(
            id,
            name,
            "not run: the time was over",
            "the checks before this one took all the time, usually waiting for an endpoint that does not answer",
            "mend what the other checks name, or give more time with --timeout",
        )
    }
}
