//! What producers work out once per decision, for all profiles: which part of the prompt each candidate holds, how long
//! the prompt is, which session it belongs to, what load the candidates carry.

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

/// The token load of the candidates, as one producer counts it.
#[derive(Clone, Debug, Default)]
pub struct Load {
    producer: Option<Arc<str>>,
    /// Tokens in flight, by row.
    pub in_flight: Vec<u64>,
    /// Tokens of this request that each candidate would have to compute, by row.
    pub uncached: Vec<u64>,
}

/// The session of a request, as one producer finds it.
#[derive(Clone, Debug, Default)]
struct Session {
    producer: Option<Arc<str>>,
    id: String,
}

/// Makes `place` that of `producer`; the name is counted up only when it changes.
fn claim(place: &mut Option<Arc<str>>, producer: &Arc<str>) {
    if !place.as_ref().is_some_and(|own| Arc::ptr_eq(own, producer)) {
        *place = Some(Arc::clone(producer));
    }
}

/// Everything that the plan's producers worked out for the current decision.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    prefixes: Vec<PrefixMatch>,
    used: usize,
    /// The prompt's hashes.
    pub hasher: Hasher,
    /// Tokens of the prompt; `None` where nobody counts them or there is no prompt.
    pub tokens: Option<u32>,
    loads: Vec<Load>,
    loads_used: usize,
    sessions: Vec<Session>,
    sessions_used: usize,
}

impl Produced {
    /// Starts a new decision.
    pub fn begin(&mut self) {
        (self.used, self.loads_used, self.sessions_used) = (0, 0, 0);
        self.tokens = None;
        self.hasher.begin();
    }

    /// A place for the next producer to fill, for `rows` candidates, and the hasher it may use.
    pub fn next(&mut self, producer: &Arc<str>, rows: usize) -> (&mut PrefixMatch, &mut Hasher) {
        if self.used == self.prefixes.len() {
            self.prefixes.push(PrefixMatch::default());
        }
        self.used += 1;
        let place = &mut self.prefixes[self.used - 1];
        claim(&mut place.producer, producer);
        place.clear(rows);
        (place, &mut self.hasher)
    }

    /// What the producer of this instance name found.
    pub fn prefix(&self, producer: &str) -> Option<&PrefixMatch> {
        self.prefixes()
            .iter()
            .find(|found| found.producer() == producer)
    }

    /// A place for the load that `producer` counts, emptied for `rows` candidates; its memory is kept.
    pub fn next_load(&mut self, producer: &Arc<str>, rows: usize) -> &mut Load {
        if self.loads_used == self.loads.len() {
            self.loads.push(Load::default());
        }
        self.loads_used += 1;
        let place = &mut self.loads[self.loads_used - 1];
        claim(&mut place.producer, producer);
        for column in [&mut place.in_flight, &mut place.uncached] {
            column.clear();
            column.resize(rows, 0);
        }
        place
    }

    /// The load that the producer of this instance name counts.
    pub fn load(&self, producer: &str) -> Option<&Load> {
        self.loads[..self.loads_used]
            .iter()
            .find(|load| load.producer.as_deref() == Some(producer))
    }

    /// Notes the session that `producer` finds.
    pub fn add_session(&mut self, producer: &Arc<str>, id: &str) {
        if self.sessions_used == self.sessions.len() {
            self.sessions.push(Session::default());
        }
        self.sessions_used += 1;
        let place = &mut self.sessions[self.sessions_used - 1];
        claim(&mut place.producer, producer);
        place.id.clear();
        place.id.push_str(id);
    }

    /// The session that the producer of this instance name found; that of the first one where the name is empty.
    pub fn session(&self, producer: &str) -> Option<&str> {
        let found = self.sessions[..self.sessions_used]
            .iter()
            .find(|one| producer.is_empty() || one.producer.as_deref() == Some(producer))?;
        Some(&found.id)
    }

    /// What the producers found, in the order of the plan.
    pub fn prefixes(&self) -> &[PrefixMatch] {
        &self.prefixes[..self.used]
    }
}
