//! What plugins need of others: producers that are added by themselves, and those that cannot be.
#![allow(clippy::unwrap_used)]

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::schedule::plan::{Part, Plan};
use pointsman_plugins::ALL;

fn plan(plugins: &str) -> Result<Plan, String> {
    let written = serde_saphyr::from_str(&format!("plugins: [{plugins}]")).unwrap();
    let registry = Registry::new(ALL);
    let resolved = resolve(&written, &Basis::new(&registry, Generation::G2, "needs"));
    resolved.map(|resolved| resolved.plan).map_err(|faults| {
        let texts = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.path, fault.message));
        texts.collect::<Vec<_>>().join("\n")
    })
}

#[track_caller]
fn added(plugins: &str, expected: &[&str]) {
    let plan = plan(plugins).unwrap_or_else(|faults| panic!("{faults}"));
    let added: Vec<&str> = plan.added.iter().map(String::as_str).collect();
    assert_eq!(added, expected, "{plugins}");
}

#[track_caller]
fn refused(plugins: &str, expected: &str) {
    let faults = plan(plugins).err().unwrap_or_default();
    assert!(faults.contains(expected), "{plugins}: {faults}");
}

const PICKER: &str = "{type: max-score-picker}, {type: single-profile-handler}";

#[test]
fn producers_are_added_where_they_are_needed_and_so_are_theirs() {
    added(&format!("{PICKER}, {{type: queue-scorer}}"), &[]);
    added(&format!("{PICKER}, {{type: active-request-scorer}}"), &[]);
    added(
        &format!("{PICKER}, {{type: context-length-aware}}"),
        &["token-producer"],
    );
    added(
        &format!("{PICKER}, {{type: token-load-scorer}}"),
        &["inflight-load-producer", "token-producer"],
    );
    added(
        &format!("{PICKER}, {{type: prefix-cache-affinity-filter}}"),
        &[
            "approx-prefix-cache-producer",
            "inflight-load-producer",
            "token-producer",
        ],
    );
    let off = "{type: prefix-cache-affinity-filter, parameters: {maxTTFTPenaltyMs: 0}}";
    added(
        &format!("{PICKER}, {off}"),
        &["approx-prefix-cache-producer"],
    );
    let own = "{type: token-load-scorer, parameters: {inFlightLoadProducerName: mine}}, {name: mine, type: inflight-load-producer}, {type: tokenizer}";
    added(&format!("{PICKER}, {own}"), &["token-producer"]);
}

#[test]
fn the_prompt_is_counted_before_others_go_by_it() {
    let plan = plan("{type: inflight-load-producer}, {type: token-producer}")
        .unwrap_or_else(|why| panic!("{why}"));
    let kinds: Vec<&str> = plan.preparers.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["token-producer", "inflight-load-producer"]);
}

#[test]
fn what_cannot_be_added_is_asked_for() {
    refused(
        "{type: token-load-scorer, parameters: {inFlightLoadProducerName: mine}}",
        "needs InFlightLoad from a producer named 'mine'",
    );
    refused(
        "{type: active-request-scorer, parameters: {inFlightLoadProducerName: approx}}, {name: approx, type: approx-prefix-cache-producer}",
        "needs InFlightLoad from a producer named 'approx'",
    );
    let session = "{type: session-affinity-filter, parameters: {strategy: session_id, sessionIdConfig: {sources: [{attribute: SessionID}]}}}";
    refused(
        session,
        "exactly one of headerName and cookieName must be named",
    );
    let with =
        format!("{session}, {{type: session-id-producer, parameters: {{headerName: x-chat}}}}");
    assert!(plan(&with).is_ok());
    let attribute = "{type: endpoint-attribute-scorer, parameters: {attributeKey: gpu, producer: dcgm-extractor, algorithm: {type: linear_lower_is_better}}}";
    refused(
        attribute,
        "needs endpoint attributes from a producer named 'dcgm-extractor'",
    );
}

#[test]
fn a_header_on_answers_speaks_of_a_profile_that_there_is() {
    let named = |profile: &str| {
        format!("{{type: session-affinity-scorer, parameters: {{profileName: {profile}}}}}")
    };
    refused(
        &named("prefill"),
        "speaks of a profile 'prefill' that there is not",
    );
    for (profile, part) in [("default", Part::Answer), ("''", Part::Answer)] {
        let plan = plan(&named(profile)).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(plan.announcers[0].1, part);
        assert_eq!(plan.announcers.len(), 1);
    }
    let text = "
plugins:
- {type: session-affinity-scorer, name: d}
- {type: session-affinity-scorer, name: p, parameters: {profileName: pre, encodedEndpointHeaderConfig: {header: x-p}}}
- {type: disagg-profile-handler, parameters: {profiles: {prefill: pre}}}
schedulingProfiles:
- {name: pre, plugins: [{pluginRef: p}]}
- {name: decode, plugins: [{pluginRef: d}]}
";
    let registry = Registry::new(ALL);
    let basis = Basis::new(&registry, Generation::G2, "needs");
    let plan = resolve(&serde_saphyr::from_str(text).unwrap(), &basis)
        .ok()
        .unwrap()
        .plan;
    let parts: Vec<Part> = plan.announcers.iter().map(|(_, part)| *part).collect();
    assert_eq!(parts, [Part::Answer, Part::Prefill]);
    assert!(plan.prefill_header, "the handler tells by itself");
}

#[test]
fn sessions_by_agent_identity_need_that_plugin_wherever_it_stands() {
    let scorer = "{type: session-affinity-scorer, parameters: {strategy: session_id, sessionIdConfig: {sources: [{attribute: agent-identity}]}}}";
    added(
        &format!("{PICKER}, {scorer}, {{type: agent-identity}}"),
        &[],
    );
    refused(
        &format!("{PICKER}, {scorer}"),
        "no plugin of type agent-identity is declared",
    );
}
