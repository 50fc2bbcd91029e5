//! Traces of a process: what the environment says, and the task that brings spans to the collector.

use std::sync::Arc;

use anyhow::anyhow;
use pointsman_http::{ClientOptions, Pool};
use pointsman_serve::router::Router;
use pointsman_serve::tracing::exporter;
use pointsman_serve::tracing::settings::Settings;
use pointsman_serve::tracing::tracer::Tracer;

/// The tracer that the environment asks for, if it asks for one.
pub(crate) fn tracer() -> anyhow::Result<Option<Arc<Tracer>>> {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = Settings::of(&variable).map_err(|why| anyhow!(why))?;
    Ok(settings.map(|settings| Arc::new(Tracer::new(settings))))
}

/// Traces the requests of a router from now on; on the current runtime.
pub(crate) fn start(router: &Router, tracer: Option<Arc<Tracer>>) {
    if let Some(tracer) = tracer {
        router.trace_with(Arc::clone(&tracer));
        tokio::spawn(exporter::run(tracer, Pool::new(ClientOptions::default())));
    }
}
