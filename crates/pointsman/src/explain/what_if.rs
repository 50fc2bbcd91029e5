//! The same decision with other weights or under another profile, asked of the running pointsman that made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{anyhow, bail};
use pointsman_core::config::fault::hint;
use pointsman_core::config::presets::NAMES;
use pointsman_wire::receipt::{ProfileFacts, Receipt, ScorerFacts};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::explain::story::decision;
use crate::remote::AdminArgs;

const PATH: &str = "/debug/whatif";

/// Flags that change what decides.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct WhatIfArgs {
    /// Decide again with this weight of a scorer, and show both; may be repeated.
    #[arg(long = "weight", value_name = "SCORER=WEIGHT", value_parser = weight, conflicts_with = "from")]
    pub(crate) weights: Vec<(String, f64)>,
    /// Decide again under a named profile, and show both.
    #[arg(long = "under", value_name = "PROFILE", conflicts_with = "from", value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    pub(crate) profile: Option<String>,
}

fn weight(text: &str) -> Result<(String, f64), String> {
    let parts = text.rsplit_once('=');
    let read = parts.and_then(|(name, weight)| Some((name.to_owned(), weight.parse().ok()?)));
    read.filter(|(name, weight): &(String, f64)| !name.is_empty() && weight.is_finite())
        .ok_or_else(|| format!("'{text}' is no weight; write it as queue-scorer=2.5"))
}

/// An answer to the question.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    source: String,
    was: Option<String>,
    pick: Option<String>,
    changed: bool,
    refused: Option<String>,
    profiles: Vec<ProfileFacts>,
    weights: Vec<Weighing>,
    recorded: Vec<String>,
    unknown: Vec<String>,
    among: Option<usize>,
    pool: usize,
}

#[derive(Deserialize)]
struct Weighing {
    profile: String,
    scorers: Vec<ScorerFacts>,
}

impl WhatIfArgs {
    /// Whether anything is to be other than it was.
    pub(crate) fn is_asked(&self) -> bool {
        !self.weights.is_empty() || self.profile.is_some()
    }

    /// Has the decision of `receipt` made again: the answer as it came.
    ///
    /// # Errors
    /// It cannot be asked or answered, or names a scorer that there is not.
    pub(crate) async fn ask(&self, admin: &AdminArgs, receipt: &Receipt) -> anyhow::Result<Value> {
        let mut question = json!({"id": receipt.request_id});
        if let Some(profile) = &self.profile {
            question["profile"] = json!(profile);
        }
        if self.weights.is_empty() {
            return admin.post(PATH, &question).await;
        }
        // Which profiles a scorer stands in is the plan's to say.
        let plain = read(&admin.post(PATH, &question).await?)?;
        question["weights"] = json!(self.by_profile(&plain.weights)?);
        admin.post(PATH, &question).await
    }

    fn by_profile(
        &self,
        known: &[Weighing],
    ) -> anyhow::Result<BTreeMap<String, BTreeMap<String, f64>>> {
        let mut all = BTreeMap::<String, BTreeMap<String, f64>>::new();
        for (scorer, weight) in &self.weights {
            let has = |one: &&Weighing| one.scorers.iter().any(|known| known.name == *scorer);
            let mut found = known.iter().filter(has).peekable();
            if found.peek().is_none() {
                let names = known.iter().flat_map(|one| &one.scorers);
                let names: BTreeSet<&str> = names.map(|scorer| scorer.name.as_str()).collect();
                let near = hint(scorer, names.iter().copied());
                bail!(
                    "the plan has no scorer '{scorer}'; there are: {}{near}",
                    Vec::from_iter(names.iter().copied()).join(", ")
                );
            }
            for one in found {
                let weights = all.entry(one.profile.clone()).or_default();
                weights.insert(scorer.clone(), *weight);
            }
        }
        Ok(all)
    }
}

fn read(answer: &Value) -> anyhow::Result<Answer> {
    Answer::deserialize(answer).map_err(|e| anyhow!("the answer is not one to 'what if': {e}"))
}

/// The answer as text, to stand below the story of the receipt.
///
/// # Errors
/// It is no such answer.
pub(crate) fn told(answer: &Value, colour: bool) -> anyhow::Result<String> {
    let answer = read(answer)?;
    let mut out = format!("\nwhat if   decided by {}\n", answer.source);
    for profile in &answer.profiles {
        out.push_str(&decision(profile, colour));
    }
    let was = answer.was.as_deref().unwrap_or("nobody");
    let _ = match (&answer.pick, answer.changed) {
        (None, _) => {
            let why = answer.refused.as_deref().unwrap_or("no reason given");
            writeln!(out, "  would go to nobody instead of {was}: {why}")
        }
        (Some(pick), false) => writeln!(out, "  would go to {pick} as it did"),
        (Some(pick), true) => writeln!(out, "  would go to {pick} instead of {was}"),
    };
    if let Some(among) = answer.among {
        let _ = writeln!(
            out,
            "  among the {among} that the record kept of {}, with the scores they had; one left out may do better",
            answer.pool
        );
    }
    for (names, what) in [
        (&answer.recorded, "as recorded"),
        (
            &answer.unknown,
            "without effect, since the record knows nothing of them",
        ),
    ] {
        if !names.is_empty() {
            let _ = writeln!(out, "  {}: {what}", names.join(", "));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_weight_is_a_name_and_a_number() {
        assert_eq!(
            weight("queue-scorer=2.5"),
            Ok(("queue-scorer".to_owned(), 2.5))
        );
        assert_eq!(weight("a=b=-1"), Ok(("a=b".to_owned(), -1.0)));
        for wrong in ["", "queue-scorer", "=1", "a=", "a=x", "a=inf", "a=NaN"] {
            assert!(weight(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scorer_is_weighed_in_every_profile_that_has_it() {
        let scorer = |name: &str| ScorerFacts {
            name: name.to_owned(),
            kind: name.to_owned(),
            weight: 1.0,
        };
        let known = [
            ("prefill", vec!["load"]),
            ("decode", vec!["load", "prefix"]),
        ];
        let known = known.map(|(profile, scorers)| Weighing {
            profile: profile.to_owned(),
            scorers: scorers.into_iter().map(scorer).collect(),
        });
        let asked = |scorer: &str| WhatIfArgs {
            weights: vec![(scorer.to_owned(), 3.0)],
            profile: None,
        };
        let found = asked("load").by_profile(&known).unwrap();
        assert_eq!(
            json!(found),
            json!({"prefill": {"load": 3.0}, "decode": {"load": 3.0}})
        );
        let why = asked("prefixes")
            .by_profile(&known)
            .unwrap_err()
            .to_string();
        assert!(why.contains("there are: load, prefix"), "{why}");
    }
}
