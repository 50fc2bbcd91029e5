//! A configuration as written plus what it is resolved against gives a [`Plan`], or every fault at once.
//!
//! Order, as the reference does it: our own settings and the envelope; plugins by type, each built once; producers
//! that somebody needs and nobody declares; profiles, their handler and pickers; admission; discovery, metrics, parsers.

use std::sync::Arc;

use crate::config::basis::Basis;
use crate::config::fault::{Fault, refuses};
use crate::config::own::OwnSettings;
use crate::config::resolver::Resolver;
use crate::config::written::Written;
use crate::schedule::plan::{Plan, Profile};

/// A plan together with what was noticed on the way.
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// Findings that did not refuse it: warnings and notes.
    pub warnings: Vec<Fault>,
}

/// Resolves `written`.
///
/// # Errors
/// All faults of the document, warnings included.
pub fn resolve(written: &Written, basis: &Basis<'_>) -> Result<Resolved, Vec<Fault>> {
    let (own, faults) = match &written.pointsman {
        Some(own) => own.settings(),
        None => (OwnSettings::default(), Vec::new()),
    };
    let mut resolver = Resolver {
        basis: *basis,
        own,
        faults,
        names: Vec::new(),
        failed: Vec::new(),
        added: Vec::new(),
        flow_headers: Vec::new(),
        one_for_all: written.scheduling_profiles.is_empty(),
    };
    let declared = resolver.declare(written);
    resolver.check_envelope(written);
    let mut parts = resolver.build_all(&declared);
    resolver.add_producers(&declared, &mut parts);
    let profiles = resolver.profiles_of(written, &declared);
    let mut reads = resolver.reads_of_admitters(&declared);
    let built: Vec<Option<Profile>> = (0..profiles.len())
        .map(|at| resolver.profile(at, &profiles, &mut parts, &declared, &mut reads))
        .collect();
    let handler = resolver.handler(&mut parts, &profiles, &declared);
    let admission = resolver.admission(written, &mut parts, &built);
    let discovery = resolver.discovery(written, &parts);
    let metrics = resolver.metrics(written, &parts);
    let parsers = resolver.parsers(written, &mut parts);
    let (Some(handler), Some(admission), false) = (handler, admission, refuses(&resolver.faults))
    else {
        return Err(resolver.faults);
    };
    let [prefill_header, encode_header] =
        resolver.tells(parts.told(), handler.plugin.as_ref(), &profiles);
    let announcers = resolver.announcers(&parts, handler.plugin.as_ref(), &profiles);
    if refuses(&resolver.faults) {
        return Err(resolver.faults);
    }
    let preparers = parts.preparers();
    let render_server = preparers.iter().find_map(|p| p.plugin.render_server());
    let assets = preparers.iter().find_map(|p| p.plugin.asset_rules());
    let plan = Plan {
        source: basis.source.to_owned(),
        generation: basis.previous.map_or(1, |plan| plan.generation + 1),
        compat: basis.compat,
        compat_reason: basis.compat_reason.to_owned(),
        written: Arc::new(written.clone()),
        hash: fingerprint(written),
        profiles: built.into_iter().flatten().collect(),
        handler,
        producers: parts.producers(),
        render_server: render_server.map(Arc::new),
        assets: assets.unwrap_or_default(),
        preparers,
        observers: parts.observers(),
        announcers,
        admitters: parts.admitters(),
        reporters: parts.reporters(),
        flow_headers: parts.flow_headers(),
        served_header: parts.served_header(),
        added: resolver.added,
        prefill_header,
        encode_header,
        parsers,
        metrics,
        staleness: resolver.own.staleness_or(basis.staleness),
        own: resolver.own,
        discovery,
        admission: Arc::new(admission),
        reads,
    };
    Ok(Resolved {
        plan,
        warnings: resolver.faults,
    })
}

/// A fingerprint of the document (FNV-1a over its JSON), equal on every machine.
fn fingerprint(written: &Written) -> u64 {
    let text = serde_json::to_string(written).unwrap_or_default();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
