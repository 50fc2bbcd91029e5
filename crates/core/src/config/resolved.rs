//! A configuration as written plus the registry gives a [`Plan`], or every fault at once.
//!
//! Order of defaulting, as the reference does it: names default to types; no profile means one profile
//! `default` of every filter, scorer and picker in the order of declaration; one profile without a
//! handler gets `single-profile-handler`; a profile without a picker gets the first picker declared, else a
//! `max-score-picker`; a scorer without a weight gets 1.

use std::collections::BTreeMap;

use crate::config::fault::{Fault, Severity, did_you_mean};
use crate::config::own::OwnSettings;
use crate::config::parts::Parts;
use crate::config::written::{
    API_VERSIONS, KIND, Written, WrittenPlugin, WrittenProfile, WrittenReference,
};
use crate::contract::data_layer::FileDiscovery;
use crate::contract::roles::{Binding, Built, Picker, ProfileHandler};
use crate::contract::spec::{Generation, Params, PluginSpec, parameter_names};
use crate::contract::staleness::Policy;
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

/// What a document is resolved against.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The plugins there are.
    pub registry: &'a Registry,
    /// Whose rules apply.
    pub compat: Generation,
    /// What the plan is made from: a preset's name or a file path.
    pub source: &'a str,
    /// What the door does about old readings where the document says nothing.
    pub staleness: Policy,
    /// The plan that is replaced; plugins of equal type and name go on with what they know.
    pub previous: Option<&'a Plan>,
}

impl<'a> Basis<'a> {
    /// A basis under the rules of `compat`, with nothing to go on from and old readings used as they are.
    pub fn new(registry: &'a Registry, compat: Generation, source: &'a str) -> Self {
        Self {
            registry,
            compat,
            source,
            staleness: Policy::Use,
            previous: None,
        }
    }
}

/// Resolves `written`.
///
/// # Errors
/// All faults of the document, warnings included, in the order of the document.
pub fn resolve(written: &Written, basis: &Basis<'_>) -> Result<Resolved, Vec<Fault>> {
    let mut resolver = Resolver {
        basis: *basis,
        own: OwnSettings::default(),
        faults: Vec::new(),
    };
    resolver.check_envelope(written);
    let declared = resolver.declare(written);
    let mut parts = resolver.build_all(&declared);
    let added = resolver.add_producers(&declared, &mut parts);
    let profiles = resolver.profiles_of(written, &declared);
    let handler = resolver.handler(&mut parts, &profiles);
    let discovery = resolver.discovery(written, &parts);
    let mut reads = Vec::new();
    let built: Vec<Option<Profile>> = profiles
        .iter()
        .enumerate()
        .map(|(at, p)| resolver.profile(at, p, &parts, &declared, &mut reads))
        .collect();
    let refused = resolver
        .faults
        .iter()
        .any(|f| f.severity == Severity::Error);
    let (Some(handler), false) = (handler, refused) else {
        return Err(resolver.faults);
    };
    let plan = Plan {
        source: basis.source.to_owned(),
        generation: basis.previous.map_or(1, |plan| plan.generation + 1),
        compat: basis.compat,
        hash: fingerprint(written),
        profiles: built.into_iter().flatten().collect(),
        handler,
        producers: parts.producers(),
        added,
        prefill_header: parts.prefill_header(),
        parsers: parts.parsers(),
        metrics: Some(parts.metrics()),
        staleness: resolver.own.staleness_or(basis.staleness),
        own: resolver.own,
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
    basis: Basis<'r>,
    own: OwnSettings,
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
        let found = self.basis.registry.find(&plugin.kind);
        if found.is_none() {
            let hint = did_you_mean(&plugin.kind, self.basis.registry.kinds())
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
            self.faults.push(match self.basis.compat {
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
            .filter(|d| d.spec.role.in_profiles())
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

    /// Builds every plugin once; a plugin that is refused is left out.
    fn build_all(&mut self, declared: &Declarations<'_>) -> Parts {
        let mut parts = Parts::default();
        for one in declared {
            if let Some(built) = self.build(one) {
                parts.add(&one.name, one.spec, built);
            }
        }
        parts
    }

    fn build(&mut self, declared: &Declared<'_>) -> Option<Built> {
        let previous = self
            .basis
            .previous
            .and_then(|plan| plan.state_of(declared.spec.kind, &declared.name));
        let params = Params {
            value: declared.parameters,
            generation: self.basis.compat,
            name: &declared.name,
            previous: previous.as_ref(),
            own: &self.own,
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

    /// Adds the default producer of whatever a plugin needs and nobody produces; gives the names of those added.
    fn add_producers(&mut self, declared: &Declarations<'_>, parts: &mut Parts) -> Vec<String> {
        let mut added = Vec::new();
        for one in declared {
            let params = Params {
                value: one.parameters,
                generation: self.basis.compat,
                name: &one.name,
                previous: None,
                own: &self.own,
            };
            for needed in (one.spec.requires)(&params) {
                let name = needed
                    .producer
                    .as_deref()
                    .unwrap_or_else(|| needed.key.default_producer());
                if parts.has_producer(name) {
                    continue;
                }
                if name == needed.key.default_producer()
                    && let Some(implied) = self.implied(name)
                    && let Some(built) = self.build(&implied)
                {
                    parts.add(&implied.name, implied.spec, built);
                    added.push(implied.name);
                } else if !needed.optional {
                    let message = format!(
                        "'{}' needs {} from a producer named '{name}', and there is none",
                        one.name,
                        needed.key.word()
                    );
                    self.error(one.path.clone(), message);
                }
            }
        }
        added
    }

    fn handler(
        &mut self,
        parts: &mut Parts,
        profiles: &[WrittenProfile],
    ) -> Option<Named<dyn ProfileHandler>> {
        let mut handlers = parts.take_handlers();
        if handlers.is_empty() {
            if profiles.len() != 1 {
                self.error(
                    "plugins",
                    "no profile handler configured, and there is more than one profile",
                );
                return None;
            }
            let implied = self.implied("single-profile-handler")?;
            if let Some(Built::Handler(handler)) = self.build(&implied) {
                handlers.push((implied.name.as_str().into(), implied.spec.kind, handler));
            }
        }
        if let [(first, ..), (second, ..), ..] = handlers.as_slice() {
            let message = format!(
                "multiple profile handlers found ('{first}', '{second}'); only one is allowed"
            );
            self.error("plugins", message);
            return None;
        }
        let (name, kind, mut handler) = handlers.pop()?;
        let names: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
        let binding = Binding {
            profiles: &names,
            decider: &|name| parts.decider(name),
        };
        if let Err(why) = handler.bind(&binding) {
            self.error("schedulingProfiles", why);
            return None;
        }
        Some(Named {
            name,
            kind,
            plugin: handler.into(),
        })
    }

    /// What `dataLayer.discovery` refers to.
    fn discovery(&mut self, written: &Written, parts: &Parts) -> Option<FileDiscovery> {
        let reference = written.data_layer.as_ref()?.discovery.as_ref()?;
        let path = "dataLayer.discovery";
        self.check_reference(reference, path, parts)?;
        let found = parts.discovery(&reference.plugin_ref);
        if found.is_none() {
            let message = format!(
                "'{}' is not a way to find endpoints; use file-discovery",
                reference.plugin_ref
            );
            self.error(format!("{path}.pluginRef"), message);
        }
        found
    }

    /// A plugin that nobody wrote down.
    fn implied(&mut self, kind: &str) -> Option<Declared<'static>> {
        let spec = self.basis.registry.find(kind)?;
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
        parts: &Parts,
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
            let known = declared.iter().find(|d| d.name == reference.plugin_ref);
            let Some(used) = known else {
                self.check_reference(reference, &path, parts);
                continue;
            };
            let missing: Vec<Reading> = used
                .spec
                .reads
                .iter()
                .filter(|r| !reads.contains(r))
                .copied()
                .collect();
            reads.extend(missing);
            let name = used.name.as_str();
            if let Some(filter) = parts.filter(name) {
                filters.push(filter);
            }
            if let Some(scorer) = parts.scorer(name) {
                let weight = self.weight(reference, &path);
                scorers.push(Weighted { scorer, weight });
            }
            if let Some(found) = parts.picker(name)
                && picker.replace(found).is_some()
            {
                self.error(
                    path,
                    format!("profile '{}' has more than one picker", written.name),
                );
            }
        }
        let picker = match picker.or_else(|| parts.first_picker()) {
            Some(picker) => picker,
            None => self.default_picker()?,
        };
        Some(Profile {
            name: written.name.clone(),
            filters,
            scorers,
            picker,
        })
    }

    fn check_reference(
        &mut self,
        reference: &WrittenReference,
        path: &str,
        parts: &Parts,
    ) -> Option<()> {
        let name = &reference.plugin_ref;
        if name.is_empty() {
            self.error(path, "the entry is missing a 'pluginRef'");
            return None;
        }
        if parts.names().any(|known| known == name) {
            return Some(());
        }
        let hint = did_you_mean(name, parts.names())
            .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        self.error(
            format!("{path}.pluginRef"),
            format!("references undefined plugin '{name}'{hint}"),
        );
        None
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

    fn default_picker(&mut self) -> Option<Named<dyn Picker>> {
        let implied = self.implied("max-score-picker")?;
        let Built::Picker(plugin) = self.build(&implied)? else {
            return None;
        };
        Some(Named {
            name: implied.name.as_str().into(),
            kind: implied.spec.kind,
            plugin: plugin.into(),
        })
    }
}
