//! `--policy`: named profiles, configuration files and built-in rules, as makers of routers that have learned nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use pointsman_core::config::basis::Basis;
use pointsman_core::config::compat::generation_of;
use pointsman_core::config::fault::did_you_mean;
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::reader;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::staleness;
use pointsman_feeds::plan::{text_of, yaml};
use pointsman_sim::fleet::router::{BuiltIn, Router};

use crate::console::refused;
use crate::planning::{PlanArgs, Rules, registry};

/// What picks.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A configuration and whose rules apply to it.
    Config {
        /// The configuration.
        written: Box<Written>,
        /// Whose rules.
        rules: Rules,
    },
    /// A rule that needs no configuration.
    Rule(BuiltIn),
}

/// A policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Its name in tables.
    pub(crate) name: String,
    /// What picks.
    pub(crate) source: Source,
}

/// The policies of these names; a file's is called by its name without its folder. A faulty file is refused with all
/// its faults; warnings are told once.
pub(crate) fn policies(names: &[String]) -> anyhow::Result<Vec<Policy>> {
    let policies = names.iter().map(|name| policy(name));
    let policies: Vec<Policy> = policies.collect::<anyhow::Result<_>>()?;
    for (at, policy) in policies.iter().enumerate() {
        if policies[..at].iter().any(|other| other.name == policy.name) {
            bail!("--policy: two are called {}; name each once", policy.name);
        }
    }
    Ok(policies)
}

fn policy(name: &str) -> anyhow::Result<Policy> {
    let named = |source| Policy {
        name: short(name),
        source,
    };
    if let Some(rule) = BuiltIn::ALL.into_iter().find(|rule| rule.name() == name) {
        return Ok(named(Source::Rule(rule)));
    }
    let (rules, source) = match name.split_once(':') {
        Some(("g1", source)) => (Rules::G1, source),
        Some(("g2", source)) => (Rules::G2, source),
        _ => (Rules::Auto, name),
    };
    let written = match preset(source) {
        Some(written) => written,
        None => read(source, rules)?,
    };
    let policy = named(Source::Config {
        written: Box::new(written),
        rules,
    });
    policy.router()?;
    Ok(policy)
}

/// The name without the folder that a file is in.
fn short(name: &str) -> String {
    let (rules, source) = match name.split_once(':') {
        Some((rules @ ("g1" | "g2"), source)) => (format!("{rules}:"), source),
        _ => (String::new(), name),
    };
    let file = Path::new(source).file_name();
    let file = file.map_or_else(|| source.into(), |file| file.to_string_lossy());
    format!("{rules}{file}")
}

fn read(source: &str, rules: Rules) -> anyhow::Result<Written> {
    let path = PathBuf::from(source);
    if !path.exists() {
        let known = || NAMES.into_iter().chain(BuiltIn::ALL.map(BuiltIn::name));
        let hint = did_you_mean(source, known()).map_or_else(
            || format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean '{near}'?"),
        );
        bail!("--policy {source}: no profile, no rule and no file; {hint}");
    }
    // As a door reads it, with every fault at its place.
    let args = PlanArgs {
        config_file: Some(path.clone()),
        compat: rules,
    };
    args.choose(NAMES[0])?;
    let text = text_of(&path).map_err(|fault| anyhow::anyhow!(fault.message))?;
    let tree = yaml::parse(&text).map_err(|faults| refused(source, &faults))?;
    let (written, _) = reader::read(&tree, &registry());
    Ok(written)
}

impl Policy {
    /// One that has learned nothing yet.
    pub(crate) fn router(&self) -> anyhow::Result<Router> {
        let (written, rules) = match &self.source {
            Source::Rule(rule) => return Ok(Router::BuiltIn(*rule)),
            Source::Config { written, rules } => (written, *rules),
        };
        let registry = registry();
        let (compat, reason) = generation_of(written, rules.into(), None);
        let basis = Basis {
            compat_reason: &reason,
            // As the doors that have the picker inside.
            staleness: staleness::Policy::Penalise,
            ..Basis::new(&registry, compat, &self.name)
        };
        let resolved = resolve(written, &basis);
        let resolved =
            resolved.map_err(|faults| refused(&format!("policy {}", self.name), &faults))?;
        Ok(Router::Plan(Arc::new(resolved.plan)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn profiles_and_rules_are_found_and_near_misses_named() {
        let names = ["balanced", "g1:default", "random"].map(str::to_owned);
        let found = policies(&names).unwrap();
        assert_eq!(found.len(), 3);
        for policy in &found {
            assert!(policy.router().is_ok());
        }
        assert_eq!(short("g1:some/folder/mine.yaml"), "g1:mine.yaml");
        let twice = ["random", "random"].map(str::to_owned);
        let error = policies(&twice).unwrap_err().to_string();
        assert!(error.contains("two are called random"), "{error}");
        let error = policies(&["balancd".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("did you mean 'balanced'?"), "{error}");
    }
}
