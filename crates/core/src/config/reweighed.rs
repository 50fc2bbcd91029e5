//! A configuration with other weights and nothing else changed.

use std::collections::BTreeMap;

use crate::config::fault::hint;
use crate::config::resolver::name_of;
use crate::config::written::{Written, WrittenProfile, WrittenUse};
use crate::schedule::plan::{Plan, Profile};

/// Weights by profile and scorer.
pub type Weights = BTreeMap<String, BTreeMap<String, f64>>;

/// What `plan` was made from, with these weights. A profile that was not written down is from now on.
///
/// # Errors
/// A profile or scorer that the plan does not have, or a weight that is no number; with those there are.
pub fn reweighed(plan: &Plan, weights: &Weights) -> Result<Written, String> {
    let mut written = plan.written.as_ref().clone();
    if written.scheduling_profiles.is_empty() {
        written.scheduling_profiles = plan
            .profiles
            .iter()
            .map(|profile| spelled_out(profile, &written))
            .collect();
    }
    for (name, scorers) in weights {
        let names = || plan.profiles.iter().map(|profile| profile.name.as_str());
        let profile = plan.profiles.iter().find(|profile| profile.name == *name);
        let profile = profile.ok_or_else(|| unknown("profile", name, names().collect()))?;
        for (scorer, &weight) in scorers {
            check(profile, scorer, weight)?;
            let profiles = written.scheduling_profiles.iter_mut();
            let uses = profiles
                .filter(|profile| profile.name == *name)
                .flat_map(|profile| &mut profile.plugins);
            for used in uses.filter(|used| used.plugin_ref == *scorer) {
                used.weight = Some(weight);
            }
        }
    }
    Ok(written)
}

fn check(profile: &Profile, scorer: &str, weight: f64) -> Result<(), String> {
    let names = || profile.scorers.iter().map(|one| one.scorer.name.as_ref());
    if !names().any(|name| name == scorer) {
        let what = format!("scorer of profile '{}'", profile.name);
        return Err(unknown(&what, scorer, names().collect()));
    }
    if !weight.is_finite() {
        return Err(format!(
            "{weight} is no weight for '{scorer}'; use a finite number"
        ));
    }
    Ok(())
}

fn unknown(what: &str, name: &str, known: Vec<&str>) -> String {
    let near = hint(name, known.iter().copied());
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    format!("'{name}' is no {what}; there are: {known}{near}")
}

/// The profile of all plugins, as a document that names none means it.
fn spelled_out(profile: &Profile, written: &Written) -> WrittenProfile {
    let runs = |name: &&str| {
        let filters = profile.filters.iter().map(|filter| filter.name.as_ref());
        let scorers = profile.scorers.iter().map(|one| one.scorer.name.as_ref());
        let mut all = filters.chain(scorers).chain([profile.picker.name.as_ref()]);
        all.any(|known| known == *name)
    };
    let uses = written.plugins.iter().map(name_of).filter(runs);
    WrittenProfile {
        name: profile.name.clone(),
        plugins: uses
            .map(|name| WrittenUse {
                plugin_ref: name.to_owned(),
                weight: None,
            })
            .collect(),
    }
}
