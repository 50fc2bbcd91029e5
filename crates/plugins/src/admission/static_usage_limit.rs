//! Lets all bands run the pool up to one saturation.
//!
//! # When to use
//! To keep a part of the pool free, or to let it run over. It stands, with its default, where the configuration names
//! no other policy.
//!
//! # Rule
//! Nobody is let in while the saturation is at or above `threshold`, whatever the priority.
//!
//! # Reads
//! The saturation that the detector tells.
//!
//! # Example
//! ```yaml
//! - type: static-usage-limit-policy
//!   parameters:
//!     threshold: 0.9
//! ```
//!
//! # Limits
//! The same for all priorities.

use pointsman_core::contract::admission::UsageLimitPolicy;
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "static-usage-limit-policy",
    aliases: &[],
    role: Role::UsageLimit,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("static_usage_limit.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct Parameters {
    /// The saturation from which on nobody is let in, above 0; 1 when left out.
    threshold: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { threshold: 1.0 }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    if parameters.threshold > 0.0 && parameters.threshold.is_finite() {
        return Ok(Built::UsageLimit(Box::new(parameters)));
    }
    Err(vec![ParamFault {
        path: "threshold".to_owned(),
        message: format!(
            "{} would let nobody in; use a number above 0, such as 1.0",
            parameters.threshold
        ),
    }])
}

impl UsageLimitPolicy for Parameters {
    fn ceiling(&self, _: f64, _: i64, _: usize, _: usize) -> f64 {
        self.threshold
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture;

    #[test]
    fn a_threshold_that_lets_nobody_in_is_refused() {
        let build = |text: &str| fixture::build(&SPEC, text, Generation::G2);
        let Built::UsageLimit(policy) = build(r#"{"threshold": 0.5}"#).unwrap() else {
            panic!("it is a usage limit policy")
        };
        assert_eq!(policy.ceiling(0.9, -1, 2, 3), 0.5);
        for bad in ["0", "-1"] {
            let faults = build(&format!(r#"{{"threshold": {bad}}}"#)).unwrap_err();
            assert_eq!(faults[0].path, "threshold");
        }
    }
}
