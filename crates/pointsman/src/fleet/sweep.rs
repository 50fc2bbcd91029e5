//! `--sweep weight=SCORER:0,1,2`: one policy becomes many, that differ in the weights of scorers.

use anyhow::{Context as _, bail};
use pointsman_core::config::written::{Written, WrittenPlugin, WrittenProfile, WrittenUse};

use crate::fleet::policies::{Policy, Source};

/// Most policies of a study.
const MOST: usize = 400;

/// Weights to try for one scorer.
struct Axis {
    scorer: String,
    weights: Vec<f64>,
}

/// The policies with every combination of weights; those that have none of the scorers stay as they are.
pub(crate) fn swept(policies: Vec<Policy>, texts: &[String]) -> anyhow::Result<Vec<Policy>> {
    let mut swept = policies;
    for text in texts {
        let axis = read(text).with_context(|| format!("--sweep {text}"))?;
        if !swept.iter().any(|policy| has(policy, &axis.scorer)) {
            let mut known: Vec<&str> = swept.iter().flat_map(scorers).collect();
            known.sort_unstable();
            known.dedup();
            bail!(
                "--sweep {text}: no policy has a plugin {}; they have {}",
                axis.scorer,
                known.join(", ")
            );
        }
        let turned = swept.into_iter().flat_map(|policy| turned(policy, &axis));
        swept = turned.collect();
        if swept.len() > MOST {
            bail!("--sweep makes {} policies; try at most {MOST}", swept.len());
        }
    }
    // A weight that the rules of the policy refuse is told before anything runs.
    for policy in &swept {
        policy.router()?;
    }
    Ok(swept)
}

/// Refuses texts that are no sweep of any policy.
pub(crate) fn check(texts: &[String]) -> anyhow::Result<()> {
    for text in texts {
        read(text).with_context(|| format!("--sweep {text}"))?;
    }
    Ok(())
}

fn read(text: &str) -> anyhow::Result<Axis> {
    let form = "write weight=SCORER:0,1,2";
    let rest = text.strip_prefix("weight=").context(form)?;
    let (scorer, weights) = rest.rsplit_once(':').context(form)?;
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        number.with_context(|| format!("'{text}' is no weight; {form}"))
    };
    Ok(Axis {
        scorer: scorer.to_owned(),
        weights: weights
            .split(',')
            .map(number)
            .collect::<anyhow::Result<_>>()?,
    })
}

fn scorers(policy: &Policy) -> Vec<&str> {
    match &policy.source {
        Source::Rule(_) => Vec::new(),
        Source::Config { written, .. } => {
            let plugins = written.plugins.iter();
            plugins
                .map(|plugin| plugin.name.as_deref().unwrap_or(&plugin.kind))
                .collect()
        }
    }
}

fn has(policy: &Policy, scorer: &str) -> bool {
    match &policy.source {
        Source::Rule(_) => false,
        Source::Config { written, .. } => !names(written, scorer).is_empty(),
    }
}

/// The names under which plugins of this name or type are used.
fn names(written: &Written, scorer: &str) -> Vec<String> {
    let plugins = written
        .plugins
        .iter()
        .filter(|plugin| plugin.kind == scorer || plugin.name.as_deref() == Some(scorer));
    plugins
        .map(|plugin| plugin.name.clone().unwrap_or_else(|| plugin.kind.clone()))
        .collect()
}

fn turned(policy: Policy, axis: &Axis) -> Vec<Policy> {
    let Source::Config { written, rules } = &policy.source else {
        return vec![policy];
    };
    let names = names(written, &axis.scorer);
    if names.is_empty() {
        return vec![policy];
    }
    let with = |weight: &f64| {
        let mut written = written.clone();
        if written.scheduling_profiles.is_empty() {
            // What no profile means, in words.
            let used = |plugin: &WrittenPlugin| WrittenUse {
                plugin_ref: plugin.name.clone().unwrap_or_else(|| plugin.kind.clone()),
                weight: None,
            };
            written.scheduling_profiles = vec![WrittenProfile {
                name: "default".to_owned(),
                plugins: written.plugins.iter().map(used).collect(),
            }];
        }
        let uses = written
            .scheduling_profiles
            .iter_mut()
            .flat_map(|profile| &mut profile.plugins);
        for used in uses.filter(|used| names.contains(&used.plugin_ref)) {
            used.weight = Some(*weight);
        }
        Policy {
            name: format!("{} {}={weight}", policy.name, axis.scorer),
            source: Source::Config {
                written,
                rules: *rules,
            },
        }
    };
    axis.weights.iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fleet::policies::policies;

    fn sweep(names: &[&str], texts: &[&str]) -> anyhow::Result<Vec<Policy>> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        swept(policies(&owned(names)).unwrap(), &owned(texts))
    }

    #[test]
    fn every_combination_is_a_policy_and_strangers_stay_as_they_are() {
        let found = sweep(
            &["default", "random"],
            &[
                "weight=prefix-cache-scorer:0,2.5",
                "weight=load-aware-scorer:1,2",
            ],
        )
        .unwrap();
        let names: Vec<&str> = found.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "default prefix-cache-scorer=0 load-aware-scorer=1",
                "default prefix-cache-scorer=0 load-aware-scorer=2",
                "default prefix-cache-scorer=2.5 load-aware-scorer=1",
                "default prefix-cache-scorer=2.5 load-aware-scorer=2",
                "random",
            ]
        );
        let Source::Config { written, .. } = &found[2].source else {
            panic!("a profile has a configuration");
        };
        let uses = &written.scheduling_profiles[0].plugins;
        let weight = |name: &str| {
            uses.iter()
                .find(|used| used.plugin_ref == name)
                .unwrap()
                .weight
        };
        assert_eq!(weight("prefix-cache-scorer"), Some(2.5));
        assert_eq!(weight("load-aware-scorer"), Some(1.0));
        assert_eq!(weight("kv-cache-utilization-scorer"), Some(1.0));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, words) in [
            ("prefix-cache-scorer:1", "write weight=SCORER:0,1,2"),
            ("weight=prefix-cache-scorer:a", "'a' is no weight"),
            ("weight=queue-scorer:1", "they have decode-filter"),
        ] {
            let error = format!("{:#}", sweep(&["default"], &[text]).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
