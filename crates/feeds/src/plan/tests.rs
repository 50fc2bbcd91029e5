//! Configurations and what becomes of them.
#![allow(clippy::unwrap_used)]

use super::*;
use pointsman_core::config::presets::{BALANCED, LAB_NAMES};
use pointsman_core::contract::spec::{Generation, PluginSpec};

mod reference;

fn registry() -> Registry {
    Registry::new(
        &[
            pointsman_plugins::ALL,
            pointsman_wire::parser::SPECS,
            crate::SPECS,
        ]
        .concat(),
    )
}

fn plan_of(text: &str, compat: Compat) -> Result<Resolved, Vec<Fault>> {
    let registry = registry();
    let terms = Terms {
        compat,
        ..Terms::new(&registry)
    };
    from_text(text, "t", &terms)
}

fn shown(fault: &Fault) -> String {
    let place = fault
        .place
        .map_or_else(String::new, |place| format!("{place}: "));
    format!("{place}{fault}")
}

#[track_caller]
fn faults(text: &str) -> Vec<String> {
    let Err(faults) = plan_of(text, Compat::Auto) else {
        panic!("accepted: {text}")
    };
    faults
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(shown)
        .collect()
}

#[track_caller]
fn warnings(text: &str, compat: Compat) -> Vec<String> {
    let resolved = plan_of(text, compat).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    resolved
        .warnings
        .iter()
        .filter(|f| f.severity == Severity::Warning)
        .map(shown)
        .collect()
}

#[test]
fn the_presets_resolve_and_say_what_they_are() {
    let registry = registry();
    for name in LAB_NAMES {
        let resolved = from_preset(name, &Terms::new(&registry)).ok().unwrap();
        let told = resolved.warnings.iter();
        assert!(told.clone().all(|f| f.severity == Severity::Note));
        assert_eq!(resolved.plan.compat, Generation::G1);
        let profile = &resolved.plan.profiles[0];
        let scorers: Vec<(&str, f64)> = profile
            .scorers
            .iter()
            .map(|s| (s.scorer.kind, s.weight))
            .collect();
        assert_eq!(profile.picker.kind, "max-score-picker");
        if name == "default" {
            let expected = [
                ("load-aware-scorer", 1.0),
                ("prefix-cache-scorer", 2.0),
                ("kv-cache-utilization-scorer", 1.0),
            ];
            assert_eq!(scorers, expected);
            assert_eq!(profile.filters[0].kind, "decode-filter");
            assert!(told.clone().any(|f| f.message.contains("hashBlockSize")));
        } else {
            assert_eq!(scorers, [("active-request-scorer", 1.0)]);
            assert_eq!(
                profile.filters.len(),
                usize::from(name.ends_with("by-backend"))
            );
        }
    }
    let Err(unknown) = from_preset("proxy-perfomance", &Terms::new(&registry)) else {
        panic!("accepted")
    };
    assert!(
        unknown[0]
            .message
            .contains("did you mean 'proxy-performance'?")
    );
}

#[test]
fn the_balanced_profile_is_ours_and_follows_the_second_generation() {
    let registry = registry();
    let resolved = from_preset(BALANCED, &Terms::new(&registry)).ok().unwrap();
    assert_eq!(resolved.plan.compat, Generation::G2);
    assert_eq!(resolved.warnings, []);
    let scorer = &resolved.plan.profiles[0].scorers[0].scorer;
    assert_eq!(scorer.kind, "expected-ttft-scorer");
    assert_eq!(
        resolved.plan.producers[0].kind,
        "engine-prefix-cache-producer"
    );
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_text() {
    let text = "plugins:\n- type: active-request-scorr\n- {type: random-picker, name: p}\n- {type: max-score-picker, name: p}\nschedulingProfiles:\n- name: default\n  plugins: [{pluginRef: q}]\n";
    let found = faults(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("2:9: plugins[0].type: plugin type 'active-request-scorr' is not registered; did you mean 'active-request-scorer'?"), "{found:?}");
    assert!(
        found[1].starts_with("4:34: plugins[2].name: duplicate plugin name 'p'"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with(
            "7:25: schedulingProfiles[0].plugins[0].pluginRef: schedulingProfiles[default] references undefined plugin 'q'"
        ),
        "{found:?}"
    );
}

#[test]
fn what_follows_from_a_fault_is_not_told() {
    let found = faults(
        "plugins:\n- {type: singel-profile-handler}\n- {type: active-request-scorer, name: a, parameters: {requestTimeout: [1]}}\nschedulingProfiles:\n- {name: x, plugins: [{pluginRef: a}]}\n- {name: y, plugins: [{pluginRef: a}, {pluginRef: singel-profile-handler}]}\n",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].contains(
            "failed to create plugin 'a' (type: active-request-scorer): needs text, found a list"
        ),
        "{found:?}"
    );
}

#[test]
fn defaults_are_filled_in_as_the_reference_does() {
    let resolved = plan_of("plugins:\n- type: active-request-scorer\n", Compat::Auto)
        .ok()
        .unwrap();
    let plan = resolved.plan;
    let profile = &plan.profiles[0];
    assert_eq!(
        (profile.name.as_str(), profile.scorers[0].weight),
        ("default", 1.0)
    );
    assert_eq!(profile.picker.kind, "max-score-picker");
    assert_eq!(plan.handler.kind, "single-profile-handler");
    assert_eq!(plan.added, ["max-score-picker", "single-profile-handler"]);
    assert_eq!(
        plan.compat_reason,
        "nothing in it that only the second generation has"
    );
}

#[test]
fn discovery_from_a_file_is_resolved_and_anything_else_refused() {
    let text = |reference: &str, parameters: &str| {
        format!(
            "apiVersion: llm-d.ai/v1alpha1\nplugins:\n- {{name: f, type: file-discovery, parameters: {parameters}}}\n- type: active-request-scorer\ndataLayer: {{discovery: {{pluginRef: {reference}}}}}\n"
        )
    };
    let resolved = plan_of(
        &text("f", "{path: pool.yaml, watchFile: true}"),
        Compat::Auto,
    )
    .ok()
    .unwrap();
    let discovery = resolved.plan.discovery.unwrap();
    assert_eq!(
        (discovery.path.as_str(), discovery.watch),
        ("pool.yaml", true)
    );
    assert_eq!(resolved.plan.profiles[0].scorers.len(), 1);
    let missing = faults(&text("f", "{}"));
    assert!(
        missing.len() == 1 && missing[0].contains("plugins[0].parameters.path"),
        "{missing:?}"
    );
    assert!(faults(&text("active-request-scorer", "{path: x}"))[0].contains("use file-discovery"));
    assert!(faults(&text("g", "{path: x}"))[0].contains("undefined plugin 'g'"));
}

const G2: &str = "apiVersion: llm-d.ai/v1alpha1\n";

#[test]
fn rule_unknown_envelope_fields_are_refused_in_both() {
    for head in ["", G2] {
        let found = faults(&format!(
            "{head}plugins: [{{type: random-picker}}]\nschedulingProfile: []\n"
        ));
        assert!(
            found[0].contains(
                "unknown field \"schedulingProfile\"; did you mean 'schedulingProfiles'?"
            ),
            "{found:?}"
        );
    }
}

#[test]
fn rule_unknown_types_are_refused_in_both() {
    for head in ["", G2] {
        let found = faults(&format!("{head}plugins: [{{type: nonsense}}]\n"));
        assert!(
            found[0].contains("plugin type 'nonsense' is not registered"),
            "{found:?}"
        );
    }
}

#[test]
fn rule_types_of_the_reference_that_are_not_here_say_what_to_use() {
    let found = faults("plugins: [{type: latency-scorer}]\n");
    assert!(
        found[0].contains(
            "plugin type 'latency-scorer' is not supported yet; use expected-ttft-scorer"
        ),
        "{found:?}"
    );
}

#[test]
fn rule_dangling_and_duplicate_names_are_refused_in_both() {
    for head in ["", G2] {
        let found = faults(&format!(
            "{head}plugins: [{{type: random-picker}}, {{type: random-picker}}]\nschedulingProfiles: [{{name: a, plugins: [{{pluginRef: x}}]}}, {{name: a}}]\n"
        ));
        let expected = [
            "duplicate plugin name",
            "references undefined plugin 'x'",
            "has duplicate name 'a'",
        ];
        for words in expected {
            assert!(found.iter().any(|f| f.contains(words)), "{found:?}");
        }
    }
}

#[test]
fn rule_duplicate_keys_are_refused_in_both() {
    for head in ["", G2] {
        let found = faults(&format!("{head}plugins: []\nplugins: []\n"));
        assert!(found[0].contains("duplicate key \"plugins\""), "{found:?}");
    }
}

#[test]
fn rule_weights_that_are_no_finite_number_are_refused_in_both() {
    for head in ["", G2] {
        for weight in [".nan", ".inf", "-.inf", "1e999", "heavy"] {
            let found = faults(&format!(
                "{head}plugins: [{{type: queue-scorer}}]\nschedulingProfiles: [{{name: a, plugins: [{{pluginRef: queue-scorer, weight: {weight}}}]}}]\n"
            ));
            assert!(
                found.len() == 1 && found[0].contains("weight: needs a number"),
                "{found:?}"
            );
        }
    }
}

#[test]
fn rule_unknown_parameters_warn_in_the_first_generation_and_refuse_in_the_second() {
    let plugins = "plugins:\n- type: active-request-scorer\n  parameters: {requestTimeot: 2m}\n";
    let told = warnings(plugins, Compat::Auto);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("3:16: plugins[0].parameters.requestTimeot: ")
            && told[0].contains("did you mean 'requestTimeout'?"),
        "{told:?}"
    );
    let found = faults(&format!("{G2}{plugins}"));
    assert!(
        found[0].starts_with("4:16: plugins[0].parameters.requestTimeot: "),
        "{found:?}"
    );
}

#[test]
fn rule_names_of_the_first_generation_warn_in_the_second() {
    let text = format!(
        "{G2}plugins:\n- type: prefix-cache-scorer\n  parameters: {{hashBlockSize: 5, autoTune: false}}\n"
    );
    let told = warnings(&text, Compat::Auto);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("hashBlockSize") && told[0].contains("blockSize is what counts"),
        "{told:?}"
    );
    assert!(
        told[1].contains("only the first generation reads it"),
        "{told:?}"
    );
}

#[test]
fn rule_names_of_the_second_generation_warn_in_the_first() {
    let text = "plugins:\n- type: active-request-scorer\n  parameters: {idleThreshold: 1}\n";
    assert_eq!(warnings(text, Compat::Auto), Vec::<String>::new());
    let told = warnings(text, Compat::G1);
    assert!(
        told.len() == 1 && told[0].contains("only the second generation reads it"),
        "{told:?}"
    );
}

#[test]
fn rule_weights_of_zero_and_below_warn_in_both() {
    for head in ["", G2] {
        for weight in ["0", "-1"] {
            let told = warnings(
                &format!(
                    "{head}plugins: [{{type: queue-scorer}}]\nschedulingProfiles: [{{name: a, plugins: [{{pluginRef: queue-scorer, weight: {weight}}}]}}]\n"
                ),
                Compat::Auto,
            );
            assert!(
                told.len() == 1 && told[0].contains("use a number above 0"),
                "{told:?}"
            );
        }
    }
}

#[test]
fn the_prefill_header_tells_the_pick_of_the_profile_it_names() {
    let text = |told: &str| {
        format!(
            "plugins:\n- type: pd-profile-handler\n- type: prefill-header-handler\n  parameters: {{prefillProfile: {told}}}\n\
             schedulingProfiles: [{{name: decode, plugins: []}}, {{name: prefill, plugins: []}}]\n"
        )
    };
    let resolved = plan_of(&text("prefill"), Compat::G1).ok().unwrap();
    assert!(resolved.plan.prefill_header && resolved.warnings.is_empty());
    let resolved = plan_of(&text("decode"), Compat::G1).ok().unwrap();
    assert!(!resolved.plan.prefill_header);
    let told = resolved.warnings.iter().map(shown).collect::<String>();
    assert!(
        told.contains("tells the pick of profile 'decode'"),
        "{told}"
    );
}

#[test]
fn rule_alpha_plugins_are_taken_with_a_warning_in_both() {
    // A type that the reference calls Alpha, with something else behind it.
    static ALPHA: PluginSpec = PluginSpec {
        kind: "session-affinity-scorer",
        ..pointsman_plugins::scorer::queue_depth::SPEC
    };
    let registry = Registry::new(&[pointsman_plugins::ALL, &[&ALPHA]].concat());
    for compat in [Compat::G1, Compat::G2] {
        for (experimental, expected) in [(false, 1), (true, 0)] {
            let terms = Terms {
                compat,
                experimental,
                ..Terms::new(&registry)
            };
            let text = "plugins:\n- type: session-affinity-scorer\n";
            let resolved = from_text(text, "t", &terms).ok().unwrap();
            let told = resolved.warnings.iter().map(shown);
            let told: Vec<String> = told.filter(|w| w.contains("Alpha stability")).collect();
            assert_eq!(told.len(), expected, "{compat:?}: {told:?}");
        }
    }
}

#[test]
fn rule_the_gate_data_layer_warns_in_both() {
    for head in ["", G2] {
        let told = warnings(
            &format!("{head}featureGates: [dataLayer]\nplugins: [{{type: queue-scorer}}]\n"),
            Compat::Auto,
        );
        assert!(
            told.len() == 1 && told[0].contains("'dataLayer' is always on here"),
            "{told:?}"
        );
    }
    let found = faults(
        "featureGates: [dataLyer, flowControl=maybe, haPopulateNonLeaderDatastore=F]\nplugins: [{type: queue-scorer}]\n",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains(
            "feature gate 'dataLyer' is unknown or unregistered; did you mean 'dataLayer'?"
        ),
        "{found:?}"
    );
}

#[test]
fn a_flag_of_the_first_generation_decides() {
    let registry = registry();
    let terms = Terms {
        legacy_flag: Some("--model-server-metrics-port"),
        ..Terms::new(&registry)
    };
    let plan = from_text(
        &format!("{G2}plugins: [{{type: queue-scorer}}]\n"),
        "t",
        &terms,
    )
    .ok()
    .unwrap()
    .plan;
    assert_eq!(plan.compat, Generation::G1);
    assert!(plan.compat_reason.contains("--model-server-metrics-port"));
}

#[test]
fn our_own_settings_reach_the_plan() {
    let text = "plugins: [{type: queue-scorer}]\npointsman: {staleness: {policy: exclude}, gateway: {handoff: p2p}}\n";
    let plan = plan_of(text, Compat::Auto).ok().unwrap().plan;
    assert_eq!(plan.staleness.policy, Policy::Exclude);
    assert_eq!(plan.compat, Generation::G1);
    let found = faults("plugins: [{type: queue-scorer}]\npointsman: {outlier: {}, retires: {}}\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("'outlier' is not supported yet")
            && found[1].contains("did you mean 'retries'?"),
        "{found:?}"
    );
}

#[test]
fn a_plan_that_replaces_another_goes_on_with_what_its_plugins_know() {
    let registry = registry();
    let text = "plugins: [{type: prefix-cache-scorer}, {type: queue-scorer}]\n";
    let first = from_text(text, "t", &Terms::new(&registry))
        .ok()
        .unwrap()
        .plan;
    let terms = Terms {
        previous: Some(&first),
        ..Terms::new(&registry)
    };
    let known = |plan: &Plan, name: &str| plan.state_of("prefix-cache-scorer", name);
    let changed = format!("{text}featureGates: [flowControl=false]\n");
    let second = from_text(&changed, "t", &terms).ok().unwrap().plan;
    assert_eq!((first.generation, second.generation), (1, 2));
    assert_ne!(first.hash, second.hash);
    let (before, after) = (
        known(&first, "prefix-cache-scorer").unwrap(),
        known(&second, "prefix-cache-scorer").unwrap(),
    );
    assert!(std::sync::Arc::ptr_eq(&before, &after));
    let renamed = "plugins: [{type: prefix-cache-scorer, name: other}]\n";
    let third = from_text(renamed, "t", &terms).ok().unwrap().plan;
    assert!(!std::sync::Arc::ptr_eq(
        &before,
        &known(&third, "other").unwrap()
    ));
}
