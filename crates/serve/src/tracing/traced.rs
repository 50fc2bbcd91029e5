//! What a traced request keeps until its span is handed in.

use crate::tracing::open::OpenSpan;
use crate::tracing::tracer::Trace;

/// One traced request.
pub struct Traced {
    /// Its place in a trace.
    pub trace: Trace,
    /// The model that it asked for; empty before that is known.
    pub model: String,
    /// The span of the leg whose answer passes.
    pub leg: Option<OpenSpan>,
}
