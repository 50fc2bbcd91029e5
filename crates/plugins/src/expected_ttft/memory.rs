//! All that has been learned, by model and by endpoint, and how it is learned; survives a new plan.
//!
//! Rows of models and pages of endpoints are made when first needed and never go, so that picks read them without
//! locks. The first model stands for all: one that has not been seen often enough is predicted by it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pointsman_core::contract::learner::Taught;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Slot, Slots};
use pointsman_core::model::usage::Usage;
use pointsman_core::time::Tick;

use crate::expected_ttft::endpoint::{Endpoint, Inner};
use crate::expected_ttft::model::{Model, Work};
use crate::expected_ttft::number::Number;
use crate::expected_ttft::queue::Entry;

/// Models that are told apart; later ones share what is known of all.
const MODELS: usize = 64;

/// Endpoints of one page, and pages.
const PAGE: usize = 64;
const PAGES: usize = 1_024;

/// Prefills after which a model is predicted by itself.
const OWN: f64 = 8.0;

/// Prefills of a model and of an endpoint that are learned from as soon as an answer begins; later ones wait for its
/// end, which may tell how much was cached.
const EAGER: f64 = 8.0;
const EAGER_THERE: f64 = 3.0;

/// Answers with fewer tokens tell nothing of the time between them.
const FEW: u32 = 4;

/// Seats that engines are taken to have at least where none has shown how many. More show at once; too few cost little,
/// as one of four ends soon.
const SEATS: f64 = 4.0;

/// The factors of endpoints are brought back to a median of 1 when it has moved by this share.
const MOVED: f64 = 0.02;

/// Everything that was learned.
#[derive(Debug)]
pub struct Memory {
    models: [OnceLock<Box<Model>>; MODELS],
    pages: Box<[OnceLock<Box<[Endpoint]>>]>,
    /// Seats of a middling endpoint; 0 while none is known.
    pub seats: Number,
    /// The most requests that have been seen to run at once at any endpoint.
    most: Number,
    /// Whether there ever was a surcharge.
    surcharges: AtomicBool,
}

impl Default for Memory {
    fn default() -> Self {
        let memory = Self {
            models: [const { OnceLock::new() }; MODELS],
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
            seats: Number::default(),
            most: Number::default(),
            surcharges: AtomicBool::new(false),
        };
        memory.models[0].get_or_init(|| Box::new(Model::new("")));
        memory
    }
}

impl Memory {
    /// The model that stands for all.
    pub fn any_model(&self) -> &Model {
        self.models[0].get().expect("made with the memory")
    }

    /// The models seen; the first stands for all.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models
            .iter()
            .map_while(|model| model.get().map(AsRef::as_ref))
    }

    /// The row of a model, 0 for one that has not been seen.
    pub fn model_row(&self, name: &str) -> usize {
        self.models()
            .position(|model| model.name() == name)
            .unwrap_or(0)
    }

    /// The row of a model, which is made if there is room.
    fn add_model(&self, name: &str) -> usize {
        for (row, place) in self.models.iter().enumerate() {
            if place.get_or_init(|| Box::new(Model::new(name))).name() == name {
                return row;
            }
        }
        0
    }

    /// The model that predicts for the one of this row: itself, once it has been seen often enough.
    pub fn predictor(&self, row: usize) -> &Model {
        match self.models[row].get() {
            Some(model) if model.prefill_samples() >= OWN => model,
            _ => self.any_model(),
        }
    }

    /// The endpoint of a slot, if anything was ever sent there.
    pub fn endpoint(&self, slot: Slot) -> Option<&Endpoint> {
        let at = slot.0 as usize;
        self.pages.get(at / PAGE)?.get()?.get(at % PAGE)
    }

    fn add_endpoint(&self, slot: Slot) -> Option<&Endpoint> {
        let at = slot.0 as usize;
        let page = || (0..PAGE).map(|_| Endpoint::default()).collect();
        self.pages.get(at / PAGE)?.get_or_init(page).get(at % PAGE)
    }

    /// A request was sent; gives its number at the endpoint.
    pub fn sent(&self, slots: &Slots, slot: Slot, model: &str, mut entry: Entry) -> Option<u32> {
        entry.model = self.add_model(model);
        let endpoint = self.add_endpoint(slot)?;
        let mut inner = endpoint.at(slots.epoch(slot));
        let now = entry.sent;
        endpoint.look(&mut inner, slot, slots, now);
        if entry.loss > 0.0 {
            self.surcharges.store(true, Ordering::Relaxed);
            let surcharge = endpoint.surcharge.get() + entry.loss;
            endpoint.surcharge.set(surcharge.min(entry.patience));
        }
        let number = inner.queue.push(entry);
        self.settle(endpoint, &mut inner, now);
        Some(number)
    }

    /// Seats of an endpoint that has never shown how many it has, only that it has so many: those of a middling one;
    /// if that is unknown too, as many as have been seen taken anywhere.
    pub fn seats_elsewhere(&self, at_least: f64) -> f64 {
        match (self.seats.get(), self.most.get()) {
            (fleet, _) if fleet > 0.0 => fleet.max(at_least),
            (_, most) if most > 0.0 => most.max(SEATS),
            _ => f64::INFINITY,
        }
    }

    /// Lets requests begin where there are seats, and publishes.
    fn settle(&self, endpoint: &Endpoint, inner: &mut Inner, now: Tick) {
        let known = inner.seats.known();
        if inner.seats.at_least() > self.most.get() {
            self.most.set(inner.seats.at_least());
        }
        let seats = if known > 0.0 {
            if self.seats.get() <= 0.0 {
                self.seats.set(known);
            }
            known
        } else {
            self.seats_elsewhere(inner.seats.at_least())
        };
        inner.queue.begin(seats, now);
        endpoint.publish(inner);
    }

    /// The head of an answer arrived.
    pub fn head(&self, slot: Slot, number: u32, status: u16, now: Tick) {
        let Some(endpoint) = self.endpoint(slot) else {
            return;
        };
        let mut inner = endpoint.inner();
        let Some(entry) = inner.queue.get(number) else {
            return;
        };
        entry.head = Some(now);
        entry.failed = !(200..300).contains(&status);
        if entry.streams && !entry.failed {
            // It runs, whatever was thought of seats.
            let _ = *entry.begun.get_or_insert(now);
            let entry = entry.clone();
            let took = now.since(entry.sent).as_millis_f64();
            self.any_model()
                .learn_error((took - entry.wait - entry.prefill).abs());
            let running = inner.queue.answering() as f64;
            if !Endpoint::is_scraped(&inner) && inner.queue.someone_waits(now) {
                inner.seats.full(running, now);
            } else {
                inner.seats.runs(running);
            }
            let eager = inner.speed.prefill_samples() < EAGER_THERE
                || self.predictor(entry.model).prefill_samples() < EAGER;
            if eager && entry.began_at_once() {
                self.learn_prefill(&mut inner, &entry, entry.work, took);
                if let Some(entry) = inner.queue.get(number) {
                    entry.learned = true;
                }
            }
        }
        self.settle(endpoint, &mut inner, now);
    }

    /// A request is over.
    pub fn ended(&self, slot: Slot, number: u32, taught: &Taught, now: Tick) {
        let Some(endpoint) = self.endpoint(slot) else {
            return;
        };
        let mut inner = endpoint.inner();
        let load = inner.queue.entries().len() as f64 - 1.0;
        let Some(entry) = inner.queue.remove(number) else {
            return;
        };
        if taught.complete
            && !entry.failed
            && taught.status.is_some_and(|s| (200..300).contains(&s))
        {
            self.learn(&mut inner, &entry, taught, load, now);
        }
        self.settle(endpoint, &mut inner, now);
    }

    fn learn(&self, inner: &mut Inner, entry: &Entry, taught: &Taught, load: f64, now: Tick) {
        inner.learned_at = now;
        let own = self.models[entry.model].get();
        let models = || {
            std::iter::once(self.any_model())
                .chain(own.map(AsRef::as_ref).filter(|_| entry.model > 0))
        };
        let load = (load + entry.work.load) / 2.0;
        let predicted = self.predictor(entry.model).token_millis(load);
        let mut work = entry.work;
        if let Some(usage) = &taught.usage {
            let prompt = f64::from(usage.prompt_tokens);
            if prompt > 0.0 && entry.prompt_bytes > 0.0 {
                models().for_each(|model| model.learn_bytes(entry.prompt_bytes, prompt));
                work.uncached = self.uncached(inner, entry, usage);
            }
        }
        let tokens = taught.usage.map_or(0, |usage| usage.completion_tokens);
        let took = now.since(entry.sent).as_millis_f64();
        if !entry.streams {
            let (Some(_), true) = (taught.usage, entry.began_at_once()) else {
                return;
            };
            let tokens = f64::from(tokens.max(1));
            models().for_each(|model| model.learn_length(tokens));
            let speed = inner.speed.prefill();
            let splits =
                models().map(|model| model.learn_whole(work.uncached, tokens, took / speed));
            if let Some(prefill) = splits.last().flatten() {
                self.learn_prefill(inner, entry, work, prefill * speed);
                let token = (took - prefill * speed).max(0.0) / tokens;
                self.learn_token(inner, entry, load, token);
            }
            return;
        }
        let Some(head) = entry.head else { return };
        if entry.began_at_once() && !entry.learned {
            self.learn_prefill(inner, entry, work, head.since(entry.sent).as_millis_f64());
        }
        let answer = now.since(head).as_millis_f64();
        if tokens == 0 {
            // The engine does not say: as many as it would make in the time.
            let tokens = 1.0 + answer / (predicted * inner.speed.pace());
            models().for_each(|model| model.learn_length(tokens));
            return;
        }
        models().for_each(|model| model.learn_length(f64::from(tokens)));
        if tokens >= FEW {
            self.learn_token(inner, entry, load, answer / f64::from(tokens - 1));
        }
    }

    /// Tokens of the prompt that were not cached, as reported where that is known to be done, else as believed.
    fn uncached(&self, inner: &mut Inner, entry: &Entry, usage: &Usage) -> f64 {
        // Some engines write a zero where they look at nothing.
        inner.reports_cached |= usage.cached_tokens.is_some_and(|tokens| tokens > 0);
        let cached = match usage.cached_tokens {
            Some(tokens) if inner.reports_cached => f64::from(tokens),
            _ => entry.cached,
        };
        (f64::from(usage.prompt_tokens) - cached).max(1.0)
    }

    fn learn_prefill(&self, inner: &mut Inner, entry: &Entry, work: Work, took: f64) {
        let model = self.predictor(entry.model);
        let expected = model.prefill().millis(&work);
        if model.prefill_samples() > 0.0 && expected > 0.0 {
            inner.speed.learn_prefill(took / expected);
        }
        let took = took / inner.speed.prefill();
        self.any_model().learn_prefill(&work, took);
        if entry.model > 0
            && let Some(own) = self.models[entry.model].get()
        {
            own.learn_prefill(&work, took);
        }
    }

    fn learn_token(&self, inner: &mut Inner, entry: &Entry, load: f64, took: f64) {
        let model = self.predictor(entry.model);
        if model.token_samples() > 0.0 {
            inner.speed.learn_pace(took / model.token_millis(load));
        }
        let took = took / inner.speed.pace();
        self.any_model().learn_token(load, took);
        if entry.model > 0
            && let Some(own) = self.models[entry.model].get()
        {
            own.learn_token(load, took);
        }
    }

    /// Whether any endpoint may have a surcharge.
    pub fn has_surcharges(&self) -> bool {
        self.surcharges.load(Ordering::Relaxed)
    }

    /// A request that would have been answered sooner at this endpoint goes elsewhere.
    pub fn clear_surcharge(&self, slot: Slot) {
        if let Some(endpoint) = self.endpoint(slot) {
            endpoint.surcharge.set(0.0);
        }
    }

    /// Looks at all gauges, and lets what is old fade.
    pub fn maintain(&self, now: Tick, snapshot: &Snapshot, slots: &Slots) {
        let (mut seats, mut prefills, mut paces) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in snapshot.slots() {
            let Some(endpoint) = self.add_endpoint(slot) else {
                continue;
            };
            let mut inner = endpoint.at(slots.epoch(slot));
            endpoint.look(&mut inner, slot, slots, now);
            if inner.seats.known() > 0.0 {
                seats.push(inner.seats.known());
            }
            if inner.speed.samples() > 0.0 {
                prefills.push(inner.speed.prefill());
                paces.push(inner.speed.pace());
                Endpoint::relax(&mut inner, now);
            }
            endpoint.publish(&inner);
        }
        if let Some(seats) = median(&mut seats) {
            self.seats.set(seats);
        }
        let by = (
            median(&mut prefills).unwrap_or(1.0),
            median(&mut paces).unwrap_or(1.0),
        );
        if (by.0 - 1.0).abs() > MOVED || (by.1 - 1.0).abs() > MOVED {
            self.rebase(by, snapshot, slots);
        }
    }

    /// Makes the median endpoint the measure of all.
    fn rebase(&self, by: (f64, f64), snapshot: &Snapshot, slots: &Slots) {
        self.models().for_each(|model| model.scale(by));
        for &slot in snapshot.slots() {
            if let Some(endpoint) = self.endpoint(slot) {
                let mut inner = endpoint.at(slots.epoch(slot));
                inner.speed.rebase(by);
                endpoint.publish(&inner);
            }
        }
    }
}

/// The middle value, the lower one of two; `None` without any.
fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
