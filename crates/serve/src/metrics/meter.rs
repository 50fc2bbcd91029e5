//! What one request adds to the counts, from its decision to its end.

use std::sync::Arc;

use pointsman_core::exchange::event::{Effect, End, Outcome};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::Slot;
use pointsman_core::time::Tick;

use crate::metrics::cells::{ERROR_CODES, LaneCells, PD_WORDS, SeriesCells, Tables};
use crate::metrics::decided::Decided;
use crate::metrics::names::{DEFAULT_FLOW, Said, Series};
use crate::metrics::probe;

/// The term by which a scorer says when it expects the first token.
const PREDICTED_TTFT: &str = "ttftMs";

/// One request's meter.
#[derive(Default)]
pub struct Meter {
    model: Option<Arc<SeriesCells>>,
    /// Where the request counts in flight.
    sent_to: Option<Slot>,
    /// Where a request counts that may be refused before its decision.
    asked_for: Option<Arc<SeriesCells>>,
    streamed: bool,
    arrived: Tick,
    picked_at: Tick,
    row: Option<usize>,
    /// Prompt tokens that the picked endpoint is believed to hold.
    predicted_tokens: Option<u64>,
    predicted_ttft: Option<f64>,
    first_part: Option<Tick>,
    last_part: Tick,
    bytes: u64,
}

impl Meter {
    /// This is what the request wants, and it may never come to a decision.
    pub fn asks_for(&mut self, cells: &LaneCells, request: &InferenceRequest<'_>) {
        self.asked_for = Some(cells.series(said(request)));
    }

    /// The request was decided, for the first time or again after a failed attempt.
    pub fn decided(&mut self, cells: &LaneCells, decided: &Decided<'_>) {
        let again = self.model.is_some();
        let model = match self.model.take() {
            Some(model) => model,
            None => cells.series(said(decided.request)),
        };
        cells
            .scheduling
            .observe(decided.ended.since(decided.began).as_secs_f64());
        if !again {
            self.streamed = decided.request.stream;
            self.arrived = decided.arrived;
            model.begun.add(1);
            let processing = decided.ended.since(decided.arrived);
            cells.request_processing.observe(processing.as_secs_f64());
        }
        if let Effect::Forward { row, pd, .. } = *decided.effect {
            self.row = Some(row);
            self.picked_at = decided.ended;
            if !again {
                model.scheduled.add(1);
                model.request_size.observe(decided.bytes as f64);
            }
            let word = pd.and_then(|pd| PD_WORDS.iter().position(|word| *word == pd.word));
            if let Some(at) = word {
                model.pd[at].add(1);
            }
            let mut tables = cells.tables.lock();
            let endpoint = &decided.snapshot.endpoints[row];
            tables.picked(endpoint, &model.series.target);
            self.move_to(Some(endpoint.slot), &mut tables, &model.series);
            self.predict(&mut tables, decided, row);
            probe::sample(&mut tables, decided);
        } else {
            model.unpicked.add(1);
            self.move_to(None, &mut cells.tables.lock(), &model.series);
        }
        self.model = Some(model);
    }

    /// The request counts on another endpoint from now on, or on none.
    fn move_to(&mut self, slot: Option<Slot>, tables: &mut Tables, series: &Series) {
        if let Some(before) = self.sent_to.take() {
            tables.left(before, series);
        }
        if let Some(slot) = slot {
            tables.sent(slot, series);
        }
        self.sent_to = slot;
    }

    /// Another endpoint than the one picked has the request.
    pub fn moved(&mut self, cells: &LaneCells, slot: Slot) {
        if let Some(model) = self.model.clone() {
            let mut tables = cells.tables.lock();
            self.move_to(Some(slot), &mut tables, &model.series);
        }
    }

    /// Notes what was believed of the picked row.
    fn predict(&mut self, tables: &mut Tables, decided: &Decided<'_>, row: usize) {
        self.predicted_tokens = None;
        for (named, found) in decided
            .plan
            .producers
            .iter()
            .zip(decided.table.produced.prefixes())
        {
            let matched = found.matched.get(row).copied().unwrap_or(0);
            let tokens = u64::from(matched) * u64::from(found.block_tokens);
            let _ = self.predicted_tokens.get_or_insert(tokens);
            if found.total > 0
                && let Some(cells) = tables.producer(&named.name, named.kind)
            {
                let share = f64::from(matched) / f64::from(found.total);
                cells.ratio.observe(share);
                cells.bytes.observe(tokens as f64 * 4.0);
            }
        }
        self.predicted_ttft = predicted_ttft(decided, row);
    }

    /// The answer is a stream, whatever the request asked for.
    pub fn streams(&mut self) {
        self.streamed = true;
    }

    /// Whether the moment of the next part matters.
    pub fn wants_time(&self) -> bool {
        self.model.is_some() && (self.streamed || self.first_part.is_none())
    }

    /// A part of the answer's body passed at `now`, if that was asked for.
    pub fn passed(&mut self, bytes: usize, now: Option<Tick>) {
        self.bytes += bytes as u64;
        let (Some(now), Some(model)) = (now.filter(|_| bytes > 0), &self.model) else {
            return;
        };
        if self.first_part.is_none() {
            self.first_part = Some(now);
        } else if self.streamed {
            let gap = now.since(self.last_part);
            model.between_tokens.observe(gap.as_secs_f64());
        }
        self.last_part = now;
    }

    /// The request is over.
    pub fn ended(&mut self, cells: &LaneCells, snapshot: &Snapshot, outcome: &Outcome) {
        let error = error_of(outcome);
        let model = match self.model.take() {
            Some(model) => {
                model.ended.add(1);
                if self.sent_to.is_some() {
                    self.move_to(None, &mut cells.tables.lock(), &model.series);
                }
                model
            }
            // It never came to a decision: all there is to count is that it was refused or failed, and what model it wanted,
            // if it came so far as to say so.
            None => match error {
                Some(at) => {
                    cells
                        .request_processing
                        .observe(outcome.total.as_secs_f64());
                    let asked_for = self.asked_for.take();
                    let nobody = || cells.series(said(&InferenceRequest::default()));
                    return asked_for.unwrap_or_else(nobody).errors[at].add(1);
                }
                None => return,
            },
        };
        if let Some(at) = error {
            model.errors[at].add(1);
        }
        if !matches!(outcome.end, End::Served | End::Broken) {
            return;
        }
        let total = outcome.total.as_secs_f64();
        model.duration.observe(total);
        model.response_size.observe(self.bytes as f64);
        if let Some(first) = self.first_part {
            let since = first.since(self.arrived).as_secs_f64();
            model.first_token[usize::from(self.streamed)].observe(since);
        }
        self.compare_times(cells, outcome);
        let Some(usage) = outcome.usage else { return };
        for (tokens, histogram) in [
            (usage.prompt_tokens, &model.input_tokens),
            (usage.completion_tokens, &model.output_tokens),
            (usage.cached_tokens.unwrap_or(0), &model.cached_tokens),
        ] {
            if tokens > 0 {
                histogram.observe(f64::from(tokens));
            }
        }
        let generated = f64::from(usage.completion_tokens);
        if usage.completion_tokens > 0 {
            model.per_token.observe(total / generated);
        }
        if let Some(first) = self.first_part.filter(|_| self.streamed)
            && usage.completion_tokens > 1
        {
            let after_first = self.last_part.since(first).as_secs_f64();
            model
                .streamed_per_token
                .observe(after_first / (generated - 1.0));
        }
        if let Some(cached) = usage.cached_tokens {
            let tokens = (usage.prompt_tokens.into(), cached.into());
            self.compare_hits(cells, snapshot, tokens);
        }
    }

    /// What followed an endpoint's answer that ended at `end` is done.
    pub fn written(&self, cells: &LaneCells, end: Tick, now: Tick) {
        let took = now.since(end).as_secs_f64();
        cells.response_processing.observe(took);
    }

    fn compare_times(&self, cells: &LaneCells, outcome: &Outcome) {
        let (Some(predicted), Some(first)) = (self.predicted_ttft, outcome.first_byte) else {
            return;
        };
        let after_pick = (self.arrived + first).since(self.picked_at).as_secs_f64();
        let off = after_pick - predicted;
        if off >= 0.0 {
            cells.late.observe(off);
        } else {
            cells.early.observe(-off);
        }
    }

    fn compare_hits(&self, cells: &LaneCells, snapshot: &Snapshot, (prompt, actual): (u64, u64)) {
        let (Some(row), Some(predicted)) = (self.row, self.predicted_tokens) else {
            return;
        };
        let endpoint = &snapshot.endpoints[row];
        let mut tables = cells.tables.lock();
        if let Some(cells) = tables.endpoint(endpoint.slot, endpoint) {
            cells.prompt += prompt;
            cells.predicted += predicted;
            cells.actual += actual;
            cells.false_hits += u64::from(predicted > 0 && actual == 0);
        }
    }
}

/// What a request is counted under.
fn said<'a>(request: &InferenceRequest<'a>) -> Said<'a> {
    let or = |name: &'a str, other: &'a str| if name.is_empty() { other } else { name };
    Said {
        model: or(request.asked_model, request.model),
        target: request.model,
        flow: or(request.flow, DEFAULT_FLOW),
        priority: request.priority,
    }
}

/// The time to the first token that a scorer of the plan expected of the picked row, in seconds.
fn predicted_ttft(decided: &Decided<'_>, row: usize) -> Option<f64> {
    let runs = decided.table.runs();
    let run = runs
        .iter()
        .rfind(|run| run.picks.first() == Some(&(row as u32)))?;
    let mut at = 0;
    for weighted in &decided.plan.profiles.get(run.profile)?.scorers {
        let terms = weighted.scorer.plugin.terms();
        if let Some(found) = terms.iter().position(|term| *term == PREDICTED_TTFT) {
            return Some(run.terms.get(at + found)?.get(row)? / 1e3);
        }
        at += terms.len();
    }
    None
}

impl LaneCells {
    /// Counts an answer that says an error to a request which nothing else is counted of.
    pub fn failed_unasked(&self) {
        let series = self.series(said(&InferenceRequest::default()));
        if let Some(at) = place_of("ModelServerError") {
            series.errors[at].add(1);
        }
    }
}

fn place_of(code: &str) -> Option<usize> {
    ERROR_CODES.iter().position(|known| *known == code)
}

/// Which error a request ended in, as a place in [`ERROR_CODES`].
fn error_of(outcome: &Outcome) -> Option<usize> {
    let code = match outcome.end {
        End::Served if outcome.status.is_some_and(|status| status >= 400) => "ModelServerError",
        End::Served => return None,
        // That it gave way is no fault of the engine.
        End::Broken if outcome.reason == Some("evicted") => "ResourceExhausted",
        End::Broken => "ModelServerError",
        // That a client leaves is an end like another.
        End::ClientGone => return None,
        End::Rejected => match outcome.reason.unwrap_or_default() {
            "malformed" => "BadRequest",
            "body-too-large" => "RequestEntityTooLarge",
            "no-route" | "method-not-allowed" => "NotFound",
            "not-cached" => "PreconditionFailed",
            // An empty pool has a reason of its own.
            "filtered-out" | "saturated" | "queue-full" | "ttl-expired" | "evicted" => {
                "ResourceExhausted"
            }
            "no-endpoints" | "shutting-down" | "client-gone" => "ServiceUnavailable",
            "upstream-unreachable" | "upstream-timeout" | "upstream-broke" => "ModelServerError",
            _ => "Internal",
        },
    };
    place_of(code)
}
