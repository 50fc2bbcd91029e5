//! Picks who decodes, and, when it pays, who prefills and who encodes.
//!
//! # When to use
//! In a pool whose engines have roles, with one profile for each: decode alone, prefill and decode, or encode, prefill
//! and decode.
//!
//! # Rule
//! `decode-first`: the profile `decode` runs; if it leaves no candidate the request is refused. If the profile `encode`
//! exists and the decider `deciders.encode` says so, it runs; then the same with `prefill`. A part without a decider
//! never runs elsewhere. `prefill-first`: the profile `prefill` runs if it exists, then `encode` if its decider says so,
//! then `decode`. In both orders the decode pick gets the request, and a part whose profile leaves no candidate stays
//! with it.
//!
//! The request carries `x-prefiller-host-port` with the prefill pick, and `x-encoder-hosts-ports` with all encode picks.
//!
//! # Reads
//! What the deciders read.
//!
//! # Example
//! ```yaml
//! - type: disagg-profile-handler
//!   parameters:
//!     deciders:
//!       prefill: always-disagg-pd-decider
//! - type: always-disagg-pd-decider
//! ```
//!
//! # Limits
//! It only picks and tells: a sidecar at the decode endpoint carries the parts out. For prefill and decode the gateway
//! can do that itself (`pointsman.gateway.handoff`); then nobody is told who encodes.

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Binding, Built, Decider, Next, PdDecision, ProfileHandler};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::ProfileRun;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "disagg-profile-handler",
    aliases: &[],
    role: Role::ProfileHandler,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("disagg.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// `decode-first`, which is meant when left out, or `prefill-first`.
    stage_order: String,
    /// Names of the profiles: `decode`, `prefill` and `encode` when left out.
    profiles: Names,
    /// Names of the deciders, which must be declared.
    deciders: Deciders,
    /// Older form of `profiles.decode`.
    decode_profile: String,
    /// Older form of `profiles.prefill`.
    prefill_profile: String,
    /// Older form of `profiles.encode`.
    encode_profile: String,
    /// Older form of `deciders.prefill`.
    prefill_decider_plugin_name: String,
    /// Still older form of `deciders.prefill`.
    decider_plugin_name: String,
    /// Older form of `deciders.encode`.
    encode_decider_plugin_name: String,
}

#[derive(Deserialize, JsonSchema, Default, Clone)]
#[serde(default)]
struct Names {
    /// The profile that picks who decodes.
    decode: String,
    /// The profile that picks who prefills.
    prefill: String,
    /// The profile that picks who encodes.
    encode: String,
}

#[derive(Deserialize, JsonSchema, Default, Clone)]
#[serde(default)]
struct Deciders {
    /// Says whether the prefill runs elsewhere; never when left out.
    prefill: String,
    /// Says whether encoding runs elsewhere; never when left out.
    encode: String,
}

impl Parameters {
    /// The names, whichever form they are written in.
    fn names(&self) -> Result<(Names, Deciders), ParamFault> {
        let nested = [
            &self.profiles.decode,
            &self.profiles.prefill,
            &self.profiles.encode,
            &self.deciders.prefill,
            &self.deciders.encode,
        ];
        let flat = [
            ("decodeProfile", &self.decode_profile),
            ("prefillProfile", &self.prefill_profile),
            ("encodeProfile", &self.encode_profile),
            (
                "prefillDeciderPluginName",
                &self.prefill_decider_plugin_name,
            ),
            ("deciderPluginName", &self.decider_plugin_name),
            ("encodeDeciderPluginName", &self.encode_decider_plugin_name),
        ];
        let Some((name, _)) = flat.iter().find(|(_, text)| !text.is_empty()) else {
            return Ok((self.profiles.clone(), self.deciders.clone()));
        };
        if nested.iter().any(|text| !text.is_empty()) {
            return Err(ParamFault {
                path: (*name).to_owned(),
                message: format!(
                    "'{name}' is the older form; write all names under profiles and deciders"
                ),
            });
        }
        let prefill = if self.prefill_decider_plugin_name.is_empty() {
            &self.decider_plugin_name
        } else {
            &self.prefill_decider_plugin_name
        };
        let names = Names {
            decode: self.decode_profile.clone(),
            prefill: self.prefill_profile.clone(),
            encode: self.encode_profile.clone(),
        };
        let deciders = Deciders {
            prefill: prefill.clone(),
            encode: self.encode_decider_plugin_name.clone(),
        };
        Ok((names, deciders))
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let fault = |path: &str, message: String| {
        Err(vec![ParamFault {
            path: path.to_owned(),
            message,
        }])
    };
    let order: String = given
        .stage_order
        .chars()
        .filter(|c| !"-_".contains(*c))
        .collect();
    let prefill_first = match order.to_ascii_lowercase().as_str() {
        "" | "decodefirst" => false,
        "prefillfirst" => true,
        _ => {
            let message = format!(
                "'{}' is not known; use decode-first or prefill-first",
                given.stage_order
            );
            return fault("stageOrder", message);
        }
    };
    let (names, deciders) = given.names().map_err(|fault| vec![fault])?;
    if prefill_first && !deciders.prefill.is_empty() {
        let message = "nobody decides about the prefill where it is picked first; leave it out";
        return fault("deciders.prefill", message.to_owned());
    }
    let or = |name: String, default: &str| {
        if name.is_empty() {
            default.to_owned()
        } else {
            name
        }
    };
    Ok(Built::Handler(Box::new(Disagg {
        prefill_first,
        names: Names {
            decode: or(names.decode, "decode"),
            prefill: or(names.prefill, "prefill"),
            encode: or(names.encode, "encode"),
        },
        deciders,
        decode: 0,
        prefill: Stage::default(),
        encode: Stage::default(),
    })))
}

/// A part that may run elsewhere; known once the plan is put together.
#[derive(Default)]
struct Stage {
    /// Its profile, as an index.
    profile: Option<usize>,
    decider: Option<Arc<dyn Decider>>,
}

struct Disagg {
    prefill_first: bool,
    names: Names,
    deciders: Deciders,
    decode: usize,
    prefill: Stage,
    encode: Stage,
}

impl Stage {
    /// The profile to run for this part, if it is to run elsewhere; else why not.
    fn wanted(
        &self,
        ctx: &Ctx<'_>,
        picked: Option<u32>,
    ) -> Result<(usize, &'static str), &'static str> {
        let profile = self.profile.ok_or("no profile")?;
        let decider = self.decider.as_ref().ok_or("no decider")?;
        let picked = picked.ok_or("nobody picked")?;
        match decider.decide(ctx, picked as usize) {
            (true, why) => Ok((profile, why)),
            (false, why) => Err(why),
        }
    }
}

impl Disagg {
    fn run_of(runs: &[ProfileRun], profile: Option<usize>) -> Option<usize> {
        let profile = profile?;
        runs.iter().position(|run| run.profile == profile)
    }

    fn decode_first(&self, ctx: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        let Some(decode) = runs.first() else {
            return Next::Run(self.decode);
        };
        let row = decode.picks.first().copied();
        let mut reason = "nobody decodes";
        for stage in [&self.encode, &self.prefill] {
            match (stage.wanted(ctx, row), Self::run_of(runs, stage.profile)) {
                (Ok((profile, _)), None) => return Next::Run(profile),
                (Ok((_, why)) | Err(why), _) => reason = why,
            }
        }
        self.done(runs, 0, reason)
    }

    fn prefill_first(&self, ctx: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        let prefill = Self::run_of(runs, self.prefill.profile);
        if let (Some(profile), None) = (self.prefill.profile, prefill) {
            return Next::Run(profile);
        }
        let Some(decode) = Self::run_of(runs, Some(self.decode)) else {
            // Without a prefill pick the encoder is decided about as if the first candidate had been picked.
            let picked = prefill.and_then(|run| runs[run].picks.first().copied());
            let encode = self.encode.wanted(ctx, picked.or(Some(0)));
            return match (encode, Self::run_of(runs, self.encode.profile)) {
                (Ok((profile, _)), None) => Next::Run(profile),
                _ => Next::Run(self.decode),
            };
        };
        self.done(runs, decode, "prefill first")
    }

    fn done(&self, runs: &[ProfileRun], primary: usize, reason: &'static str) -> Next {
        let with_picks = |stage: &Stage| {
            Self::run_of(runs, stage.profile).filter(|&run| !runs[run].picks.is_empty())
        };
        let ran = Self::run_of(runs, self.prefill.profile).is_some();
        let (prefill, encode) = (with_picks(&self.prefill), with_picks(&self.encode));
        let word = match (encode.is_some(), prefill.is_some()) {
            (false, false) => "decode-only",
            (false, true) => "prefill-decode",
            (true, false) => "encode-decode",
            (true, true) => "encode-prefill-decode",
        };
        let reason = if ran && prefill.is_none() {
            "no prefill endpoint"
        } else {
            reason
        };
        Next::Done {
            primary,
            prefill,
            encode,
            pd: Some(PdDecision { word, reason }),
        }
    }
}

impl ProfileHandler for Disagg {
    fn next(&self, ctx: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        if self.prefill_first {
            self.prefill_first(ctx, runs)
        } else {
            self.decode_first(ctx, runs)
        }
    }

    fn bind(&mut self, binding: &Binding<'_>) -> Result<(), String> {
        let find = |name: &str| binding.profiles.iter().position(|p| *p == name);
        self.decode = find(&self.names.decode).ok_or_else(|| {
            format!(
                "disagg-profile-handler needs a profile named '{}' (profiles.decode); found {}",
                self.names.decode,
                binding.profiles.join(", ")
            )
        })?;
        let decider = |name: &str, part: &str| {
            if name.is_empty() {
                return Ok(None);
            }
            let found = (binding.decider)(name);
            found.map(Some).ok_or_else(|| {
                format!("disagg-profile-handler needs a decider named '{name}' (deciders.{part}) among the plugins")
            })
        };
        self.prefill = Stage {
            profile: find(&self.names.prefill),
            decider: decider(&self.deciders.prefill, "prefill")?,
        };
        self.encode = Stage {
            profile: find(&self.names.encode),
            decider: decider(&self.deciders.encode, "encode")?,
        };
        Ok(())
    }

    fn prefill_profile(&self) -> Option<usize> {
        self.prefill.profile
    }

    fn encode_profile(&self) -> Option<usize> {
        self.encode.profile
    }

    fn tells(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::contract::table::Picks;
    use pointsman_core::fixture::{Scene, build as built, pool};

    struct Says(bool);

    impl Decider for Says {
        fn decide(&self, _: &Ctx<'_>, picked: usize) -> (bool, &'static str) {
            assert_eq!(picked, 0, "the first pick is row 0 here");
            (self.0, "said so")
        }
    }

    const PROFILES: [&str; 3] = ["encode", "prefill", "decode"];

    fn handler(parameters: &str) -> Box<dyn ProfileHandler> {
        let Ok(Built::Handler(mut handler)) = built(&SPEC, parameters, Generation::G2) else {
            panic!("{parameters} is refused")
        };
        let binding = Binding {
            profiles: &PROFILES,
            decider: &|name| match name {
                "yes" => Some(Arc::new(Says(true)) as Arc<dyn Decider>),
                "no" => Some(Arc::new(Says(false))),
                _ => None,
            },
        };
        handler.bind(&binding).unwrap();
        handler
    }

    /// The profiles that run, in order; those in `empty` pick nobody. Then what was decided.
    #[track_caller]
    fn check(parameters: &str, empty: &[&str], expected: &str) {
        let handler = handler(parameters);
        let pool = pool("a\nb\n");
        let scene = Scene::new(&pool);
        let mut runs: Vec<ProfileRun> = Vec::new();
        let mut shown: Vec<&str> = Vec::new();
        loop {
            match handler.next(&scene.ctx(), &runs) {
                Next::Run(profile) => {
                    shown.push(PROFILES[profile]);
                    let picks: &[u32] = if empty.contains(&PROFILES[profile]) {
                        &[]
                    } else {
                        &[0]
                    };
                    runs.push(ProfileRun {
                        profile,
                        picks: Picks::from_slice(picks),
                        ..ProfileRun::default()
                    });
                }
                Next::Done {
                    primary,
                    prefill,
                    encode,
                    pd,
                } => {
                    let name = |run: usize| PROFILES[runs[run].profile];
                    assert_eq!(name(primary), "decode");
                    assert!(prefill.is_none_or(|run| name(run) == "prefill"));
                    assert!(encode.is_none_or(|run| name(run) == "encode"));
                    let pd = pd.unwrap();
                    let decided = format!("{}: {} ({})", shown.join(" "), pd.word, pd.reason);
                    assert_eq!(decided, expected, "{parameters}");
                    return;
                }
            }
            assert!(runs.len() < 5, "it ends");
        }
    }

    #[test]
    fn decode_runs_first_and_the_others_as_their_deciders_say() {
        let both = r#"{"deciders":{"prefill":"yes","encode":"yes"}}"#;
        check("{}", &[], "decode: decode-only (no decider)");
        check(
            both,
            &[],
            "decode encode prefill: encode-prefill-decode (said so)",
        );
        check(
            both,
            &["prefill"],
            "decode encode prefill: encode-decode (no prefill endpoint)",
        );
        check(
            both,
            &["encode"],
            "decode encode prefill: prefill-decode (said so)",
        );
        check(both, &["decode"], "decode: decode-only (nobody picked)");
        check(
            r#"{"deciders":{"prefill":"no","encode":"yes"}}"#,
            &[],
            "decode encode: encode-decode (said so)",
        );
        check(
            r#"{"deciderPluginName":"yes"}"#,
            &[],
            "decode prefill: prefill-decode (said so)",
        );
        let renamed = r#"{"profiles":{"prefill":"other"},"deciders":{"prefill":"yes"}}"#;
        check(renamed, &[], "decode: decode-only (no profile)");
    }

    #[test]
    fn prefill_may_run_first() {
        let first = r#"{"stageOrder":"prefill-first","deciders":{"encode":"yes"}}"#;
        check(
            first,
            &[],
            "prefill encode decode: encode-prefill-decode (prefill first)",
        );
        check(
            first,
            &["prefill"],
            "prefill encode decode: encode-decode (no prefill endpoint)",
        );
        check(
            r#"{"stageOrder":"prefill_first"}"#,
            &[],
            "prefill decode: prefill-decode (prefill first)",
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (parameters, path) in [
            (r#"{"stageOrder":"encode-first"}"#, "stageOrder"),
            (
                r#"{"stageOrder":"prefill-first","deciders":{"prefill":"yes"}}"#,
                "deciders.prefill",
            ),
            (
                r#"{"decodeProfile":"d","deciders":{"prefill":"yes"}}"#,
                "decodeProfile",
            ),
        ] {
            let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
            assert_eq!(faults[0].path, path, "{parameters}");
        }
        let Ok(Built::Handler(mut handler)) =
            built(&SPEC, r#"{"deciders":{"encode":"who"}}"#, Generation::G2)
        else {
            panic!("refused")
        };
        let why = handler
            .bind(&Binding {
                profiles: &PROFILES,
                decider: &|_| None,
            })
            .unwrap_err();
        assert!(why.contains("'who' (deciders.encode)"), "{why}");
        let why = handler
            .bind(&Binding {
                profiles: &["default"],
                decider: &|_| None,
            })
            .unwrap_err();
        assert!(why.contains("needs a profile named 'decode'"), "{why}");
    }
}
