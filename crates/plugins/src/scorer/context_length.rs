//! Sends prompts to the candidates that are meant for their length.
//!
//! # When to use
//! In a pool whose engines are set up for different lengths of context, said in a label such as `0-2048` or
//! `8192-131072`.
//!
//! # Formula
//! With `n` tokens in the prompt and a label `min-max` of width `w = max − min`: no label → 0.5; a label that cannot
//! be read → 0; within the range `0.3 + 0.7 × (0.7 / (1 + w / 10000) + 0.3 × (max − n) / w)` (1 if `w = 0`); outside
//! of it `0.3 / (1 + d / 1000)`, with `d` the distance to the nearer end.
//! With `enableFiltering` candidates whose range does not hold `n`, or whose label cannot be read, are also removed.
//!
//! # Reads
//! The prompt's tokens, as `token-producer` counts them (it is added where it is not declared), and labels.
//!
//! # Example
//! ```yaml
//! - type: context-length-aware
//!   parameters:
//!     enableFiltering: true
//! ```
//!
//! # Limits
//! Counts the prompt only, not what will be generated. A request without a prompt counts as empty.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter, Scorer};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "context-length-aware",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("context_length.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The label with the range.
    label: String,
    /// Whether candidates that do not fit are removed.
    enable_filtering: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            label: "llm-d.ai/context-length-range".to_owned(),
            enable_filtering: false,
        }
    }
}

fn requires(_: &Params<'_>) -> Vec<Requirement> {
    vec![Requirement {
        key: DataKey::Tokens,
        producer: None,
        optional: false,
    }]
}

#[derive(Clone)]
struct ContextLength {
    label: String,
    filters: bool,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    if given.label.is_empty() {
        return Err(vec![ParamFault {
            path: "label".to_owned(),
            message: "is empty; leave it out for llm-d.ai/context-length-range".to_owned(),
        }]);
    }
    let both = ContextLength {
        label: given.label,
        filters: given.enable_filtering,
    };
    Ok(Built::FilterAndScorer(
        Box::new(both.clone()),
        Box::new(both),
    ))
}

/// A range of prompt lengths in tokens, both ends included.
struct Range {
    min: i64,
    max: i64,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let (min, max) = text.split_once('-')?;
        let (min, max) = (min.trim().parse().ok()?, max.trim().parse().ok()?);
        (min <= max).then_some(Self { min, max })
    }

    fn holds(&self, tokens: i64) -> bool {
        (self.min..=self.max).contains(&tokens)
    }

    fn score(&self, tokens: i64) -> f64 {
        if !self.holds(tokens) {
            let distance = (tokens - self.max).max(self.min - tokens) as f64;
            return 0.3 / (1.0 + distance / 1000.0);
        }
        let width = (self.max - self.min) as f64;
        if width == 0.0 {
            return 1.0;
        }
        let room = (self.max - tokens) as f64 / width;
        0.3 + 0.7 * (0.7 / (1.0 + width / 10_000.0) + 0.3 * room)
    }
}

impl ContextLength {
    fn tokens(ctx: &Ctx<'_>) -> i64 {
        i64::from(ctx.produced.tokens.unwrap_or(0))
    }

    fn label<'a>(&self, ctx: &Ctx<'a>, row: usize) -> Option<&'a str> {
        ctx.snapshot.endpoints[row].labels.get(&self.label)
    }
}

impl Filter for ContextLength {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        if !self.filters {
            return;
        }
        let tokens = Self::tokens(ctx);
        rows.retain(|row| {
            self.label(ctx, row)
                .is_none_or(|text| Range::read(text).is_some_and(|range| range.holds(tokens)))
        });
    }
}

impl Scorer for ContextLength {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let tokens = Self::tokens(ctx);
        rows.for_each(|row| {
            out[row] = match self.label(ctx, row) {
                None => 0.5,
                Some(text) => Range::read(text).map_or(0.0, |range| range.score(tokens)),
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, filter, pool};

    const POOL: &str =
        "short len=0-100\nlong len=101-8000\nany\nbad len=many\nturned len=9-3\nwords len=a-b-c\n";

    #[track_caller]
    fn check(tokens: Option<u32>, parameters: &str, expected: &str) {
        let pool = pool(POOL);
        let mut scene = Scene::new(&pool);
        scene.produced.tokens = tokens;
        let filter = filter(&SPEC, parameters, Generation::G2);
        assert_eq!(scene.kept(&*filter), expected, "{tokens:?}");
    }

    #[test]
    fn filters_by_range_when_asked_to() {
        let on = r#"{"label":"len","enableFiltering":true}"#;
        check(Some(100), on, "short any");
        check(Some(101), on, "long any");
        check(Some(9000), on, "any");
        check(None, on, "short any");
        check(
            Some(100),
            r#"{"label":"len"}"#,
            "short long any bad turned words",
        );
    }
}
