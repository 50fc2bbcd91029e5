//! A configuration as written plus the registry gives a [`Plan`], or every fault at once.
//!
//! Order of defaulting, as the reference does it: names default to types; no profile means one profile
//! `default` of every filter, scorer and picker in the order of declaration; one profile without a
//! handler gets `single-profile-handler`; a profile without a picker gets the first picker declared, else a
//! `max-score-picker`; a scorer without a weight gets 1.

use std::collections::BTreeMap;

use crate::config::fault::{Fault, Severity, did_you_mean};
use crate::config::written::{
    API_VERSIONS, KIND, Written, WrittenPlugin, WrittenProfile, WrittenReference,
};
use crate::contract::roles::{Built, FileDiscovery};
use crate::contract::spec::{Generation, Params, PluginSpec, Role, parameter_names};
use crate::model::slots::Reading;
use crate::schedule::plan::{Named, Plan, Profile, Weighted};

/// The plugins a configuration can name, by type and alias.
pub struct Registry {
    specs: Vec<&'static PluginSpec>,
}

impl Registry {
    /// A registry of these plugins.
    pub fn new(specs: &[&'static PluginSpec]) -> Self {
        Self {
            specs: specs.to_vec(),
        }
    }

    /// The plugin of this type or alias.
    pub fn find(&self, kind: &str) -> Option<&'static PluginSpec> {
        self.specs
            .iter()
            .copied()
            .find(|s| s.kind == kind || s.aliases.contains(&kind))
    }

    /// All types and aliases.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.specs
            .iter()
            .flat_map(|s| std::iter::once(s.kind).chain(s.aliases.iter().copied()))
    }
}

/// A plan together with what was noticed on the way.
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// Findings that did not refuse it.
    pub warnings: Vec<Fault>,
}

/// Resolves `written` under the rules of `compat`.
///
/// # Errors
/// All faults of the document, warnings included, in the order of the document.
pub fn resolve(
    written: &Written,
    registry: &Registry,
    compat: Generation,
    source: &str,
) -> Result<Resolved, Vec<Fault>> {
    let mut resolver = Resolver {
        registry,
        compat,
        faults: Vec::new(),
    };
    resolver.check_envelope(written);
    let declared = resolver.declare(written);
    let profiles = resolver.profiles_of(written, &declared);
    let handler = resolver.handler(&declared, profiles.len());
    let discovery = resolver.discovery(written, &declared);
    let mut reads = Vec::new();
    let built: Vec<Option<Profile>> = profiles
        .iter()
        .enumerate()
        .map(|(at, p)| resolver.profile(at, p, &declared, &mut reads))
        .collect();
    let refused = resolver
        .faults
        .iter()
        .any(|f| f.severity == Severity::Error);
    let (Some(handler), false) = (handler, refused) else {
        return Err(resolver.faults);
    };
    let plan = Plan {
        source: source.to_owned(),
        generation: 1,
        compat,
        hash: fingerprint(written),
        profiles: built.into_iter().flatten().collect(),
        handler,
        discovery,
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

struct Declared<'a> {
    spec: &'static PluginSpec,
    name: String,
    path: String,
    parameters: Option<&'a serde_json::Value>,
}

struct Resolver<'r> {
    registry: &'r Registry,
    compat: Generation,
    faults: Vec<Fault>,
}

type Declarations<'a> = Vec<Declared<'a>>;

impl Resolver<'_> {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault::error(path, message));
    }

    fn check_envelope(&mut self, written: &Written) {
        if let Some(found) = written.api_version.as_deref()
            && !API_VERSIONS.contains(&found)
        {
            self.error(
                "apiVersion",
                format!("'{found}' is not known; use {}", API_VERSIONS.join(" or ")),
            );
        }
        if let Some(found) = written.kind.as_deref()
            && found != KIND
        {
            self.error("kind", format!("'{found}' is not {KIND}"));
        }
        for (at, gate) in written.feature_gates.iter().enumerate() {
            let path = format!("featureGates[{at}]");
            match gate.as_str() {
                "dataLayer" => self.faults.push(Fault::warning(
                    path,
                    "'dataLayer' is always on here; remove it",
                )),
                _ => self.error(
                    path,
                    format!("feature gate '{gate}' is not supported yet; remove it"),
                ),
            }
        }
        let sections = [
            ("requestHandler", written.request_handler.is_some()),
            ("flowControl", written.flow_control.is_some()),
            ("saturationDetector", written.saturation_detector.is_some()),
            ("parser", written.parser.is_some()),
            (
                "dataLayer.sources",
                written
                    .data_layer
                    .as_ref()
                    .is_some_and(|d| !d.sources.is_empty()),
            ),
        ];
        for (path, present) in sections {
            if present {
                self.error(path, "this section is not supported yet; remove it");
            }
        }
    }

    fn declare<'a>(&mut self, written: &'a Written) -> Declarations<'a> {
        let mut declared: Declarations<'a> = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (at, plugin) in written.plugins.iter().enumerate() {
            let path = format!("plugins[{at}]");
            let name = plugin.name.clone().unwrap_or_else(|| plugin.kind.clone());
            if plugin.kind.is_empty() {
                self.error(
                    format!("{path}.type"),
                    format!("plugin '{name}' is missing a type"),
                );
                continue;
            }
            if let Some(first) = seen.insert(name.clone(), at) {
                self.error(
                    path.clone(),
                    format!("duplicate plugin name '{name}'; plugins[{first}] has it already"),
                );
            }
            if let Some(spec) = self.find(plugin, &path) {
                self.check_parameters(spec, plugin, &path);
                declared.push(Declared {
                    spec,
                    name,
                    path,
                    parameters: plugin.parameters.as_ref(),
                });
            }
        }
        declared
    }

    fn find(&mut self, plugin: &WrittenPlugin, path: &str) -> Option<&'static PluginSpec> {
        let found = self.registry.find(&plugin.kind);
        if found.is_none() {
            let hint = did_you_mean(&plugin.kind, self.registry.kinds())
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            self.error(
                format!("{path}.type"),
                format!("plugin type '{}' is not registered{hint}", plugin.kind),
            );
        }
        found
    }

    fn check_parameters(&mut self, spec: &'static PluginSpec, plugin: &WrittenPlugin, path: &str) {
        let Some(parameters) = plugin
            .parameters
            .as_ref()
            .and_then(serde_json::Value::as_object)
        else {
            return;
        };
        let known = parameter_names(&(spec.schema)());
        for key in parameters.keys().filter(|key| !known.contains(key)) {
            let hint = did_you_mean(key, known.iter().map(String::as_str))
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            let message = format!("'{}' has no parameter '{key}'{hint}", spec.kind);
            let path = format!("{path}.parameters.{key}");
            self.faults.push(match self.compat {
                Generation::G1 => Fault::warning(path, format!("{message} (ignored)")),
                Generation::G2 => Fault::error(path, message),
            });
        }
    }

    fn profiles_of(
        &mut self,
        written: &Written,
        declared: &Declarations<'_>,
    ) -> Vec<WrittenProfile> {
        if !written.scheduling_profiles.is_empty() {
            return written.scheduling_profiles.clone();
        }
        let plugins = declared
            .iter()
            .filter(|d| !matches!(d.spec.role, Role::ProfileHandler | Role::Discovery))
            .map(|d| WrittenReference {
                plugin_ref: d.name.clone(),
                weight: None,
            })
            .collect();
        vec![WrittenProfile {
            name: "default".to_owned(),
            plugins,
        }]
    }

    fn build(&mut self, declared: &Declared<'_>) -> Option<Built> {
        let params = Params {
            value: declared.parameters,
            generation: self.compat,
        };
        match (declared.spec.build)(&params) {
            Ok(built) => Some(built),
            Err(faults) => {
                for fault in faults {
                    let dot = if fault.path.is_empty() { "" } else { "." };
                    self.error(
                        format!("{}.parameters{dot}{}", declared.path, fault.path),
                        fault.message,
                    );
                }
                None
            }
        }
    }

    fn handler(
        &mut self,
        declared: &Declarations<'_>,
        profiles: usize,
    ) -> Option<Named<dyn crate::contract::roles::ProfileHandler>> {
        let handlers: Vec<&Declared<'_>> = declared
            .iter()
            .filter(|d| d.spec.role == Role::ProfileHandler)
            .collect();
        let implied = [self.implied("single-profile-handler")?];
        let chosen = match handlers.as_slice() {
            [one] => one,
            [] if profiles == 1 => &implied[0],
            [] => {
                self.error(
                    "plugins",
                    "no profile handler configured, and there is more than one profile",
                );
                return None;
            }
            [first, second, ..] => {
                let message = format!(
                    "multiple profile handlers found ('{}', '{}'); only one is allowed",
                    first.name, second.name
                );
                self.error("plugins", message);
                return None;
            }
        };
        let Built::Handler(plugin) = self.build(chosen)? else {
            return None;
        };
        if let Err(why) = plugin.accepts(profiles) {
            self.error("schedulingProfiles", why);
            return None;
        }
        Some(Named {
            name: chosen.name.clone(),
            kind: chosen.spec.kind,
            plugin,
        })
    }

    /// What `dataLayer.discovery` refers to.
    fn discovery(
        &mut self,
        written: &Written,
        declared: &Declarations<'_>,
    ) -> Option<FileDiscovery> {
        let reference = written.data_layer.as_ref()?.discovery.as_ref()?;
        let path = "dataLayer.discovery";
        let used = self.referenced(reference, path, declared)?;
        match self.build(used)? {
            Built::Discovery(discovery) => Some(discovery),
            other => {
                let message = format!(
                    "'{}' is a {other:?}, not a way to find endpoints; use file-discovery",
                    used.name
                );
                self.error(format!("{path}.pluginRef"), message);
                None
            }
        }
    }

    /// A plugin that nobody wrote down.
    fn implied(&mut self, kind: &str) -> Option<Declared<'static>> {
        let spec = self.registry.find(kind)?;
        Some(Declared {
            spec,
            name: kind.to_owned(),
            path: "plugins".to_owned(),
            parameters: None,
        })
    }

    fn profile(
        &mut self,
        at: usize,
        written: &WrittenProfile,
        declared: &Declarations<'_>,
        reads: &mut Vec<Reading>,
    ) -> Option<Profile> {
        let path = format!("schedulingProfiles[{at}]");
        if written.name.is_empty() {
            self.error(path.clone(), "the profile is missing a name");
        }
        let (mut filters, mut scorers, mut picker) = (Vec::new(), Vec::new(), None);
        for (i, reference) in written.plugins.iter().enumerate() {
            let path = format!("{path}.plugins[{i}]");
            let Some(used) = self.referenced(reference, &path, declared) else {
                continue;
            };
            reads.extend(
                used.spec
                    .reads
                    .iter()
                    .filter(|r| !reads.contains(r))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            let (name, kind) = (used.name.clone(), used.spec.kind);
            match self.build(used) {
                Some(Built::Filter(plugin)) => filters.push(Named { name, kind, plugin }),
                Some(Built::Scorer(plugin)) => {
                    let weight = self.weight(reference, &path);
                    scorers.push(Weighted {
                        scorer: Named { name, kind, plugin },
                        weight,
                    });
                }
                Some(Built::Picker(plugin)) => {
                    if picker.replace(Named { name, kind, plugin }).is_some() {
                        self.error(
                            path,
                            format!("profile '{}' has more than one picker", written.name),
                        );
                    }
                }
                Some(Built::Handler(_) | Built::Discovery(_)) | None => {}
            }
        }
        let picker = match picker {
            Some(picker) => picker,
            None => self.default_picker(declared)?,
        };
        Some(Profile {
            name: written.name.clone(),
            filters,
            scorers,
            picker,
        })
    }

    fn referenced<'d, 'a>(
        &mut self,
        reference: &WrittenReference,
        path: &str,
        declared: &'d Declarations<'a>,
    ) -> Option<&'d Declared<'a>> {
        let name = &reference.plugin_ref;
        if name.is_empty() {
            self.error(path, "the entry is missing a 'pluginRef'");
            return None;
        }
        let found = declared.iter().find(|d| &d.name == name);
        if found.is_none() {
            let hint = did_you_mean(name, declared.iter().map(|d| d.name.as_str()))
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            self.error(
                format!("{path}.pluginRef"),
                format!("references undefined plugin '{name}'{hint}"),
            );
        }
        found
    }

    fn weight(&mut self, reference: &WrittenReference, path: &str) -> f64 {
        let weight = reference.weight.unwrap_or(1.0);
        if !weight.is_finite() {
            self.error(
                format!("{path}.weight"),
                format!("{weight} is no weight; use a finite number"),
            );
        } else if weight <= 0.0 {
            let text = format!(
                "weight {weight} makes the scorer useless or turns it around; use a number above 0"
            );
            self.faults
                .push(Fault::warning(format!("{path}.weight"), text));
        }
        weight
    }

    fn default_picker(
        &mut self,
        declared: &Declarations<'_>,
    ) -> Option<Named<dyn crate::contract::roles::Picker>> {
        let implied = self.implied("max-score-picker")?;
        let chosen = declared
            .iter()
            .find(|d| d.spec.role == Role::Picker)
            .unwrap_or(&implied);
        let Built::Picker(plugin) = self.build(chosen)? else {
            return None;
        };
        Some(Named {
            name: chosen.name.clone(),
            kind: chosen.spec.kind,
            plugin,
        })
    }
}
