//! Records are read back as they were written, at length and at a glance, and only the oldest go.

#![allow(clippy::unwrap_used)]
use super::*;
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::exchange::event::{Attempts, End};
use pointsman_core::fixture::{NOW, pool};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::scheduler::{Question, decide};
use pointsman_core::time::Span;
use proptest::prelude::*;

fn plan(name: &str) -> Arc<Plan> {
    let registry = Registry::new(pointsman_plugins::ALL);
    Arc::new(
        resolve(
            &preset(name).unwrap(),
            &Basis::new(&registry, Generation::G1, name),
        )
        .ok()
        .unwrap()
        .plan,
    )
}

/// A decision over `rows` endpoints, every third of them of the other backend.
fn decided(plan: &Plan, rows: usize, seed: u64) -> (Arc<Snapshot>, Table, usize) {
    let line = |n: usize| {
        let label = if n % 3 == 2 { "fs" } else { "nvlink" };
        format!(
            "e{n} inFlight={} kvUsage=0.5 llm-d.ai/kv-backend={label}",
            n % 4
        )
    };
    let pool = pool(&(0..rows).map(line).collect::<Vec<_>>().join("\n"));
    let (request, mut table) = (InferenceRequest::default(), Table::default());
    let question = Question {
        plan,
        snapshot: &pool.snapshot,
        slots: &pool.slots,
        request: &request,
        tried: &RowSet::default(),
        now: NOW,
        seed,
    };
    let row = decide(&question, &mut table).unwrap();
    (Arc::clone(&pool.snapshot), table, row.targets.primary)
}

fn facts(id: &str) -> Facts<'_> {
    Facts {
        request_id: id,
        model: "m",
        at_unix_ns: 7,
        prompt_bytes: 11,
        queue_ns: 12,
        pick_ns: 13,
        door: "gateway",
        pd: None,
    }
}

fn outcome(row: u32) -> Outcome {
    Outcome {
        end: End::Served,
        status: Some(200),
        reason: None,
        served: Some(row),
        attempts: Attempts::new(),
        usage: None,
        prefill: None,
        first_byte: Some(Span(1)),
        total: Span(2),
        at: NOW,
    }
}

#[test]
fn what_is_read_back_is_what_was_decided() {
    let plan = plan("proxy-performance-by-backend");
    let (snapshot, table, row) = decided(&plan, 7, 3);
    let mut ring = Ring::new(1 << 20);
    let id = ring
        .record(&facts("request-one"), &plan, &snapshot, &table)
        .unwrap();
    ring.finish(id, outcome(row as u32), Some("cmpl-reply"));
    let read = ring.find("request-one").unwrap();
    let frozen = Decision::freeze(&plan, &snapshot, &table);
    assert_eq!(read.decision.readings, frozen.readings);
    assert_eq!(read.decision.runs, frozen.runs);
    assert_eq!(
        (read.decision.rows.len(), read.decision.truncated),
        (7, false)
    );
    assert_eq!(
        (read.meta.request_id.as_str(), read.meta.model.as_str()),
        ("request-one", "m")
    );
    assert_eq!(
        (
            read.meta.prompt_bytes,
            read.meta.queue_ns,
            read.meta.pick_ns,
            read.meta.at_unix_ns
        ),
        (11, 12, 13, 7)
    );
    assert_eq!(
        ring.find("cmpl-reply").unwrap().outcome,
        Some(outcome(row as u32))
    );
    assert!(ring.find("other").is_none());
}

#[test]
fn without_memory_nothing_is_recorded() {
    let plan = plan("proxy-performance");
    let (snapshot, table, _) = decided(&plan, 3, 1);
    let mut ring = Ring::new(0);
    assert!(ring.record(&facts("x"), &plan, &snapshot, &table).is_none());
    assert!(ring.is_empty() && ring.latest(1).is_empty() && ring.lost() == 0);
}

#[test]
fn of_a_large_pool_the_best_are_kept() {
    let plan = plan("proxy-performance");
    let (snapshot, table, row) = decided(&plan, 1000, 5);
    let mut ring = Ring::new(1 << 20);
    ring.record(&facts("x"), &plan, &snapshot, &table).unwrap();
    let read = ring.latest(1).remove(0).decision;
    assert_eq!((read.rows.len(), read.truncated), (TOP_ROWS, true));
    assert_eq!(read.runs[0].picks, [row as u32]);
    assert!(read.runs[0].total.iter().all(|total| *total == 1.0));
}

/// What a glance says is what the whole record says.
#[track_caller]
fn check_glance(ring: &Ring, number: u64) {
    let (glance, read) = (
        ring.glance(number).unwrap(),
        ring.get(RecordId(number)).unwrap(),
    );
    let run = &read.decision.runs[0];
    let struck = run.struck_by.iter().filter(|&&by| by != 0).count();
    assert_eq!(glance.request_id, read.meta.request_id);
    assert_eq!(glance.model, read.meta.model);
    assert_eq!(glance.pick_ns, read.meta.pick_ns);
    assert_eq!(glance.picks, run.picks[..1]);
    assert_eq!(glance.profile, Some(run.profile));
    assert_eq!(
        glance
            .struck
            .iter()
            .map(|(_, n)| *n as usize)
            .sum::<usize>(),
        struck
    );
    assert_eq!(glance.scored as usize + struck, read.decision.rows.len());
    assert_eq!(glance.best as usize, run.tie().len().max(1));
    assert_eq!(glance.truncated, read.decision.truncated);
    assert_eq!(glance.outcome, read.outcome);
}

#[test]
fn a_glance_agrees_with_the_record() {
    let mut ring = Ring::new(1 << 20);
    for (n, name) in [
        "proxy-performance-by-backend",
        "default",
        "proxy-performance",
    ]
    .into_iter()
    .enumerate()
    {
        let plan = plan(name);
        for rows in [3, 40, 1000] {
            let (snapshot, table, row) = decided(&plan, rows, 3 + n as u64);
            let id = ring.record(&facts("a request of some length"), &plan, &snapshot, &table);
            if rows != 40 {
                ring.finish(id.unwrap(), outcome(row as u32), None);
            }
            check_glance(&ring, id.unwrap().0);
        }
    }
    assert_eq!(ring.next_number(), 9);
    let numbers = |from, limit| -> Vec<u64> {
        let seen = ring.glances(from, limit);
        seen.iter().map(|glance| glance.number).collect()
    };
    assert_eq!(numbers(6, 100), [8, 7, 6]);
    assert_eq!(numbers(0, 2), [8, 7]);
    assert!(numbers(9, 100).is_empty());
    assert!(ring.glance(9).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_newest_are_kept_whole_within_the_bytes(sizes in prop::collection::vec(1usize..200, 1..60)) {
        let plan = plan("proxy-performance");
        let mut ring = Ring::new(64 << 10);
        for (n, rows) in sizes.iter().enumerate() {
            let (snapshot, table, row) = decided(&plan, *rows, n as u64);
            let name = format!("id-{n}");
            let id = ring.record(&facts(&name), &plan, &snapshot, &table).unwrap();
            ring.finish(id, outcome(row as u32), None);
            prop_assert!(ring.arena.len() <= ring.max_words);
        }
        let kept = ring.latest(usize::MAX);
        prop_assert!(!kept.is_empty());
        for (back, record) in kept.iter().enumerate() {
            let n = sizes.len() - 1 - back;
            prop_assert_eq!(&record.meta.request_id, &format!("id-{n}"));
            prop_assert_eq!(record.decision.rows.len(), sizes[n]);
            prop_assert_eq!(record.outcome.clone().unwrap().served, Some(record.decision.runs[0].picks[0]));
        }
    }
}
