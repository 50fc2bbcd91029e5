//! The last decisions of one worker, bounded in bytes; recording allocates nothing.
//!
//! A record's numbers lie in one arena of 64-bit words that is reserved at the start and used round and
//! round; names are by reference to the snapshot and plan that the record keeps. Up to
//! [`FULL_ROWS`] candidates the whole table is kept, above it the best [`TOP_ROWS`] of each decision.
//! The outcome is added later if the record is still there.

use std::collections::VecDeque;
use std::sync::Arc;

use pointsman_core::contract::roles::PdDecision;
use pointsman_core::contract::table::{Column, Draw, ProfileRun, Table};
use pointsman_core::exchange::event::Outcome;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::Reading;
use pointsman_core::schedule::decision::{Decision, FrozenRun, ReadingColumn};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Tick;
use pointsman_wire::receipt::Meta;

/// Up to this many candidates a receipt shows all of them.
pub const FULL_ROWS: usize = 256;

/// Of larger pools this many candidates are kept, the best by total.
pub const TOP_ROWS: usize = 32;

/// The number of a record; grows by one per decision of the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordId(u64);

/// What is recorded of a request beside the table; borrowed, copied into the arena.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The request id.
    pub request_id: &'a str,
    /// The model.
    pub model: &'a str,
    /// Wall-clock time of the arrival, nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// Size of the prompt in bytes.
    pub prompt_bytes: usize,
    /// How long the request waited to be let in, nanoseconds.
    pub queue_ns: u64,
    /// How long the decision took, nanoseconds.
    pub pick_ns: u64,
    /// The door.
    pub door: &'static str,
    /// What was decided about prefill and decode.
    pub pd: Option<PdDecision>,
}

struct Entry {
    id: u64,
    start: usize,
    words: usize,
    request_hash: u64,
    reply_hash: u64,
    at_unix_ns: u64,
    door: &'static str,
    pd: Option<PdDecision>,
    snapshot: Arc<Snapshot>,
    plan: Arc<Plan>,
    outcome: Option<Outcome>,
}

/// The ring of one worker.
pub struct Ring {
    /// Grows within its capacity up to `max_words`, so that pages are touched only when used.
    arena: Vec<u64>,
    max_words: usize,
    next_word: usize,
    entries: VecDeque<Entry>,
    max_entries: usize,
    next_id: u64,
    best: Vec<u32>,
}

/// A record read back.
#[derive(Clone)]
pub struct Recorded {
    /// The table as it was.
    pub decision: Decision,
    /// What is known of the request.
    pub meta: Meta,
    /// How it ended; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

impl Ring {
    /// A ring that uses about `bytes` bytes. Pages are reserved now and touched when used.
    pub fn new(bytes: usize) -> Self {
        // A quarter for the entries' fixed part, the rest for tables.
        let max_entries = (bytes / 4 / size_of::<Entry>()).max(8);
        let words = (bytes / 4 * 3 / 8).max(4096);
        Self {
            arena: Vec::with_capacity(words),
            max_words: words,
            next_word: 0,
            entries: VecDeque::with_capacity(max_entries),
            max_entries,
            next_id: 0,
            best: Vec::with_capacity(TOP_ROWS + 1),
        }
    }

    /// Copies the decision that stands in `table`. `None` if it is larger than the whole ring.
    pub fn record(
        &mut self,
        facts: &Facts<'_>,
        plan: &Arc<Plan>,
        snapshot: &Arc<Snapshot>,
        table: &Table,
    ) -> Option<RecordId> {
        self.list_rows(table);
        let words = self.words_needed(facts, table);
        let start = self.make_room(words)?;
        if self.arena.len() < start + words {
            self.arena.resize(start + words, 0);
        }
        let mut writer = Writer {
            words: &mut self.arena[start..start + words],
            at: 0,
        };
        write(&mut writer, facts, table, &self.best);
        debug_assert_eq!(writer.at, words);
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push_back(Entry {
            id,
            start,
            words,
            request_hash: hash(facts.request_id.as_bytes()),
            reply_hash: 0,
            at_unix_ns: facts.at_unix_ns,
            door: facts.door,
            pd: facts.pd,
            snapshot: Arc::clone(snapshot),
            plan: Arc::clone(plan),
            outcome: None,
        });
        Some(RecordId(id))
    }

    /// Adds how the request ended, and the id that its answer carried.
    pub fn finish(&mut self, id: RecordId, outcome: Outcome, reply_id: Option<&str>) {
        let Some(first) = self.entries.front().map(|e| e.id) else {
            return;
        };
        let Some(at) = id.0.checked_sub(first) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.outcome = Some(outcome);
            entry.reply_hash = reply_id.map_or(0, |reply| hash(reply.as_bytes()));
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest records first, at most `limit`.
    pub fn latest(&self, limit: usize) -> Vec<Recorded> {
        self.entries
            .iter()
            .rev()
            .take(limit)
            .map(|entry| self.read(entry))
            .collect()
    }

    /// The latest record of a request id, or of the id its answer carried.
    pub fn find(&self, id: &str) -> Option<Recorded> {
        let wanted = hash(id.as_bytes());
        let found = self
            .entries
            .iter()
            .rev()
            .find(|e| e.request_hash == wanted || e.reply_hash == wanted)?;
        Some(self.read(found))
    }

    /// Which rows are recorded, in `self.best`; empty means all.
    fn list_rows(&mut self, table: &Table) {
        self.best.clear();
        if table.rows <= FULL_ROWS {
            return;
        }
        let Some(run) = table.runs().last() else {
            return;
        };
        let best = &mut self.best;
        let mut lowest = f64::NEG_INFINITY;
        run.alive.for_each(|row| {
            let total = run.total[row];
            // Most rows of a large pool end here.
            if total <= lowest {
                return;
            }
            let at = best.partition_point(|&other| run.total[other as usize] >= total);
            best.insert(at, row as u32);
            best.truncate(TOP_ROWS);
            if best.len() == TOP_ROWS {
                lowest = run.total[best[TOP_ROWS - 1] as usize];
            }
        });
        // What was picked is always listed, also by a picker that does not look at totals.
        if let Some(&pick) = run.picks.first()
            && !best.contains(&pick)
        {
            best.truncate(TOP_ROWS - 1);
            best.push(pick);
        }
    }

    fn words_needed(&self, facts: &Facts<'_>, table: &Table) -> usize {
        let rows = self.rows_of(table);
        let readings = Reading::ALL
            .iter()
            .filter(|r| table.readings.is_filled(**r))
            .count();
        let runs: usize = table
            .runs()
            .iter()
            .map(|run| {
                6 + run.picks.len()
                    + rows * (1 + usize::from(has_struck(run)) + run.scores.len() + run.terms.len())
            })
            .sum();
        HEADER
            + text_words(facts.request_id)
            + text_words(facts.model)
            + rows
            + readings * (1 + 2 * rows)
            + runs
    }

    fn rows_of(&self, table: &Table) -> usize {
        if table.rows <= FULL_ROWS {
            table.rows
        } else {
            self.best.len()
        }
    }

    /// Frees the oldest records until `words` words in a row are free.
    fn make_room(&mut self, words: usize) -> Option<usize> {
        if words > self.max_words {
            return None;
        }
        let start = if self.next_word + words > self.max_words {
            0
        } else {
            self.next_word
        };
        let end = start + words;
        let in_the_way = |e: &Entry| e.start < end && start < e.start + e.words;
        // The tail that is skipped when wrapping may still hold old records: they are the oldest.
        let wrapped = start == 0 && self.next_word != 0;
        while let Some(oldest) = self.entries.front() {
            let skipped = wrapped && oldest.start >= self.next_word;
            if !in_the_way(oldest) && !skipped && self.entries.len() < self.max_entries {
                break;
            }
            self.entries.pop_front();
        }
        self.next_word = end;
        Some(start)
    }

    fn read(&self, entry: &Entry) -> Recorded {
        let mut reader = Reader {
            words: &self.arena[entry.start..entry.start + entry.words],
            at: 0,
        };
        let (decision, mut meta) = read(&mut reader, &entry.plan, &entry.snapshot);
        meta.at_unix_ns = entry.at_unix_ns;
        meta.door = entry.door;
        meta.pd = entry.pd;
        Recorded {
            decision,
            meta,
            outcome: entry.outcome.clone(),
        }
    }
}

/// Whether some row was crossed out; the column is left out otherwise.
fn has_struck(run: &ProfileRun) -> bool {
    run.struck_by.iter().any(|&by| by != 0)
}

/// Words before the first text: rows, flags, readings, runs, prompt bytes, wait, pick time, moment.
const HEADER: usize = 8;

fn text_words(text: &str) -> usize {
    1 + text.len().div_ceil(8)
}

/// FNV-1a; enough to find a record, which is then the record.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        })
        .max(1)
}

/// Which rows are written.
enum Listed<'a> {
    All,
    Best(&'a [u32]),
}

struct Writer<'a> {
    words: &'a mut [u64],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, word: u64) {
        self.words[self.at] = word;
        self.at += 1;
    }

    /// The listed rows of a column.
    fn column<T>(&mut self, values: &[T], listed: &Listed<'_>, word: impl Fn(&T) -> u64) {
        match listed {
            Listed::All => {
                let target = &mut self.words[self.at..self.at + values.len()];
                target
                    .iter_mut()
                    .zip(values)
                    .for_each(|(to, value)| *to = word(value));
                self.at += values.len();
            }
            Listed::Best(best) => best
                .iter()
                .for_each(|&row| self.put(word(&values[row as usize]))),
        }
    }

    fn text(&mut self, text: &str) {
        self.put(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(u64::from_le_bytes(word));
        }
    }
}

fn write(writer: &mut Writer<'_>, facts: &Facts<'_>, table: &Table, best: &[u32]) {
    let all = table.rows <= FULL_ROWS;
    let rows = if all { table.rows } else { best.len() };
    let listed = if all { Listed::All } else { Listed::Best(best) };
    writer.put(rows as u64);
    writer.put(u64::from(!all));
    writer.put(
        Reading::ALL
            .iter()
            .filter(|r| table.readings.is_filled(**r))
            .count() as u64,
    );
    writer.put(table.runs().len() as u64);
    writer.put(facts.prompt_bytes as u64);
    writer.put(facts.queue_ns);
    writer.put(facts.pick_ns);
    writer.put(table.now.0);
    writer.text(facts.request_id);
    writer.text(facts.model);
    match listed {
        Listed::All => (0..rows).for_each(|row| writer.put(row as u64)),
        Listed::Best(best) => best.iter().for_each(|&row| writer.put(u64::from(row))),
    }
    for reading in Reading::ALL
        .into_iter()
        .filter(|r| table.readings.is_filled(*r))
    {
        let column = table.readings.column(reading);
        writer.put(reading as u64);
        writer.column(&column.values, &listed, |value| value.to_bits());
        writer.column(&column.taken, &listed, |taken| taken.0);
    }
    for run in table.runs() {
        writer.put(
            run.profile as u64 | (run.scores.len() as u64) << 32 | (run.terms.len() as u64) << 48,
        );
        writer.put(u64::from(has_struck(run)));
        writer.put(run.draw.seed);
        writer.put(u64::from(run.draw.value.is_some()));
        writer.put(run.draw.value.unwrap_or(0));
        writer.put(run.picks.len() as u64);
        run.picks
            .iter()
            .for_each(|&pick| writer.put(u64::from(pick)));
        if has_struck(run) {
            writer.column(&run.struck_by, &listed, |&by| u64::from(by));
        }
        writer.column(&run.total, &listed, |total| total.to_bits());
        run.scores
            .iter()
            .chain(&run.terms)
            .for_each(|numbers| writer.column(numbers, &listed, |number| number.to_bits()));
    }
}

struct Reader<'a> {
    words: &'a [u64],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self) -> u64 {
        self.at += 1;
        self.words[self.at - 1]
    }

    fn floats(&mut self, rows: usize) -> Vec<f64> {
        (0..rows).map(|_| f64::from_bits(self.take())).collect()
    }

    fn text(&mut self) -> String {
        let len = self.take() as usize;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.take().to_le_bytes());
        }
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn read(reader: &mut Reader<'_>, plan: &Arc<Plan>, snapshot: &Arc<Snapshot>) -> (Decision, Meta) {
    let rows = reader.take() as usize;
    let truncated = reader.take() != 0;
    let (readings, runs) = (reader.take(), reader.take());
    let mut meta = Meta {
        prompt_bytes: reader.take(),
        queue_ns: reader.take(),
        pick_ns: reader.take(),
        ..Meta::default()
    };
    let now = Tick(reader.take());
    meta.request_id = reader.text();
    meta.model = reader.text();
    let listed: Vec<u32> = (0..rows).map(|_| reader.take() as u32).collect();
    let readings = (0..readings)
        .map(|_| {
            let reading = Reading::ALL[reader.take() as usize];
            let values = reader.floats(rows);
            let column = Column {
                values,
                taken: (0..rows).map(|_| Tick(reader.take())).collect(),
            };
            let age_ms = (0..rows).map(|at| column.age_ms(at, now)).collect();
            ReadingColumn {
                reading,
                values: column.values,
                age_ms,
            }
        })
        .collect();
    let runs = (0..runs).map(|_| read_run(reader, rows)).collect();
    let decision = Decision {
        plan: Arc::clone(plan),
        snapshot: Arc::clone(snapshot),
        readings,
        rows: listed,
        runs,
        truncated,
    };
    (decision, meta)
}

fn read_run(reader: &mut Reader<'_>, rows: usize) -> FrozenRun {
    let head = reader.take();
    let struck = reader.take() != 0;
    let (scorers, terms) = ((head >> 32) as u16, (head >> 48) as u16);
    let seed = reader.take();
    let (drew, value) = (reader.take() != 0, reader.take());
    let picks = (0..reader.take()).map(|_| reader.take() as u32).collect();
    let struck_by = (0..rows)
        .map(|_| if struck { reader.take() as u16 } else { 0 })
        .collect();
    FrozenRun {
        profile: (head & u64::from(u32::MAX)) as usize,
        struck_by,
        total: reader.floats(rows),
        scores: (0..scorers).map(|_| reader.floats(rows)).collect(),
        terms: (0..terms).map(|_| reader.floats(rows)).collect(),
        picks,
        draw: Draw {
            seed,
            value: drew.then_some(value),
        },
    }
}

#[cfg(test)]
mod tests {
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
}
