//! From a configuration text to a plan: YAML or JSON in, a [`Resolved`] plan or every fault out.

use std::path::Path;

use pointsman_core::config::fault::{Fault, did_you_mean};
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::resolved::{Basis, Registry, Resolved, resolve};
use pointsman_core::config::written::Written;
use pointsman_core::contract::spec::Generation;

/// Largest configuration that is read.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// The plan of a named profile.
///
/// # Errors
/// There is no such profile.
pub fn from_preset(name: &str, registry: &Registry) -> Result<Resolved, Vec<Fault>> {
    let Some(written) = preset(name) else {
        let hint = did_you_mean(name, NAMES)
            .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        let message = format!("'{name}' is no profile; known: {}{hint}", NAMES.join(", "));
        return Err(vec![Fault::error("--profile", message)]);
    };
    resolve(&written, &Basis::new(registry, Generation::G1, name))
}

/// The plan of a configuration file.
///
/// # Errors
/// The file cannot be read, or every fault in it.
pub fn from_file(path: &Path, registry: &Registry) -> Result<Resolved, Vec<Fault>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| vec![Fault::error("", format!("cannot read {shown}: {e}"))])?;
    from_text(&text, registry, &shown)
}

/// The plan of a configuration text.
///
/// # Errors
/// Every fault of the text.
pub fn from_text(text: &str, registry: &Registry, source: &str) -> Result<Resolved, Vec<Fault>> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(vec![Fault::error(
            "",
            format!("the file is larger than {MAX_CONFIG_BYTES} bytes"),
        )]);
    }
    let written: Written =
        serde_saphyr::from_str(text).map_err(|e| vec![Fault::error("", e.to_string())])?;
    resolve(
        &written,
        &Basis::new(registry, generation_of(&written), source),
    )
}

/// Second generation by the API group that only it has, else the first.
fn generation_of(written: &Written) -> Generation {
    let second =
        written.api_version.as_deref() == Some("llm-d.ai/v1alpha1") || written.data_layer.is_some();
    if second {
        Generation::G2
    } else {
        Generation::G1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn registry() -> Registry {
        Registry::new(&[pointsman_plugins::ALL, crate::SPECS].concat())
    }

    fn faults(text: &str) -> Vec<String> {
        let Err(faults) = from_text(text, &registry(), "t") else {
            panic!("accepted: {text}")
        };
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_presets_resolve_and_say_what_they_are() {
        for name in NAMES {
            let resolved = from_preset(name, &registry()).ok().unwrap();
            assert!(resolved.warnings.is_empty());
            let profile = &resolved.plan.profiles[0];
            assert_eq!(profile.scorers[0].scorer.kind, "active-request-scorer");
            assert_eq!(profile.picker.kind, "max-score-picker");
            assert_eq!(
                profile.filters.len(),
                usize::from(name.ends_with("by-backend"))
            );
        }
        let Err(unknown) = from_preset("proxy-perfomance", &registry()) else {
            panic!("accepted")
        };
        assert!(
            unknown[0]
                .message
                .contains("did you mean 'proxy-performance'?")
        );
    }

    #[test]
    fn all_faults_come_at_once_with_their_places() {
        let text = "plugins:\n- type: active-request-scorr\n- {type: random-picker, name: p}\n- {type: max-score-picker, name: p}\nschedulingProfiles:\n- name: default\n  plugins: [{pluginRef: q}]\n";
        let found = faults(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("plugins[0].type")
                && found[0].contains("did you mean 'active-request-scorer'?")
        );
        assert!(found[1].contains("duplicate plugin name 'p'"));
        assert!(found[2].contains("schedulingProfiles[0].plugins[0].pluginRef"));
    }

    #[test]
    fn unknown_envelope_fields_are_refused_with_their_line() {
        let found = faults("plugins: []\nschedulingProfile: []\n");
        assert!(
            found[0].contains("schedulingProfile") && found[0].contains("line 2"),
            "{found:?}"
        );
    }

    #[test]
    fn defaults_are_filled_in_as_the_reference_does() {
        let resolved = from_text(
            "plugins:\n- type: active-request-scorer\n",
            &registry(),
            "t",
        )
        .ok()
        .unwrap();
        let profile = &resolved.plan.profiles[0];
        assert_eq!(
            (profile.name.as_str(), profile.scorers[0].weight),
            ("default", 1.0)
        );
        assert_eq!(profile.picker.kind, "max-score-picker");
        assert_eq!(resolved.plan.handler.kind, "single-profile-handler");
    }

    #[test]
    fn unknown_parameters_warn_in_the_first_generation_and_refuse_in_the_second() {
        let plugins =
            "plugins:\n- type: active-request-scorer\n  parameters: {requestTimeot: 2m}\n";
        let resolved = from_text(plugins, &registry(), "t").ok().unwrap();
        assert!(
            resolved.warnings[0]
                .message
                .contains("did you mean 'requestTimeout'?")
        );
        let found = faults(&format!("apiVersion: llm-d.ai/v1alpha1\n{plugins}"));
        assert!(
            found[0].contains("plugins[0].parameters.requestTimeot"),
            "{found:?}"
        );
    }

    #[test]
    fn discovery_from_a_file_is_resolved_and_anything_else_refused() {
        let text = |reference: &str, parameters: &str| {
            format!(
                "apiVersion: llm-d.ai/v1alpha1\nplugins:\n- {{name: f, type: file-discovery, parameters: {parameters}}}\n- type: active-request-scorer\ndataLayer: {{discovery: {{pluginRef: {reference}}}}}\n"
            )
        };
        let resolved = from_text(
            &text("f", "{path: pool.yaml, watchFile: true}"),
            &registry(),
            "t",
        )
        .ok()
        .unwrap();
        let discovery = resolved.plan.discovery.unwrap();
        assert_eq!(
            (discovery.path.as_str(), discovery.watch),
            ("pool.yaml", true)
        );
        assert_eq!(resolved.plan.profiles[0].scorers.len(), 1);
        assert!(faults(&text("f", "{}"))[0].contains("plugins[0].parameters.path"));
        assert!(
            faults(&text("active-request-scorer", "{path: x}"))[0].contains("use file-discovery")
        );
        assert!(faults(&text("g", "{path: x}"))[0].contains("undefined plugin 'g'"));
    }
}
