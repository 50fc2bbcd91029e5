//! The plugins of a document: looked up by type, their parameters' names checked, each built once.

use std::collections::BTreeMap;

use crate::config::catalogue::{
    Bound, CATALOGUE, FIRST_ONLY, NEEDLESS, NO_LONGER_READ, SECOND_ONLY, bound_to, listed,
};
use crate::config::fault::{Fault, hint};
use crate::config::parts::Parts;
use crate::config::resolver::{Declarations, Declared, Resolver, name_of};
use crate::config::shape::{Unknown, unknown_names};
use crate::config::written::{Written, WrittenPlugin};
use crate::contract::spec::{Generation, PluginSpec, Requirement, Role};

impl Resolver<'_> {
    /// Every plugin that the document declares and this build has.
    pub fn declare<'a>(&mut self, written: &'a Written) -> Declarations<'a> {
        let mut declared: Declarations<'a> = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, plugin) in written.plugins.iter().enumerate() {
            let path = format!("plugins[{at}]");
            let name = name_of(plugin);
            self.names.push(name.to_owned());
            if plugin.kind.is_empty() {
                let message = format!("plugin '{name}' is missing a type");
                self.error(format!("{path}.type"), message);
                self.failed.push(name.to_owned());
                continue;
            }
            if let Some(first) = seen.insert(name, at) {
                let message = format!(
                    "duplicate plugin name '{name}'; plugins[{first}] has it already, so give this one a name of its own"
                );
                let field = if plugin.name.is_some() { ".name" } else { "" };
                self.error(format!("{path}{field}"), message);
            }
            if NEEDLESS.contains(&plugin.kind.as_str()) {
                let instead = listed(&plugin.kind).map_or("", |listed| listed.instead);
                let message = format!("'{}' has no effect here; {instead}", plugin.kind);
                self.warning(format!("{path}.type"), message);
                continue;
            }
            let Some(spec) = self.find(plugin, &path) else {
                self.failed.push(name.to_owned());
                continue;
            };
            self.check_names(spec, plugin, &path);
            if listed(spec.kind).is_some_and(|listed| listed.alpha) && !self.basis.experimental {
                let message = format!(
                    "plugin '{name}' (type: '{}') has Alpha stability level, but command line flag --allow-experimental-plugins is not set; it is taken all the same",
                    spec.kind
                );
                self.warning(path.clone(), message);
            }
            declared.push(Declared {
                spec,
                name: name.to_owned(),
                path,
                parameters: plugin.parameters.as_ref(),
                broken: plugin.broken,
            });
        }
        declared
    }

    fn find(&mut self, plugin: &WrittenPlugin, path: &str) -> Option<&'static PluginSpec> {
        let kind = plugin.kind.as_str();
        let found = self.basis.registry.find(kind);
        if found.is_none() {
            let message = match listed(kind) {
                Some(listed) => format!(
                    "plugin type '{kind}' is not supported yet; {}",
                    listed.instead
                ),
                None => {
                    let kinds = self.basis.registry.kinds();
                    let near = hint(kind, kinds.chain(CATALOGUE.iter().map(|one| one.kind)));
                    format!("plugin type '{kind}' is not registered{near}")
                }
            };
            self.error(format!("{path}.type"), message);
        }
        found
    }

    fn check_names(&mut self, spec: &'static PluginSpec, plugin: &WrittenPlugin, path: &str) {
        let Some(parameters) = plugin.parameters.as_ref() else {
            return;
        };
        let schema = (spec.schema)();
        if schema.get("properties").is_none() {
            if parameters.as_object().is_some_and(|p| !p.is_empty()) {
                let message = format!("'{}' takes no parameters; these are ignored", spec.kind);
                self.faults
                    .push(Fault::warning(format!("{path}.parameters"), message).on_name());
            }
            return;
        }
        for unknown in unknown_names(parameters, schema.as_value()) {
            let fault = self.unknown(spec.kind, &unknown, path);
            self.faults.push(fault.on_name());
        }
        let names = parameters.as_object().into_iter().flatten();
        for (name, _) in names.filter(|(name, _)| schema_knows(schema.as_value(), name)) {
            let lists: &[(&'static [Bound], &str)] = match self.basis.compat {
                Generation::G1 => &[(SECOND_ONLY, "only the second generation reads it (ignored)")],
                Generation::G2 => &[
                    (FIRST_ONLY, "only the first generation reads it (ignored)"),
                    (NO_LONGER_READ, "no longer read (ignored)"),
                ],
            };
            for (list, message) in lists {
                let Some(bound) = bound_to(list, spec.kind, name) else {
                    continue;
                };
                let semicolon = if bound.instead.is_empty() { "" } else { "; " };
                let message = format!("'{name}': {message}{semicolon}{}", bound.instead);
                let path = format!("{path}.parameters.{name}");
                self.faults.push(Fault::warning(path, message).on_name());
            }
        }
    }

    fn unknown(&self, kind: &str, unknown: &Unknown, path: &str) -> Fault {
        let path = format!("{path}.parameters.{}", unknown.path);
        if let Some(bound) = bound_to(FIRST_ONLY, kind, &unknown.path) {
            let message = format!(
                "'{kind}' ignores the parameter '{}'; {}",
                unknown.name, bound.instead
            );
            return Fault::warning(path, message);
        }
        let near = unknown
            .near
            .as_deref()
            .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        let message = format!("'{kind}' has no parameter '{}'{near}", unknown.name);
        match self.basis.compat {
            Generation::G1 => Fault::warning(path, format!("{message} (ignored)")),
            Generation::G2 => Fault::error(path, message),
        }
    }

    /// Builds every plugin once; a plugin that is refused is left out.
    pub fn build_all(&mut self, declared: &Declarations<'_>) -> Parts {
        let mut parts = Parts::default();
        // What other plugins go by comes first.
        let reads = |one: &&Declared<'_>| one.spec.role == Role::HeaderReader;
        for one in declared.iter().filter(reads) {
            self.build_into(one, &mut parts);
        }
        self.flow_headers = parts.flow_headers();
        for one in declared.iter().filter(|one| !reads(one)) {
            self.build_into(one, &mut parts);
        }
        parts
    }

    fn build_into(&mut self, one: &Declared<'_>, parts: &mut Parts) {
        if let Some(built) = self.build(one) {
            parts.add(&one.name, one.spec, built);
        }
    }

    /// Adds the default producer of whatever a plugin needs and nobody produces.
    pub fn add_producers(&mut self, declared: &Declarations<'_>, parts: &mut Parts) {
        for one in declared {
            self.add_producers_of(one, parts);
        }
    }

    fn add_producers_of(&mut self, one: &Declared<'_>, parts: &mut Parts) {
        let needed = (one.spec.requires)(&self.params(one, None));
        for needed in needed {
            self.add_producer(one, &needed, parts);
        }
    }

    fn add_producer(&mut self, one: &Declared<'_>, needed: &Requirement, parts: &mut Parts) {
        let default = needed.key.default_producer();
        let name = needed.producer.as_deref().unwrap_or(default);
        if parts.has_producer(needed.key, name)
            || self.has_failed(name)
            || self.has_failed(&one.name)
            || needed.optional
        {
            return;
        }
        let added = name == default && self.imply(default, parts).is_some();
        if added && let Some(spec) = self.basis.registry.find(default) {
            // What was added may need somebody too.
            let implied = Declared {
                spec,
                name: default.to_owned(),
                path: one.path.clone(),
                parameters: None,
                broken: false,
            };
            self.add_producers_of(&implied, parts);
        }
        if !added {
            let key = needed.key.word();
            let message = format!(
                "'{}' needs {key} from a producer named '{name}', and there is none; declare one of type {default}",
                one.name
            );
            self.error(one.path.clone(), message);
        }
    }

    /// Whether no profile handler may be missed because a plugin that could not be built may be one.
    pub fn may_have_handler(&self, declared: &Declarations<'_>) -> bool {
        self.failed.iter().any(|name| {
            let known = declared.iter().find(|one| one.name == *name);
            known.is_none_or(|one| one.spec.role == Role::ProfileHandler)
        })
    }

    /// The picker that a profile without one gets when none is declared.
    pub fn add_picker(&mut self, parts: &mut Parts) {
        if parts.first_picker().is_none() {
            let _ = self.imply("max-score-picker", parts);
        }
    }

    /// The handler of a plan whose document has none, under its type's name.
    pub fn implied_handler(&mut self) -> Option<crate::config::parts::Handler> {
        let mut parts = Parts::default();
        self.imply("single-profile-handler", &mut parts)?;
        parts.take_handlers().pop()
    }
}

fn schema_knows(schema: &serde_json::Value, name: &str) -> bool {
    schema
        .get("properties")
        .is_some_and(|known| known.get(name).is_some())
}
