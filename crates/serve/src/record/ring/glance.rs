//! A record at a glance: what a line of a list shows, read without the table's numbers.
//!
//! Most words of a record are skipped; looked at are its texts, the first profile's totals and what crossed rows out.
//! So a list of a hundred records holds the ring's lock for some microseconds.

use std::sync::Arc;

use pointsman_core::exchange::event::Outcome;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::schedule::plan::Plan;

use crate::record::ring::layout::{Reader, RunShape, Shape, reading_words};
use crate::record::ring::{Entry, RecordId, Ring};

/// What a line says of a record.
#[derive(Clone)]
pub struct Glance {
    /// The record's number within its ring.
    pub number: u64,
    /// Wall-clock time of the arrival, nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// The request id; other records may have the same.
    pub request_id: String,
    /// The model asked for.
    pub model: String,
    /// How long the decision took, nanoseconds.
    pub pick_ns: u64,
    /// The membership that rows belong to.
    pub snapshot: Arc<Snapshot>,
    /// The plan that decided.
    pub plan: Arc<Plan>,
    /// Index in the plan of the first profile that ran; `None` if none did.
    pub profile: Option<usize>,
    /// The first pick of every profile that ran and picked.
    pub picks: Vec<u32>,
    /// How many candidates the first profile scored, of those that are listed.
    pub scored: u32,
    /// How many of them share the best total.
    pub best: u32,
    /// By what the first profile's rows were crossed out (as in the table), and how many.
    pub struck: Vec<(u16, u32)>,
    /// Whether only the best of a large pool are listed.
    pub truncated: bool,
    /// How it ended; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

impl Ring {
    /// The number that the next record gets: how many there have been.
    pub fn next_number(&self) -> u64 {
        self.next_id
    }

    /// The newest records first, at most `limit`, down to the one with the number `from`.
    pub fn glances(&self, from: u64, limit: usize) -> Vec<Glance> {
        self.entries
            .iter()
            .rev()
            .take_while(|entry| entry.id >= from)
            .take(limit)
            .map(|entry| self.glance_at(entry))
            .collect()
    }

    /// One record by its number, if it is still there.
    pub fn glance(&self, number: u64) -> Option<Glance> {
        let entry = self.entries.get(self.place(RecordId(number))?)?;
        Some(self.glance_at(entry))
    }

    fn glance_at(&self, entry: &Entry) -> Glance {
        let mut reader = Reader {
            words: &self.arena[entry.start..entry.start + entry.words],
            at: 0,
        };
        let shape = Shape::of(reader.take());
        let rows = shape.rows;
        let _prompt_bytes = reader.take();
        let _queue_ns = reader.take();
        let pick_ns = reader.take();
        let mut glance = Glance {
            number: entry.id,
            at_unix_ns: entry.at_unix_ns,
            request_id: reader.text(),
            model: reader.text(),
            pick_ns,
            snapshot: Arc::clone(&entry.snapshot),
            plan: Arc::clone(&entry.plan),
            profile: None,
            picks: Vec::with_capacity(1),
            scored: 0,
            best: 0,
            struck: Vec::new(),
            truncated: !shape.all,
            outcome: entry.outcome.clone(),
        };
        let listed = if shape.all { 0 } else { rows };
        let readings = shape.readings().map(|r| reading_words(r, rows));
        reader.at += listed + readings.sum::<usize>();
        for run in 0..shape.runs {
            glance.add_run(&mut reader, rows, run == 0);
        }
        glance
    }
}

impl Glance {
    /// Reads one run, as `write` of the ring lays it out; only the `first` is looked into.
    fn add_run(&mut self, reader: &mut Reader<'_>, rows: usize, first: bool) {
        let shape = RunShape::of(reader.take());
        let _seed = reader.take();
        let picks = reader.take() as usize;
        reader.at += usize::from(shape.drew);
        if picks > 0 {
            self.picks.push(reader.words[reader.at] as u32);
        }
        reader.at += picks;
        let struck_by = shape.struck.then(|| reader.slice(rows));
        let totals = reader.slice(rows);
        reader.at += rows * (shape.scores + shape.terms);
        if !first {
            return;
        }
        self.profile = Some(shape.profile);
        let mut highest = f64::NEG_INFINITY;
        for (row, &total) in totals.iter().enumerate() {
            let by = struck_by.map_or(0, |column| column[row] as u16);
            if by != 0 {
                match self.struck.iter_mut().find(|(known, _)| *known == by) {
                    Some((_, count)) => *count += 1,
                    None => self.struck.push((by, 1)),
                }
                continue;
            }
            self.scored += 1;
            let total = f64::from_bits(total);
            if total > highest {
                (highest, self.best) = (total, 0);
            }
            self.best += u32::from(total == highest);
        }
    }
}

impl<'a> Reader<'a> {
    fn slice(&mut self, words: usize) -> &'a [u64] {
        self.at += words;
        &self.words[self.at - words..self.at]
    }
}
