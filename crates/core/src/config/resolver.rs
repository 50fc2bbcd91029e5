//! The state of one resolution: what it works against, what was declared, everything found so far.

use crate::config::basis::Basis;
use crate::config::fault::{Fault, hint};
use crate::config::own::OwnSettings;
use crate::config::parts::Parts;
use crate::config::written::WrittenPlugin;
use crate::contract::roles::Built;
use crate::contract::spec::{ParamFault, Params, PluginSpec};

pub mod data_layer;
pub mod declare;
pub mod envelope;
pub mod flow;
pub mod profiles;

/// A plugin that a document declares, or that is added without being declared.
pub struct Declared<'a> {
    /// Its type.
    pub spec: &'static PluginSpec,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub path: String,
    /// Its parameters.
    pub parameters: Option<&'a serde_json::Value>,
    /// Whether its parameters are known to be wrong, so that it is not built.
    pub broken: bool,
}

/// The plugins of a document in the order of declaration.
pub type Declarations<'a> = Vec<Declared<'a>>;

/// One resolution under way.
pub struct Resolver<'r> {
    /// What it works against.
    pub basis: Basis<'r>,
    /// Our own settings.
    pub own: OwnSettings,
    /// Everything found so far.
    pub faults: Vec<Fault>,
    /// All names that the document declares, also of plugins that cannot be built.
    pub names: Vec<String>,
    /// Names among them whose plugin could not be built.
    pub failed: Vec<String>,
    /// Names of plugins that nobody wrote down and the plan needs.
    pub added: Vec<String>,
    /// Headers in which the readers of headers built so far find who sent a request.
    pub flow_headers: Vec<Box<str>>,
    /// Whether nobody wrote a profile, so that one stands for all plugins.
    pub one_for_all: bool,
}

impl Resolver<'_> {
    /// Notes what refuses the document.
    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault::error(path, message));
    }

    /// Notes what is told and no more.
    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault::warning(path, message));
    }

    /// Notes something for those who ask.
    pub fn note(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault::note(path, message));
    }

    /// Whether `name` is declared and its plugin could not be built, so that what it would have been is unknown.
    pub fn has_failed(&self, name: &str) -> bool {
        self.failed.iter().any(|failed| failed == name)
    }

    /// Whether the plugin that `path` has in its `pluginRef` is declared; if not, that is noted as a fault of `who`.
    pub fn check_reference(&mut self, name: &str, path: &str, who: &str) -> bool {
        if name.is_empty() {
            self.error(path, format!("{who}is missing a 'pluginRef'"));
            return false;
        }
        self.check_name(name, &format!("{path}.pluginRef"), who)
    }

    /// Whether the plugin that the field `path` names is declared; if not, that is noted as a fault of `who`.
    pub fn check_name(&mut self, name: &str, path: &str, who: &str) -> bool {
        if self.names.iter().any(|known| known == name) {
            return true;
        }
        let near = hint(name, self.names.iter().map(String::as_str));
        let message = format!("{who}references undefined plugin '{name}'{near}");
        self.error(path, message);
        false
    }

    /// What a constructor is given.
    pub fn params<'p>(
        &'p self,
        declared: &'p Declared<'_>,
        previous: Option<&'p crate::contract::roles::State>,
    ) -> Params<'p> {
        Params {
            value: declared.parameters,
            generation: self.basis.compat,
            name: &declared.name,
            previous,
            own: &self.own,
            flow_headers: &self.flow_headers,
        }
    }

    /// Builds a plugin; what it says against its parameters is noted.
    pub fn build(&mut self, declared: &Declared<'_>) -> Option<Built> {
        if declared.broken {
            self.failed.push(declared.name.clone());
            return None;
        }
        let previous = self
            .basis
            .previous
            .and_then(|plan| plan.state_of(declared.spec.kind, &declared.name));
        let built = (declared.spec.build)(&self.params(declared, previous.as_ref()));
        match built {
            Ok(built) => Some(built),
            Err(faults) => {
                self.failed.push(declared.name.clone());
                for fault in faults {
                    self.cannot_create(declared, &fault);
                }
                None
            }
        }
    }

    fn cannot_create(&mut self, declared: &Declared<'_>, fault: &ParamFault) {
        let dot = if fault.path.is_empty() { "" } else { "." };
        let path = format!("{}.parameters{dot}{}", declared.path, fault.path);
        let message = format!(
            "failed to create plugin '{}' (type: {}): {}",
            declared.name, declared.spec.kind, fault.message
        );
        self.error(path, message);
    }

    /// A plugin that nobody wrote down, built and added to `parts`; `None` where this build lacks the type.
    pub fn imply(&mut self, kind: &str, parts: &mut Parts) -> Option<()> {
        let spec = self.basis.registry.find(kind)?;
        let implied = Declared {
            spec,
            name: kind.to_owned(),
            path: "plugins".to_owned(),
            parameters: None,
            broken: false,
        };
        let built = self.build(&implied)?;
        parts.add(&implied.name, spec, built);
        self.added.push(implied.name);
        Some(())
    }
}

/// The name of a plugin: its own, or else its type.
pub fn name_of(plugin: &WrittenPlugin) -> &str {
    plugin.name.as_deref().unwrap_or(&plugin.kind)
}
