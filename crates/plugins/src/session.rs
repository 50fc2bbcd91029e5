//! Which endpoint a session is bound to: what `session-affinity-scorer` and `session-affinity-filter` are made of.
//!
//! Two ways. **Encoded**: the answer carries a header with the endpoint's name in base64, and the client sends it
//! back; nothing is kept here. **By id**: the client sends an id of its own, and the endpoint that it was sent to is
//! kept here, until it has not been used for a while.

pub(crate) mod bindings;
pub(crate) mod parameters;

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::observer::{Announcer, Observer, Picked};
use pointsman_core::contract::roles::State;
use pointsman_core::contract::table::ProfileRun;
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::time::Tick;

use crate::base64;
use crate::session::bindings::Bindings;

/// Where a session's id is found.
pub(crate) enum Source {
    /// In this header.
    Header(String),
    /// With the producer of this name.
    Producer(String),
}

/// How sessions are known.
pub(crate) enum Way {
    /// By the endpoint's name in this header.
    Encoded { header: String },
    /// By an id of the client's.
    ById {
        sources: Vec<Source>,
        bindings: Arc<Bindings>,
    },
}

/// Finds the endpoint of a session, and remembers it.
pub(crate) struct Affinity {
    pub(crate) way: Way,
    /// The profile whose pick is remembered; empty for the primary one.
    pub(crate) profile: String,
}

impl Affinity {
    /// The row of `rows` that the request's session is bound to.
    pub(crate) fn bound(&self, ctx: &Ctx<'_>, rows: &RowSet) -> Option<usize> {
        let row = match &self.way {
            Way::Encoded { header } => {
                let mut buffer = [0; base64::LONGEST];
                let name = base64::decode(ctx.request.headers.get(header)?, &mut buffer)?;
                ctx.snapshot.row_of(name)?
            }
            Way::ById { sources, bindings } => {
                let id = id_of(sources, ctx)?;
                bindings.row_of(id, ctx.snapshot, ctx.now)?
            }
        };
        rows.contains(row).then_some(row)
    }

    /// What is to outlive the plan.
    pub(crate) fn state(&self) -> Option<State> {
        match &self.way {
            Way::Encoded { .. } => None,
            Way::ById { bindings, .. } => Some(Arc::clone(bindings) as State),
        }
    }

    /// Whether answers carry the session's header.
    pub(crate) fn announces(&self) -> bool {
        matches!(self.way, Way::Encoded { .. })
    }

    /// Whether bindings are kept here.
    pub(crate) fn remembers(&self) -> bool {
        !self.announces()
    }
}

fn id_of<'c>(sources: &[Source], ctx: &Ctx<'c>) -> Option<&'c str> {
    sources
        .iter()
        .filter_map(|source| match source {
            Source::Header(name) => ctx.request.headers.get(name),
            Source::Producer(name) => ctx.produced.session(name),
        })
        .find(|id| !id.is_empty())
}

impl Observer for Affinity {
    fn picked(&self, picked: &Picked<'_>) {
        let Way::ById { sources, bindings } = &self.way else {
            return;
        };
        let (Some(id), Some(row)) = (id_of(sources, picked.ctx), picked.row_of(&self.profile))
        else {
            return;
        };
        let run = (picked.run_of)(&self.profile).unwrap_or(picked.run);
        let failed = |row: usize| {
            let struck = picked.runs.get(run).and_then(|run| run.struck_by.get(row));
            struck == Some(&ProfileRun::TRIED)
        };
        bindings.bind(id, picked.ctx.snapshot, row, picked.ctx.now, &failed);
    }

    fn maintain(&self, now: Tick) {
        if let Way::ById { bindings, .. } = &self.way {
            bindings.sweep(now);
        }
    }
}

impl Announcer for Affinity {
    fn header(&self) -> &str {
        match &self.way {
            Way::Encoded { header } => header,
            Way::ById { .. } => "",
        }
    }

    fn profile(&self) -> &str {
        &self.profile
    }

    fn write(&self, endpoint: &Endpoint, out: &mut String) {
        base64::encode(endpoint.name.as_bytes(), out);
    }
}
