//! How a record lies in the arena: words written one after the other, and read back in the same order.
//!
//! ```text
//! shape, prompt bytes, queue, pick | request id | model | rows, unless all are listed
//! per reading: values, and ages of half a word where it is scraped
//! per run: shape, seed, count of picks | draw, if any | picks | struck by, if any was | totals | scores | terms
//! ```
//! Few words, since a record is written into memory that no cache holds.

use std::sync::Arc;

use pointsman_core::contract::roles::PdDecision;
use pointsman_core::contract::table::{Draw, ProfileRun, Table};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::Reading;
use pointsman_core::schedule::decision::{Decision, FrozenRun, ReadingColumn};
use pointsman_core::schedule::plan::Plan;
use pointsman_wire::receipt::Meta;

/// Up to this many candidates a receipt shows all of them.
pub const FULL_ROWS: usize = 256;

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

/// Whether some row was crossed out; the column is left out otherwise.
pub(super) fn has_struck(run: &ProfileRun) -> bool {
    run.struck_by.iter().any(|&by| by != 0)
}

/// Words before the first text: the shape of the record, prompt bytes, time in the queue, time of the pick.
pub(super) const HEADER: usize = 4;

/// Words of a run before its draw and picks: its shape, the seed, how many picks.
pub(super) const RUN_HEADER: usize = 3;

/// Words that a record of this decision takes; `best` are the rows that are listed of a large pool.
pub(super) fn words_needed(facts: &Facts<'_>, table: &Table, best: &[u32]) -> usize {
    let (rows, listed) = match table.rows {
        rows if rows <= FULL_ROWS => (rows, 0),
        _ => (best.len(), best.len()),
    };
    let readings: usize = filled(table)
        .map(|reading| reading_words(reading, rows))
        .sum();
    let runs: usize = table
        .runs()
        .iter()
        .map(|run| {
            RUN_HEADER
                + usize::from(run.draw.value.is_some())
                + run.picks.len()
                + rows * (1 + usize::from(has_struck(run)) + run.scores.len() + run.terms.len())
        })
        .sum();
    HEADER + text_words(facts.request_id) + text_words(facts.model) + listed + readings + runs
}

/// The readings that the table holds.
pub(super) fn filled(table: &Table) -> impl Iterator<Item = Reading> + '_ {
    let readings = Reading::ALL.into_iter();
    readings.filter(|reading| table.readings.is_filled(*reading))
}

/// Words of one reading of so many rows: a value each, and of what is scraped an age of half a word.
pub(super) fn reading_words(reading: Reading, rows: usize) -> usize {
    rows + if reading.is_scraped() {
        rows.div_ceil(2)
    } else {
        0
    }
}

/// What stands in the first word of a record.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    /// Bit `n` is set where reading number `n` was filled.
    pub(super) readings: u8,
    /// Whether all rows are listed, so that none has to be named.
    pub(super) all: bool,
    pub(super) runs: usize,
}

impl Shape {
    fn word(self) -> u64 {
        self.rows as u64
            | u64::from(self.readings) << 32
            | u64::from(self.all) << 40
            | (self.runs as u64) << 48
    }

    pub(super) fn of(word: u64) -> Self {
        Self {
            rows: (word & u64::from(u32::MAX)) as usize,
            readings: (word >> 32) as u8,
            all: word >> 40 & 1 == 1,
            runs: (word >> 48) as usize,
        }
    }

    pub(super) fn readings(self) -> impl Iterator<Item = Reading> {
        let is_filled = move |reading: &Reading| self.readings >> *reading as u8 & 1 == 1;
        Reading::ALL.into_iter().filter(is_filled)
    }
}

/// What stands in the first word of a run.
#[derive(Clone, Copy)]
pub(super) struct RunShape {
    pub(super) profile: usize,
    pub(super) struck: bool,
    pub(super) drew: bool,
    pub(super) scores: usize,
    pub(super) terms: usize,
}

impl RunShape {
    fn word(self) -> u64 {
        self.profile as u64
            | u64::from(self.struck) << 30
            | u64::from(self.drew) << 31
            | (self.scores as u64) << 32
            | (self.terms as u64) << 48
    }

    pub(super) fn of(word: u64) -> Self {
        Self {
            profile: (word & 0x3fff_ffff) as usize,
            struck: word >> 30 & 1 == 1,
            drew: word >> 31 & 1 == 1,
            scores: usize::from((word >> 32) as u16),
            terms: usize::from((word >> 48) as u16),
        }
    }
}

pub(super) fn text_words(text: &str) -> usize {
    1 + text.len().div_ceil(8)
}

/// Which rows are written.
pub(super) enum Listed<'a> {
    All,
    Best(&'a [u32]),
}

pub(super) struct Writer<'a> {
    pub(super) words: &'a mut [u64],
    pub(super) at: usize,
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

    pub(super) fn text(&mut self, text: &str) {
        self.put(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(u64::from_le_bytes(word));
        }
    }
}

pub(super) fn write(writer: &mut Writer<'_>, facts: &Facts<'_>, table: &Table, best: &[u32]) {
    let all = table.rows <= FULL_ROWS;
    let rows = if all { table.rows } else { best.len() };
    let listed = if all { Listed::All } else { Listed::Best(best) };
    let shape = Shape {
        rows,
        readings: filled(table).fold(0, |bits, reading| bits | 1 << reading as u8),
        all,
        runs: table.runs().len(),
    };
    writer.put(shape.word());
    writer.put(facts.prompt_bytes as u64);
    writer.put(facts.queue_ns);
    writer.put(facts.pick_ns);
    writer.text(facts.request_id);
    writer.text(facts.model);
    if let Listed::Best(best) = listed {
        best.iter().for_each(|&row| writer.put(u64::from(row)));
    }
    for reading in filled(table) {
        let column = table.readings.column(reading);
        writer.column(&column.values, &listed, |value| value.to_bits());
        if reading.is_scraped() {
            let age = |at: usize| {
                let row = match listed {
                    Listed::All => at,
                    Listed::Best(best) => best[at] as usize,
                };
                // 0 stands for never.
                column
                    .age_ms(row, table.now)
                    .map_or(0, |age| u64::from(age.min(u32::MAX - 1)) + 1)
            };
            for at in (0..rows).step_by(2) {
                let second = if at + 1 < rows { age(at + 1) } else { 0 };
                writer.put(age(at) | second << 32);
            }
        }
    }
    for run in table.runs() {
        write_run(writer, run, &listed);
    }
}

pub(super) fn write_run(writer: &mut Writer<'_>, run: &ProfileRun, listed: &Listed<'_>) {
    let shape = RunShape {
        profile: run.profile,
        struck: has_struck(run),
        drew: run.draw.value.is_some(),
        scores: run.scores.len(),
        terms: run.terms.len(),
    };
    writer.put(shape.word());
    writer.put(run.draw.seed);
    writer.put(run.picks.len() as u64);
    run.draw.value.iter().for_each(|&value| writer.put(value));
    run.picks
        .iter()
        .for_each(|&pick| writer.put(u64::from(pick)));
    if shape.struck {
        writer.column(&run.struck_by, listed, |&by| u64::from(by));
    }
    writer.column(&run.total, listed, |total| total.to_bits());
    run.scores
        .iter()
        .chain(&run.terms)
        .for_each(|numbers| writer.column(numbers, listed, |number| number.to_bits()));
}

pub(super) struct Reader<'a> {
    pub(super) words: &'a [u64],
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn take(&mut self) -> u64 {
        self.at += 1;
        self.words[self.at - 1]
    }

    fn floats(&mut self, rows: usize) -> Vec<f64> {
        (0..rows).map(|_| f64::from_bits(self.take())).collect()
    }

    /// Ages in milliseconds; what is counted here is as old as the decision.
    fn ages(&mut self, reading: Reading, rows: usize) -> Vec<Option<u32>> {
        if !reading.is_scraped() {
            return vec![Some(0); rows];
        }
        let mut ages = Vec::with_capacity(rows + 1);
        for _ in 0..rows.div_ceil(2) {
            let pair = self.take();
            ages.extend([pair as u32, (pair >> 32) as u32].map(|age| age.checked_sub(1)));
        }
        ages.truncate(rows);
        ages
    }

    pub(super) fn text(&mut self) -> String {
        let len = self.take() as usize;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.take().to_le_bytes());
        }
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    plan: &Arc<Plan>,
    snapshot: &Arc<Snapshot>,
) -> (Decision, Meta) {
    let shape = Shape::of(reader.take());
    let rows = shape.rows;
    let mut meta = Meta {
        prompt_bytes: reader.take(),
        queue_ns: reader.take(),
        pick_ns: reader.take(),
        ..Meta::default()
    };
    meta.request_id = reader.text();
    meta.model = reader.text();
    let listed: Vec<u32> = if shape.all {
        (0..rows as u32).collect()
    } else {
        (0..rows).map(|_| reader.take() as u32).collect()
    };
    let readings = shape
        .readings()
        .map(|reading| ReadingColumn {
            reading,
            values: reader.floats(rows),
            age_ms: reader.ages(reading, rows),
        })
        .collect();
    let runs = (0..shape.runs).map(|_| read_run(reader, rows)).collect();
    let decision = Decision {
        plan: Arc::clone(plan),
        snapshot: Arc::clone(snapshot),
        readings,
        rows: listed,
        runs,
        truncated: !shape.all,
    };
    (decision, meta)
}

pub(super) fn read_run(reader: &mut Reader<'_>, rows: usize) -> FrozenRun {
    let shape = RunShape::of(reader.take());
    let (seed, picks) = (reader.take(), reader.take());
    let value = shape.drew.then(|| reader.take());
    let picks = (0..picks).map(|_| reader.take() as u32).collect();
    let struck_by = (0..rows)
        .map(|_| {
            if shape.struck {
                reader.take() as u16
            } else {
                0
            }
        })
        .collect();
    FrozenRun {
        profile: shape.profile,
        struck_by,
        total: reader.floats(rows),
        scores: (0..shape.scores).map(|_| reader.floats(rows)).collect(),
        terms: (0..shape.terms).map(|_| reader.floats(rows)).collect(),
        picks,
        draw: Draw { seed, value },
    }
}
