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
use pointsman_wire::receipt::{Meta, id_hash};

pub mod glance;

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
        let words = self.words_needed(facts, table);
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
        meta.response_hash = entry.reply_hash;
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
mod tests;
