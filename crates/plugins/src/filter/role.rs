//! Keeps the candidates that may run a phase of disaggregated serving, by their role label.
//!
//! # When to use
//! In a pool where prefill and decode run on different engines: `decode-filter` in the profile that picks who
//! decodes, `prefill-filter` in the one that picks who prefills.
//!
//! # Rule
//! The label is `llm-d.ai/role`. `decode-filter` keeps, in the first generation, `decode` and `both`; in the second
//! also `prefill-decode` and `encode-prefill-decode`; and candidates without the label. `prefill-filter` keeps, in the
//! first generation, `prefill`; in the second also `encode-prefill`, `prefill-decode`, `both` and
//! `encode-prefill-decode`; candidates without the label are removed.
//!
//! # Reads
//! Labels only.
//!
//! # Example
//! ```yaml
//! - type: decode-filter
//! ```
//!
//! # Limits
//! An unknown role matches neither filter.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    Generation, ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The label that names an endpoint's role.
const LABEL: &str = "llm-d.ai/role";

/// `decode-filter` as the registry knows it.
pub static DECODE: PluginSpec = PluginSpec {
    kind: "decode-filter",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("role.rs"),
    schema: schema_of::<Parameters>,
    build: decode,
};

/// `prefill-filter` as the registry knows it.
pub static PREFILL: PluginSpec = PluginSpec {
    kind: "prefill-filter",
    build: prefill,
    ..DECODE
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct ByRole {
    roles: &'static [&'static str],
    without: bool,
}

fn decode(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Filter(Box::new(ByRole {
        roles: match params.generation {
            Generation::G1 => &["decode", "both"],
            Generation::G2 => &["decode", "both", "prefill-decode", "encode-prefill-decode"],
        },
        without: true,
    })))
}

fn prefill(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Filter(Box::new(ByRole {
        roles: match params.generation {
            Generation::G1 => &["prefill"],
            Generation::G2 => &[
                "prefill",
                "encode-prefill",
                "prefill-decode",
                "both",
                "encode-prefill-decode",
            ],
        },
        without: false,
    })))
}

impl Filter for ByRole {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        rows.retain(|row| {
            let role = ctx.snapshot.endpoints[row].labels.get(LABEL);
            role.map_or(self.without, |role| self.roles.contains(&role))
        });
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn wants(&self) -> String {
        let without = if self.without {
            " or no such label"
        } else {
            ""
        };
        format!("{LABEL} in ({}){without}", self.roles.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::fixture::{pool, run_filter_as};

    const POOL: &str = "none\n\
        d llm-d.ai/role=decode\n\
        p llm-d.ai/role=prefill\n\
        b llm-d.ai/role=both\n\
        pd llm-d.ai/role=prefill-decode\n\
        ep llm-d.ai/role=encode-prefill\n\
        epd llm-d.ai/role=encode-prefill-decode\n\
        e llm-d.ai/role=encode\n\
        x llm-d.ai/role=proxy\n";

    #[track_caller]
    fn check(spec: &PluginSpec, generation: Generation, expected: &str) {
        assert_eq!(run_filter_as(spec, "{}", generation, &pool(POOL)), expected);
    }

    #[test]
    fn each_generation_keeps_its_roles() {
        check(&DECODE, Generation::G1, "none d b");
        check(&DECODE, Generation::G2, "none d b pd epd");
        check(&PREFILL, Generation::G1, "p");
        check(&PREFILL, Generation::G2, "p b pd ep epd");
    }
}
