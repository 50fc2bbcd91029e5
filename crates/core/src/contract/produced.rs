//! What producers work out once per decision, for all profiles: which part of the prompt each candidate holds.

use std::sync::Arc;

use crate::index::block_hash::{PromptHashes, Scheme};
use crate::model::request::InferenceRequest;

/// How much of the request's prompt each candidate is believed or reported to hold.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatch {
    producer: Option<Arc<str>>,
    /// Blocks held, by row.
    pub matched: Vec<u32>,
    /// Blocks of the request; 0 when it has no prompt or one that is too short.
    pub total: u32,
    /// Tokens per block; of a scheme that counts bytes a quarter of them.
    pub block_tokens: u32,
    /// The hashes that were looked up, as an index into [`Hasher::hashes`]; `None` if there was nothing to hash.
    pub hashes: Option<u32>,
}

impl PrefixMatch {
    /// The instance name of the producer that filled it.
    pub fn producer(&self) -> &str {
        self.producer.as_deref().unwrap_or("")
    }

    /// Empties it for `rows` candidates; keeps the memory.
    pub fn clear(&mut self, rows: usize) {
        self.matched.clear();
        self.matched.resize(rows, 0);
        (self.total, self.block_tokens, self.hashes) = (0, 0, None);
    }
}

/// The hashes of one request's prompt: each scheme is computed once, whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    sets: Vec<(Scheme, PromptHashes)>,
    used: usize,
}

impl Hasher {
    /// Forgets the last request; keeps the memory.
    pub fn begin(&mut self) {
        self.used = 0;
    }

    /// The hashes of the request's prompt under `scheme`; `None` without a prompt.
    pub fn hash(&mut self, scheme: Scheme, request: &InferenceRequest<'_>) -> Option<u32> {
        let prompt = request.prompt?;
        if let Some(at) = self.sets[..self.used]
            .iter()
            .position(|(of, _)| *of == scheme)
        {
            return Some(at as u32);
        }
        if self.used == self.sets.len() {
            self.sets.push((scheme, PromptHashes::default()));
        }
        let at = self.used;
        self.used += 1;
        let (of, hashes) = &mut self.sets[at];
        *of = scheme;
        hashes.compute(scheme, request.model, request.cache_salt, prompt.0);
        Some(at as u32)
    }

    /// The hashes that [`Hasher::hash`] gave this number to.
    pub fn hashes(&self, at: u32) -> &PromptHashes {
        &self.sets[at as usize].1
    }
}

/// Everything that the plan's producers worked out for the current decision.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    prefixes: Vec<PrefixMatch>,
    used: usize,
    /// The prompt's hashes.
    pub hasher: Hasher,
}

impl Produced {
    /// Starts a new decision.
    pub fn begin(&mut self) {
        self.used = 0;
        self.hasher.begin();
    }

    /// A place for the next producer to fill, for `rows` candidates, and the hasher it may use.
    pub fn next(&mut self, producer: &Arc<str>, rows: usize) -> (&mut PrefixMatch, &mut Hasher) {
        if self.used == self.prefixes.len() {
            self.prefixes.push(PrefixMatch::default());
        }
        self.used += 1;
        let place = &mut self.prefixes[self.used - 1];
        if !place
            .producer
            .as_ref()
            .is_some_and(|named| Arc::ptr_eq(named, producer))
        {
            place.producer = Some(Arc::clone(producer));
        }
        place.clear(rows);
        (place, &mut self.hasher)
    }

    /// What the producer of this instance name found.
    pub fn prefix(&self, producer: &str) -> Option<&PrefixMatch> {
        self.prefixes()
            .iter()
            .find(|found| found.producer() == producer)
    }

    /// What the producers found, in the order of the plan.
    pub fn prefixes(&self) -> &[PrefixMatch] {
        &self.prefixes[..self.used]
    }
}
