//! What a document is resolved against: the plugins there are, whose rules apply, what is replaced.

use crate::contract::spec::{Generation, PluginSpec};
use crate::contract::staleness::Policy;
use crate::schedule::plan::Plan;

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

/// What a document is resolved against.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The plugins there are.
    pub registry: &'a Registry,
    /// Whose rules apply.
    pub compat: Generation,
    /// Why they do.
    pub compat_reason: &'a str,
    /// What the plan is made from: a preset's name or a file path.
    pub source: &'a str,
    /// What the door does about old readings where the document says nothing.
    pub staleness: Policy,
    /// Whether plugins that the reference calls experimental were asked for.
    pub experimental: bool,
    /// The plan that is replaced; plugins of equal type and name go on with what they know.
    pub previous: Option<&'a Plan>,
}

impl<'a> Basis<'a> {
    /// A basis under the rules of `compat`, with nothing to go on from and old readings used as they are.
    pub fn new(registry: &'a Registry, compat: Generation, source: &'a str) -> Self {
        Self {
            registry,
            compat,
            compat_reason: "",
            source,
            staleness: Policy::Use,
            experimental: false,
            previous: None,
        }
    }
}
