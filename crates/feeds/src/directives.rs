//! What the cluster says about requests beside who the endpoints are: priorities by objective, and models under
//! other names.

use std::collections::{BTreeMap, HashMap};

/// Everything of one moment.
#[derive(Debug, Default, PartialEq)]
pub struct Directives {
    /// Priorities by the name of the objective that a request carries.
    pub objectives: BTreeMap<String, i64>,
    /// Which model is asked for in place of the one named.
    pub rewrites: Rewrites,
}

/// One InferenceModelRewrite.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339): the oldest goes first.
    pub created: String,
    /// Its rules, in its order.
    pub rules: Vec<Rule>,
}

/// One rule: for these models, or for every model where it names none.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Models, by their exact names.
    pub models: Vec<String>,
    /// What is asked for instead.
    pub targets: Vec<Target>,
}

/// One of the names that a rule offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The name.
    pub model: String,
    /// Its share; where none of a rule's targets has one, all are equal, and beside one that has, none has no share.
    pub weight: u64,
}

/// The rules of all rewrites, as they are looked up.
#[derive(Debug, Default, PartialEq)]
pub struct Rewrites {
    exact: HashMap<String, Vec<Target>>,
    generic: Option<Vec<Target>>,
}

impl Rewrites {
    /// The rules of these: the first of the oldest counts.
    pub fn of(mut all: Vec<Rewrite>) -> Self {
        all.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        let mut rewrites = Self::default();
        let rules = all.into_iter().flat_map(|rewrite| rewrite.rules);
        for rule in rules.filter(|rule| !rule.targets.is_empty()) {
            for model in &rule.models {
                let targets = || rule.targets.clone();
                rewrites.exact.entry(model.clone()).or_insert_with(targets);
            }
            if rule.models.is_empty() && rewrites.generic.is_none() {
                rewrites.generic = Some(rule.targets);
            }
        }
        rewrites
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.generic.is_none()
    }

    /// What is asked for where `model` is named: by the rule that names it, else by the one for every model. `draw` is
    /// a random number, and chooses by weight.
    pub fn target(&self, model: &str, draw: u64) -> Option<&str> {
        let targets = self.exact.get(model).or(self.generic.as_ref())?;
        let sum = targets
            .iter()
            .fold(0_u64, |sum, target| sum.saturating_add(target.weight));
        if sum == 0 {
            let at = draw % (targets.len() as u64).max(1);
            return targets.get(at as usize).map(|target| target.model.as_str());
        }
        let mut left = draw % sum;
        for target in targets {
            if left < target.weight {
                return Some(&target.model);
            }
            left -= target.weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(name: &str, created: &str, models: &[&str], targets: &[(&str, u64)]) -> Rewrite {
        Rewrite {
            name: name.to_owned(),
            created: created.to_owned(),
            rules: vec![Rule {
                models: models.iter().map(|model| (*model).to_owned()).collect(),
                targets: targets
                    .iter()
                    .map(|(model, weight)| Target {
                        model: (*model).to_owned(),
                        weight: *weight,
                    })
                    .collect(),
            }],
        }
    }

    #[test]
    fn exact_rules_go_before_generic_ones_and_old_ones_before_new_ones() {
        let rewrites = Rewrites::of(vec![
            rewrite("new", "2026-02-01T00:00:00Z", &["m"], &[("from-new", 1)]),
            rewrite("every", "2026-01-01T00:00:00Z", &[], &[("generic", 1)]),
            rewrite("old", "2026-01-02T00:00:00Z", &["m"], &[("from-old", 1)]),
            rewrite("void", "2025-01-02T00:00:00Z", &["m"], &[]),
        ]);
        assert_eq!(rewrites.target("m", 7), Some("from-old"));
        assert_eq!(rewrites.target("x", 7), Some("generic"));
        assert_eq!(Rewrites::of(Vec::new()).target("m", 7), None);
        assert!(Rewrites::of(Vec::new()).is_empty() && !rewrites.is_empty());
    }

    #[test]
    fn shares_are_exact_over_one_round_of_draws() {
        let count = |targets: &[(&str, u64)], draws: u64, model: &str| {
            let rewrites = Rewrites::of(vec![rewrite("r", "", &["m"], targets)]);
            let picked = (0..draws).filter(|draw| rewrites.target("m", *draw) == Some(model));
            picked.count()
        };
        let mixed = [("a", 90), ("b", 10), ("never", 0)];
        assert_eq!(count(&mixed, 100, "a"), 90);
        assert_eq!(count(&mixed, 100, "b"), 10);
        assert_eq!(count(&mixed, 100, "never"), 0);
        assert_eq!(count(&[("a", 0), ("b", 0)], 100, "b"), 50);
        assert_eq!(count(&[("a", u64::MAX), ("b", u64::MAX)], 3, "a"), 3);
    }
}
