//! Traces of a process: what the environment says, and the task that brings spans to the collector.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use pointsman_http::{Line, Trust};
use pointsman_serve::router::Router;
use pointsman_serve::tracing::exporter;
use pointsman_serve::tracing::settings::{Settings, TlsFiles};
use pointsman_serve::tracing::tracer::Tracer;

/// A tracer, and the way to its collector.
pub(crate) struct Traces {
    pub(crate) tracer: Arc<Tracer>,
    line: Line,
}

/// What the environment asks for, if it asks for traces.
pub(crate) fn tracer() -> anyhow::Result<Option<Traces>> {
    of(&|name| std::env::var(name).ok())
}

/// The same for a process that is called so where the environment does not name it.
pub(crate) fn tracer_called(service: &str) -> anyhow::Result<Option<Traces>> {
    let variable = |name: &str| std::env::var(name).ok();
    let resource = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let named = resource
        .split(',')
        .any(|one| one.trim().starts_with("service.name="));
    of(&|name| {
        let usual = (name == "OTEL_SERVICE_NAME" && !named).then(|| service.to_owned());
        variable(name).or(usual)
    })
}

fn of(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Traces>> {
    let settings = Settings::of(variable).map_err(|why| anyhow!(why))?;
    settings.map(traces).transpose()
}

fn traces(settings: Settings) -> anyhow::Result<Traces> {
    let trust = settings.tls.as_ref().map(trust).transpose()?;
    let line = exporter::line(&settings, &trust.unwrap_or_default()).with_context(|| {
        format!(
            "cannot trace to https://{}: look at OTEL_EXPORTER_OTLP_CERTIFICATE and its like",
            settings.authority
        )
    })?;
    Ok(Traces {
        tracer: Arc::new(Tracer::new(settings)),
        line,
    })
}

fn trust(files: &TlsFiles) -> anyhow::Result<Trust> {
    let read = |path: &String| {
        std::fs::read(path)
            .with_context(|| format!("cannot read '{path}', which OTEL_EXPORTER_OTLP_* names"))
    };
    let own = files.own.as_ref();
    Ok(Trust {
        authorities: files.authorities.as_ref().map(read).transpose()?,
        own: own
            .map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)))
            .transpose()?,
        ..Trust::default()
    })
}

/// Traces the requests of a router from now on; on the current runtime.
pub(crate) fn start(router: &Router, traces: Option<Traces>) {
    if let Some(traces) = traces {
        router.trace_with(Arc::clone(&traces.tracer));
        traces.bring_away();
    }
}

impl Traces {
    /// Brings spans to the collector from now on; on the current runtime.
    pub(crate) fn bring_away(self) {
        tokio::spawn(exporter::run(self.tracer, self.line));
    }
}
