//! What files made for the reference meet here: its sentences, and its types.

use super::*;
use pointsman_core::config::catalogue::{CATALOGUE, HERE, NEEDLESS};

#[test]
fn faults_are_told_in_the_sentences_of_the_reference_at_their_place() {
    let plugins = "plugins: [{type: random-picker, name: r}, {type: max-score-picker}]\n";
    let cases = [
        (
            "schedulingProfiles: [{plugins: []}]\n",
            "2:22: schedulingProfiles[0] is missing a name",
        ),
        (
            "schedulingProfiles: [{name: p, plugins: [{pluginRef: zz}]}]\n",
            "schedulingProfiles[p] references undefined plugin 'zz'",
        ),
        (
            "schedulingProfiles: [{name: p, plugins: [{weight: 1}]}]\n",
            "schedulingProfiles[p].plugins[0] is missing a 'pluginRef'",
        ),
        (
            "schedulingProfiles: [{name: a}, {name: a}]\n",
            "schedulingProfiles[1] has duplicate name 'a'",
        ),
        (
            "requestHandler: {parsers: [{pluginRef: r}]}\n",
            "the plugin \"r\" is not a parser plugin",
        ),
        (
            "dataLayer: {discovery: {pluginRef: r}}\n",
            "discovery: plugin \"r\" does not implement EndpointDiscovery",
        ),
        (
            "dataLayer: {crossReplicaSyncerPluginRef: zz}\n",
            "2:42: dataLayer.crossReplicaSyncerPluginRef: references undefined plugin 'zz'",
        ),
        (
            "flowControl: {saturationDetector: {pluginRef: zz}}\n",
            "saturation detector references undefined plugin 'zz'",
        ),
    ];
    for (rest, words) in cases {
        let profile = match rest.starts_with("schedulingProfiles") {
            true => "",
            false => "schedulingProfiles: [{name: p}]\n",
        };
        let found = faults(&format!("{plugins}{rest}{profile}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{words}: {found:?}");
    }
    let several =
        "plugins: [{type: single-profile-handler}]\nschedulingProfiles: [{name: a}, {name: b}]\n";
    let found = faults(several);
    let words = "SingleProfileHandler cannot support multiple scheduling profiles";
    assert!(found[0].contains(words), "{found:?}");
}

#[test]
fn of_two_pickers_without_profiles_the_second_is_pointed_at() {
    let found = faults("plugins:\n- type: random-picker\n- type: max-score-picker\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("3:3: plugins[1]: "), "{found:?}");
    assert!(
        found[0].contains("already have a registered picker plugin"),
        "{found:?}"
    );
}

#[test]
fn fields_that_the_second_generation_ignores_are_warned_of_as_what_they_are() {
    let text = "apiVersion: llm-d.ai/v1alpha1\nplugins:\n- {type: always-disagg-pd-decider}\n- {type: pd-profile-handler, parameters: {deciderPluginName: always-disagg-pd-decider, prefixPluginType: a, prefixPluginName: b}}\nschedulingProfiles: [{name: decode}, {name: prefill}]\n";
    let told = warnings(text, Compat::Auto);
    for name in ["prefixPluginType", "prefixPluginName"] {
        let words = format!("'{name}': no longer read (ignored)");
        assert!(told.iter().any(|line| line.contains(&words)), "{told:?}");
    }
    assert!(
        !told.iter().any(|line| line.contains("first generation")),
        "{told:?}"
    );
}

#[test]
fn what_the_catalogue_says_is_here_is_here() {
    let registry = registry();
    for listed in CATALOGUE {
        let here = registry.find(listed.kind).is_some();
        assert_eq!(here, listed.instead == HERE, "{}", listed.kind);
    }
}

#[test]
fn every_type_of_the_reference_is_known_and_those_without_need_are_taken() {
    for kind in [
        "topology-extractor",
        "multicluster-metrics-data-source",
        "multicluster-metrics-extractor",
    ] {
        let found = faults(&format!("plugins: [{{type: {kind}}}]\n"));
        assert!(found[0].contains("is not supported yet; "), "{found:?}");
    }
    for kind in NEEDLESS {
        let text = format!(
            "plugins: [{{type: {kind}, name: n}}, {{type: random-picker}}]\ndataLayer: {{sources: [{{pluginRef: n}}]}}\n"
        );
        let told = warnings(&text, Compat::Auto);
        assert!(told[0].contains("has no effect here"), "{told:?}");
        let resolved = plan_of(&text, Compat::Auto).ok().unwrap();
        assert!(resolved.plan.metrics.is_some(), "the usual source stands");
    }
}
