//! Whatever the plan and the pool: a receipt that calls itself replayable is decided again as it was, after a
//! journey through JSON.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::{NAMES, preset};
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::staleness::Policy;
use pointsman_core::contract::table::Table;
use pointsman_core::fixture::{NOW, pool};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::{Reading, Slot};
use pointsman_core::schedule::decision::Decision;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::schedule::scheduler::{Question, decide, told};
use pointsman_core::time::{Span, Tick};
use pointsman_feeds::plan::{Terms, from_text};
use pointsman_wire::receipt::replay::Replay;
use pointsman_wire::receipt::writing::receipt;
use pointsman_wire::receipt::{Meta, ProfileFacts, Receipt};
use proptest::prelude::*;

/// Plans beside the named profiles: chance alone, chance by weight, filters, prefill and decode in both generations.
const WRITTEN: &[&str] = &[
    "plugins: [{type: random-picker}, {type: single-profile-handler}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: random-picker}]}]",
    "plugins: [{type: active-request-scorer}, {type: kv-cache-utilization-scorer}, {type: weighted-random-picker}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: active-request-scorer, weight: 0.3}, {pluginRef: kv-cache-utilization-scorer, weight: 0.7}, {pluginRef: weighted-random-picker}]}]",
    "plugins: [{type: by-label, parameters: {label: role, validValues: [decode, both]}}, {type: queue-scorer}, {type: running-requests-size-scorer}, {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: by-label}, {pluginRef: queue-scorer, weight: 0.1}, {pluginRef: running-requests-size-scorer, weight: 0.2}, {pluginRef: max-score-picker}]}]",
    "plugins: [{type: prefill-filter}, {type: decode-filter}, {type: prefix-cache-scorer}, {type: load-aware-scorer}, {type: max-score-picker}, {type: pd-profile-handler, parameters: {threshold: 400}}]
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: load-aware-scorer}, {pluginRef: max-score-picker}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: load-aware-scorer}, {pluginRef: max-score-picker}]}",
];

fn plans() -> Vec<impl Fn() -> Plan> {
    let named = NAMES.map(|name| (name, None));
    let written = WRITTEN.iter().map(|text| ("written.yaml", Some(*text)));
    named
        .into_iter()
        .chain(written)
        .map(|(name, text)| {
            move || {
                let registry = Registry::new(pointsman_plugins::ALL);
                match text {
                    None => {
                        let basis = Basis::new(&registry, Generation::G1, name);
                        resolve(&preset(name).unwrap(), &basis).ok().unwrap().plan
                    }
                    Some(text) => {
                        let head = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n";
                        let text = format!("{head}{text}\n");
                        match from_text(&text, name, &Terms::new(&registry)) {
                            Ok(resolved) => resolved.plan,
                            Err(faults) => panic!("{faults:?}\n{text}"),
                        }
                    }
                }
            }
        })
        .collect()
}

/// One endpoint: in flight, waiting, running, share of the cache, role, age of its readings in microseconds.
type Row = (u32, u32, u32, f64, usize, Option<u64>);

fn row() -> impl Strategy<Value = Row> {
    let age = prop::option::weighted(0.8, 0u64..4_000_000);
    (0u32..6, 0u32..9, 0u32..9, 0.0..=1.0f64, 0usize..4, age)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::ALL.map(|(policy, _)| policy).to_vec())
}

/// What a reader sees of profiles; a scorer that is stood in for shows no terms.
fn shown(profiles: &[ProfileFacts]) -> Vec<ProfileFacts> {
    let mut profiles = profiles.to_vec();
    let candidates = profiles.iter_mut().flat_map(|run| &mut run.candidates);
    candidates.for_each(|candidate| candidate.terms.clear());
    profiles
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_replayable_receipt_gives_the_same_picks_under_the_same_plan(
        which in 0..NAMES.len() + WRITTEN.len(),
        rows in prop::collection::vec(row(), 1..12),
        policy in policies(),
        prompts in prop::collection::vec((0usize..3, 0usize..2000), 1..6),
        seed in 0u64..1 << 53,
    ) {
        let make = &plans()[which];
        let mut plan = make();
        plan.staleness.policy = policy;
        let plan = Arc::new(plan);
        let mut replay = Replay::new(make());
        let now = Tick(NOW.0 * 10);
        let roles = ["decode", "prefill", "both", "other"];
        let lines: Vec<String> = rows.iter().enumerate().map(|(n, row)| {
            let role = roles[row.4];
            format!("ns/e{n} inFlight={} llm-d.ai/role={role} role={role} llm-d.ai/kv-backend={}", row.0, if row.1 % 2 == 0 { "nvlink" } else { "fs" })
        }).collect();
        let pool = pool(&lines.join("\n"));
        for (n, row) in rows.iter().enumerate() {
            if let Some(age) = row.5 {
                let taken = Tick(now.0 - Span(age * 1000).0);
                for (reading, value) in [(Reading::Waiting, f64::from(row.1)), (Reading::Running, f64::from(row.2)), (Reading::KvUsage, row.3)] {
                    pool.slots.write(Slot(n as u32), reading, value, taken);
                }
            }
        }
        let mut table = Table::default();
        for (turn, (start, length)) in prompts.into_iter().enumerate() {
            let text = vec![b'a' + start as u8; length];
            let view = text.as_slice();
            let request = InferenceRequest {
                id: "r",
                model: "m",
                prompt: Some(Prompt(&view)),
                prompt_bytes: length,
                ..InferenceRequest::default()
            };
            let question = Question {
                plan: &plan,
                snapshot: &pool.snapshot,
                slots: &pool.slots,
                request: &request,
                tried: &RowSet::default(),
                now,
                seed: seed ^ turn as u64,
            };
            let choice = decide(&question, &mut table);
            let decision = Decision::freeze(&plan, &pool.snapshot, &table);
            if let Ok(choice) = &choice {
                told(&question, &table, choice.targets);
            }
            let meta = Meta { request_id: "r".to_owned(), model: "m".to_owned(), prompt_bytes: length as u64, ..Meta::default() };
            let json = serde_json::to_string(&receipt(&decision, &meta, None)).unwrap();
            let receipt: Receipt = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(receipt.replayable, choice.is_ok(), "{}", json);
            let again = replay.again(&receipt);
            let Ok(choice) = choice else {
                prop_assert!(again.is_err());
                continue;
            };
            let again = again.unwrap();
            let name = &pool.snapshot.endpoints[choice.targets.primary].name;
            prop_assert_eq!(again.pick.as_deref(), Some(&**name), "{}", json);
            let picked: Vec<(String, Vec<String>)> = receipt.profiles.iter().map(|p| (p.name.clone(), p.picked.clone())).collect();
            prop_assert_eq!(&again.runs, &picked, "{}", json);
            prop_assert!(again.unknown.is_empty(), "{:?}", again.unknown);
            // Told in full, it is the same table.
            let full = Replay::new(make()).in_full(&receipt).unwrap();
            prop_assert_eq!(&full.again, &again);
            prop_assert_eq!(shown(&full.profiles), shown(&receipt.profiles), "{}", json);
        }
    }
}
