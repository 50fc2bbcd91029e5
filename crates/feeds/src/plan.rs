//! From a configuration text to a plan: YAML or JSON in, a [`Resolved`] plan or every fault with its place out.

use std::path::Path;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::compat::{Compat, generation_of};
use pointsman_core::config::fault::{Fault, Severity, hint, refuses};
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::reader;
use pointsman_core::config::resolved::{Resolved, resolve};
use pointsman_core::config::written::Written;
use pointsman_core::contract::staleness::Policy;
use pointsman_core::schedule::plan::Plan;

use crate::bounded;

pub mod watch;
pub mod yaml;

/// On what terms texts become plans.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The plugins there are.
    pub registry: &'a Registry,
    /// Whose rules are asked for.
    pub compat: Compat,
    /// A flag given that only the first generation has.
    pub legacy_flag: Option<&'a str>,
    /// What the door does about old readings where the document says nothing.
    pub staleness: Policy,
    /// Whether plugins that the reference calls experimental were asked for.
    pub experimental: bool,
    /// The plan that is replaced.
    pub previous: Option<&'a Plan>,
}

impl<'a> Terms<'a> {
    /// The configuration decides, and old readings are used as they are.
    pub fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            compat: Compat::Auto,
            legacy_flag: None,
            staleness: Policy::Use,
            experimental: false,
            previous: None,
        }
    }

    fn resolve(&self, written: &Written, source: &str) -> Result<Resolved, Vec<Fault>> {
        let (compat, reason) = generation_of(written, self.compat, self.legacy_flag);
        let basis = Basis {
            registry: self.registry,
            compat,
            compat_reason: &reason,
            source,
            staleness: self.staleness,
            experimental: self.experimental,
            previous: self.previous,
        };
        resolve(written, &basis)
    }
}

/// The plan of a named profile. Nobody can mend a profile that we wrote, so its warnings are notes.
///
/// # Errors
/// There is no such profile, or this build lacks one of its plugins.
pub fn from_preset(name: &str, terms: &Terms<'_>) -> Result<Resolved, Vec<Fault>> {
    let Some(written) = preset(name) else {
        let near = hint(name, NAMES);
        let message = format!("'{name}' is no profile; known: {}{near}", NAMES.join(", "));
        return Err(vec![Fault::error("--profile", message)]);
    };
    let mut resolved = terms.resolve(&written, name)?;
    for fault in &mut resolved.warnings {
        fault.severity = Severity::Note;
    }
    Ok(resolved)
}

/// The text of a configuration file.
///
/// # Errors
/// The file cannot be read, is too large or is not UTF-8.
pub fn text_of(path: &Path) -> Result<String, Fault> {
    bounded::text_of(path, yaml::MAX_BYTES)
}

/// The plan of a configuration file.
///
/// # Errors
/// The file cannot be read, or every fault in it.
pub fn from_file(path: &Path, terms: &Terms<'_>) -> Result<Resolved, Vec<Fault>> {
    let text = text_of(path).map_err(|fault| vec![fault])?;
    from_text(&text, &path.display().to_string(), terms)
}

/// The plan of a configuration text.
///
/// # Errors
/// Every fault of the text and everything noticed beside, in the order of the text.
pub fn from_text(text: &str, source: &str, terms: &Terms<'_>) -> Result<Resolved, Vec<Fault>> {
    let tree = yaml::parse(text)?;
    let (written, faults) = reader::read(&tree, terms.registry);
    match terms.resolve(&written, source) {
        Err(found) => Err(reader::located(&tree, faults, found)),
        Ok(resolved) => {
            let warnings = reader::located(&tree, faults, resolved.warnings);
            if refuses(&warnings) {
                return Err(warnings);
            }
            Ok(Resolved {
                plan: resolved.plan,
                warnings,
            })
        }
    }
}

#[cfg(test)]
mod tests;
