//! Picks who decodes, and, when it pays, who prefills.
//!
//! # When to use
//! In a pool of prefill and decode engines, with one profile for each phase.
//!
//! # Rule
//! The decode profile runs first; if it leaves no candidate the request is refused. Then it is decided whether the
//! prefill runs elsewhere; if so the prefill profile runs, and if that leaves no candidate the decode endpoint
//! does both. The decode pick gets the request.
//!
//! First generation: with `T = threshold` bytes, `T ≤ 0 → always`; else with `n` bytes of prompt (or of the JSON of the
//! messages) and `hit = max(m − 1, 0) × hashBlockSize / n`, `m` the decode endpoint's matched blocks:
//! `(1 − hit) × n < T → no`, else yes. Second generation: the decider named says.
//!
//! # Reads
//! First generation: the prompt's length, and `prefixBlocks` of the scorer named by `prefixPluginName`.
//!
//! # Example
//! ```yaml
//! - type: pd-profile-handler
//! - type: prefix-based-pd-decider
//!   parameters:
//!     nonCachedTokens: 512
//! ```
//!
//! # Limits
//! It only picks; `prefill-header-handler` tells a sidecar, or the gateway carries the cache over itself
//! (`pointsman.gateway.handoff`).

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Binding, Built, Decider, Next, PdDecision, ProfileHandler};
use pointsman_core::contract::spec::{
    Generation, ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::ProfileRun;
use pointsman_core::model::prompt::Form;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "pd-profile-handler",
    aliases: &[],
    role: Role::ProfileHandler,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("prefill_decode.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Name of the profile that picks who decodes.
    decode_profile: String,
    /// Name of the profile that picks who prefills.
    prefill_profile: String,
    /// First generation: so many new bytes make the prefill run elsewhere; 0 or below: always.
    threshold: i64,
    /// First generation: name of the prefix scorer whose matches count. The second accepts and ignores it.
    prefix_plugin_name: String,
    /// Accepted and ignored.
    prefix_plugin_type: String,
    /// First generation: bytes per block of that scorer; 0 or below means 64.
    hash_block_size: i64,
    /// Second generation: name of the decider, which must be declared.
    decider_plugin_name: String,
    /// Second generation: accepted and not used; the decider names its producer itself.
    prefix_match_info_producer_name: String,
    /// Requests are sent to this port of the decode endpoint, with its own port in `x-data-parallel-host-port`;
    /// 0: to its own port.
    primary_port: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            decode_profile: "decode".to_owned(),
            prefill_profile: "prefill".to_owned(),
            threshold: 0,
            prefix_plugin_name: "prefix-cache-scorer".to_owned(),
            prefix_plugin_type: String::new(),
            hash_block_size: 64,
            decider_plugin_name: "prefix-based-pd-decider".to_owned(),
            prefix_match_info_producer_name: String::new(),
            primary_port: 0,
        }
    }
}

enum When {
    /// So many bytes of the prompt are new.
    NewBytes {
        threshold: f64,
        plugin: String,
        block: f64,
    },
    /// The decider of this name says; it is known once the plan is put together.
    Says(String, Option<Arc<dyn Decider>>),
}

struct PrefillDecode {
    decode_profile: String,
    prefill_profile: String,
    decode: usize,
    prefill: Option<usize>,
    when: When,
    primary_port: Option<u16>,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let Ok(port) = u16::try_from(given.primary_port) else {
        return Err(vec![ParamFault {
            path: "primaryPort".to_owned(),
            message: format!("{} is no port; use 0 to 65535", given.primary_port),
        }]);
    };
    let when = match params.generation {
        Generation::G1 => When::NewBytes {
            threshold: given.threshold as f64,
            plugin: given.prefix_plugin_name,
            block: if given.hash_block_size > 0 {
                given.hash_block_size as f64
            } else {
                64.0
            },
        },
        Generation::G2 => When::Says(given.decider_plugin_name, None),
    };
    Ok(Built::Handler(Box::new(PrefillDecode {
        decode_profile: given.decode_profile,
        prefill_profile: given.prefill_profile,
        decode: 0,
        prefill: None,
        when,
        primary_port: (port > 0).then_some(port),
    })))
}

impl PrefillDecode {
    fn wants_prefill(&self, ctx: &Ctx<'_>, decode: usize) -> (bool, &'static str) {
        match &self.when {
            When::NewBytes { threshold, .. } if *threshold <= 0.0 => (true, "always"),
            When::NewBytes {
                threshold,
                plugin,
                block,
            } => {
                let bytes =
                    ctx.request
                        .prompt
                        .map_or(0, |prompt| prompt.bytes(Form::Json)) as f64;
                let matched = ctx.produced.prefix(plugin).map_or(0, |f| f.matched[decode]);
                let hit = f64::from(matched.saturating_sub(1)) * block / bytes.max(1.0);
                if (1.0 - hit) * bytes < *threshold {
                    (false, "few new bytes")
                } else {
                    (true, "new bytes")
                }
            }
            When::Says(_, Some(decider)) => decider.decide(ctx, decode),
            When::Says(_, None) => (false, "no decider"),
        }
    }

    fn done(&self, runs: &[ProfileRun], prefill: Option<usize>, reason: &'static str) -> Next {
        let found = prefill.filter(|&run| !runs[run].picks.is_empty());
        Next::Done {
            primary: 0,
            prefill: found,
            encode: None,
            pd: Some(PdDecision {
                word: if found.is_some() {
                    "prefill-decode"
                } else {
                    "decode-only"
                },
                reason: if prefill.is_some() && found.is_none() {
                    "no prefill endpoint"
                } else {
                    reason
                },
            }),
        }
    }
}

impl ProfileHandler for PrefillDecode {
    fn next(&self, ctx: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        let Some(decode) = runs.first() else {
            return Next::Run(self.decode);
        };
        let (Some(&row), Some(prefill)) = (decode.picks.first(), self.prefill) else {
            return self.done(runs, None, "no prefill profile");
        };
        let (wanted, reason) = self.wants_prefill(ctx, row as usize);
        match (wanted, runs.len()) {
            (true, 1) => Next::Run(prefill),
            (true, _) => self.done(runs, Some(1), reason),
            (false, _) => self.done(runs, None, reason),
        }
    }

    fn bind(&mut self, binding: &Binding<'_>) -> Result<(), String> {
        let find = |name: &str| binding.profiles.iter().position(|p| *p == name);
        self.decode = find(&self.decode_profile).ok_or_else(|| {
            format!(
                "pd-profile-handler needs a profile named '{}' (decodeProfile); found {}",
                self.decode_profile,
                binding.profiles.join(", ")
            )
        })?;
        self.prefill = find(&self.prefill_profile);
        if let When::Says(name, decider) = &mut self.when {
            *decider = (binding.decider)(name);
            if decider.is_none() {
                return Err(format!(
                    "pd-profile-handler needs a decider named '{name}' (deciderPluginName) among the plugins; \
                     declare prefix-based-pd-decider or always-disagg-pd-decider"
                ));
            }
        }
        Ok(())
    }

    fn prefill_profile(&self) -> Option<usize> {
        self.prefill
    }

    fn primary_port(&self) -> Option<u16> {
        self.primary_port
    }
}
