//! The last decisions of one worker, bounded in bytes; recording allocates nothing.
//!
//! A record's numbers lie in one arena of 64-bit words that is reserved at the start and used round and
//! round; names are by reference to the snapshot and plan that the record keeps. Up to
//! [`FULL_ROWS`] candidates the whole table is kept, above it the best [`TOP_ROWS`] of each decision.
//! The outcome is added later if the record is still there.

use std::collections::VecDeque;
use std::sync::Arc;

use pointsman_core::contract::roles::PdDecision;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::Outcome;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::schedule::decision::Decision;
use pointsman_core::schedule::plan::Plan;
use pointsman_wire::receipt::{Meta, id_hash};

pub mod glance;
mod layout;

pub use layout::{FULL_ROWS, Facts};
use layout::{Reader, Writer, read, words_needed, write};

/// Of larger pools this many candidates are kept, the best by total.
pub const TOP_ROWS: usize = 32;

/// The number of a record; grows by one per decision of the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordId(u64);

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
    lost: u64,
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
    /// A ring that uses about `bytes` bytes, of which 0 means that nothing is recorded. Pages are reserved now and
    /// touched when used.
    pub fn new(bytes: usize) -> Self {
        // A quarter for the entries' fixed part, the rest for tables.
        let (max_entries, words) = match bytes {
            0 => (0, 0),
            _ => (
                (bytes / 4 / size_of::<Entry>()).max(8),
                (bytes / 4 * 3 / 8).max(4096),
            ),
        };
        Self {
            arena: Vec::with_capacity(words),
            max_words: words,
            next_word: 0,
            entries: VecDeque::with_capacity(max_entries),
            max_entries,
            next_id: 0,
            lost: 0,
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
        if self.max_words == 0 {
            return None;
        }
        self.list_rows(table);
        let words = words_needed(facts, table, &self.best);
        let Some(start) = self.make_room(words) else {
            self.lost += 1;
            return None;
        };
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
            request_hash: id_hash(facts.request_id.as_bytes()),
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
        let place = self.place(id);
        if let Some(entry) = place.and_then(|at| self.entries.get_mut(at)) {
            entry.outcome = Some(outcome);
            entry.reply_hash = reply_id.map_or(0, |reply| id_hash(reply.as_bytes()));
        }
    }

    /// A record by its number, if it is still there.
    pub fn get(&self, id: RecordId) -> Option<Recorded> {
        Some(self.read(self.entries.get(self.place(id)?)?))
    }

    /// A record by its plain number, if it is still there.
    pub fn numbered(&self, number: u64) -> Option<Recorded> {
        self.get(RecordId(number))
    }

    /// Where a record stands; beyond the end or `None` if it is gone.
    fn place(&self, id: RecordId) -> Option<usize> {
        let first = self.entries.front()?.id;
        id.0.checked_sub(first).map(|at| at as usize)
    }

    /// Decisions that were not recorded because they were larger than the whole ring.
    pub fn lost(&self) -> u64 {
        self.lost
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
        let wanted = id_hash(id.as_bytes());
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
        meta.response_hash = entry.reply_hash;
        Recorded {
            decision,
            meta,
            outcome: entry.outcome.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
