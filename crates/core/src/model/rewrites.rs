//! Other models in place of those that clients name: rules that give each model, or every model, its targets by weight.

use std::collections::HashMap;
use std::sync::Arc;

/// Rules under a name: an InferenceModelRewrite, or an entry of a configuration.
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

/// What a rule offers, and whose rule it is.
#[derive(Clone, Debug, PartialEq)]
struct Offer {
    by: Arc<str>,
    targets: Vec<Target>,
}

/// What was drawn for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn<'a> {
    /// The name of the rewrite whose rule it was.
    pub by: &'a Arc<str>,
    /// The model that is asked for.
    pub model: &'a str,
}

/// The rules of all rewrites, as they are looked up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrites {
    exact: HashMap<String, Offer>,
    generic: Option<Offer>,
}

impl Rewrites {
    /// The rules of these: the first of the oldest counts.
    pub fn of(mut all: Vec<Rewrite>) -> Self {
        all.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        Self::in_order(all)
    }

    /// The rules of these, which are in order.
    pub fn in_order(all: Vec<Rewrite>) -> Self {
        let mut rewrites = Self::default();
        for Rewrite { name, rules, .. } in all {
            let by: Arc<str> = name.into();
            for rule in rules.into_iter().filter(|rule| !rule.targets.is_empty()) {
                let offer = || Offer {
                    by: Arc::clone(&by),
                    targets: rule.targets.clone(),
                };
                for model in &rule.models {
                    rewrites.exact.entry(model.clone()).or_insert_with(&offer);
                }
                if rule.models.is_empty() && rewrites.generic.is_none() {
                    rewrites.generic = Some(offer());
                }
            }
        }
        rewrites
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.generic.is_none()
    }

    /// All rules: the model named (`None`: every other), the name of the rewrite, and what it offers.
    pub fn all(&self) -> impl Iterator<Item = (Option<&str>, &str, &[Target])> {
        let mut exact: Vec<_> = self.exact.iter().collect();
        exact.sort_unstable_by_key(|(model, _)| *model);
        let exact = exact
            .into_iter()
            .map(|(model, offer)| (Some(model.as_str()), offer));
        let generic = self.generic.iter().map(|offer| (None, offer));
        exact
            .chain(generic)
            .map(|(model, offer)| (model, &*offer.by, offer.targets.as_slice()))
    }

    /// What is asked for where `model` is named: by the rule that names it, else by the one for every model. `draw` is
    /// a random number, and chooses by weight.
    pub fn target(&self, model: &str, draw: u64) -> Option<Drawn<'_>> {
        let offer = self.exact.get(model).or(self.generic.as_ref())?;
        let model = chosen(&offer.targets, draw)?;
        Some(Drawn {
            by: &offer.by,
            model,
        })
    }
}

fn chosen(targets: &[Target], draw: u64) -> Option<&str> {
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
        let told = |model: &str| {
            let drawn = rewrites.target(model, 7);
            drawn.map(|drawn| (drawn.by.to_string(), drawn.model.to_owned()))
        };
        let pair = |by: &str, model: &str| Some((by.to_owned(), model.to_owned()));
        assert_eq!(told("m"), pair("old", "from-old"));
        assert_eq!(told("x"), pair("every", "generic"));
        assert_eq!(Rewrites::of(Vec::new()).target("m", 7), None);
        assert!(Rewrites::of(Vec::new()).is_empty() && !rewrites.is_empty());
    }

    #[test]
    fn shares_are_exact_over_one_round_of_draws() {
        let count = |targets: &[(&str, u64)], draws: u64, model: &str| {
            let rewrites = Rewrites::of(vec![rewrite("r", "", &["m"], targets)]);
            let drawn = (0..draws).filter_map(|draw| rewrites.target("m", draw));
            drawn.filter(|drawn| drawn.model == model).count()
        };
        let mixed = [("a", 90), ("b", 10), ("never", 0)];
        assert_eq!(count(&mixed, 100, "a"), 90);
        assert_eq!(count(&mixed, 100, "b"), 10);
        assert_eq!(count(&mixed, 100, "never"), 0);
        assert_eq!(count(&[("a", 0), ("b", 0)], 100, "b"), 50);
        assert_eq!(count(&[("a", u64::MAX), ("b", u64::MAX)], 3, "a"), 3);
    }
}
