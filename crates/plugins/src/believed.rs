//! Prefixes that endpoints are believed to hold because requests with them were sent there: the producer that the
//! prefix plugins of both generations are made of.
//!
//! The prompt is hashed block by block ([`Rules`] say in which scheme), the hashes are looked up in a
//! [`BelievedIndex`], and after the pick they are entered for the endpoint that got the request. What is
//! believed of an endpoint ends when it leaves the pool or its engine restarts, by age where a time to live is set,
//! and by eviction: the index holds no more blocks of an endpoint than its cache has.

use std::sync::Arc;

use pointsman_core::config::own::OwnSettings;
use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::{Hasher, PrefixMatch};
use pointsman_core::contract::roles::{Held, Holdings, Producer, State, Targets};
use pointsman_core::index::believed::BelievedIndex;
use pointsman_core::index::believed::limits::{Limits, MatchMode, Recorded};
use pointsman_core::index::block_hash::Scheme;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::Slots;
use pointsman_core::time::Tick;

/// Bytes that stand for a token where nothing is tokenised.
pub const BYTES_PER_TOKEN: u32 = 4;

/// How prompts are cut and endpoints' caches sized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// In bytes (first generation) or in tokens (second).
    pub unit: Unit,
    /// Whether block size and capacity are taken from the engines' metrics where they say.
    pub auto_tune: bool,
    /// Block size where the engines do not say, in the unit.
    pub block: u32,
    /// Smallest block size, wherever it comes from, in the unit.
    pub least_block: u32,
    /// Most of a prompt that is looked at.
    pub cap: Cap,
    /// Blocks per endpoint where the engine does not say.
    pub capacity: u32,
    /// Blocks per endpoint, whatever the engine says.
    pub fixed_capacity: Option<u32>,
    /// Whether an endpoint's capacity follows what its engine says later; else what it says first counts.
    pub resize: bool,
    /// Whether only blocks from the start of the prompt count, whatever our own settings say.
    pub contiguous: bool,
    /// Whether the endpoint that prefills is entered too.
    pub learns_prefill: bool,
}

/// What blocks are counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes of the prompt.
    Bytes,
    /// Tokens, four bytes each.
    Tokens,
}

/// Most of a prompt that is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    /// So many blocks; `u32::MAX`: all.
    Blocks(u32),
    /// So many tokens, rounded down to whole blocks.
    Tokens(u32),
}

impl Rules {
    /// The scheme for a pool whose first candidate publishes `block_size` tokens per block (0: nothing).
    fn scheme(&self, block_size: u32) -> Scheme {
        let published = match self.unit {
            Unit::Bytes => block_size.saturating_mul(BYTES_PER_TOKEN),
            Unit::Tokens => block_size,
        };
        let block = if self.auto_tune && published > 0 {
            published
        } else {
            self.block
        };
        let block = block.max(self.least_block).max(1);
        let max_blocks = match self.cap {
            Cap::Blocks(blocks) => blocks,
            Cap::Tokens(tokens) => tokens / block,
        };
        match self.unit {
            Unit::Bytes => Scheme::Bytes { block, max_blocks },
            Unit::Tokens => Scheme::Tokens { block, max_blocks },
        }
    }

    fn capacity_of(&self, published: u32) -> u32 {
        match self.fixed_capacity {
            Some(capacity) => capacity,
            None if self.auto_tune && published > 0 => published,
            None => self.capacity,
        }
    }
}

/// The producer.
pub struct BelievedPrefix {
    rules: Rules,
    mode: MatchMode,
    index: Arc<BelievedIndex>,
}

impl BelievedPrefix {
    /// A producer that goes on with the index of `previous`, or starts with an empty one. `keep_overflow` blocks
    /// of an endpoint stay visible although their own insertion evicted them.
    pub fn new(
        rules: Rules,
        own: &OwnSettings,
        keep_overflow: u32,
        previous: Option<&State>,
    ) -> Self {
        let limits = Limits {
            ttl: own.prefix_cache.ttl,
            max_bytes: usize::try_from(own.memory.prefix_index).unwrap_or(usize::MAX),
            keep_overflow,
            resize: rules.resize,
        };
        let index = previous
            .and_then(|state| Arc::clone(state).downcast::<BelievedIndex>().ok())
            .unwrap_or_else(|| Arc::new(BelievedIndex::new(limits)));
        index.set_limits(limits);
        Self {
            rules,
            mode: if rules.contiguous || own.prefix_cache.contiguous {
                MatchMode::Contiguous
            } else {
                MatchMode::default()
            },
            index,
        }
    }
}

impl Producer for BelievedPrefix {
    fn produce(&self, asked: &Asked<'_>, hasher: &mut Hasher, out: &mut PrefixMatch) {
        let Some(&first) = asked.snapshot.slots().first() else {
            return;
        };
        let scheme = self
            .rules
            .scheme(asked.slots.cache_config(first).block_size);
        out.block_tokens = match scheme {
            Scheme::Bytes { block, .. } => block / BYTES_PER_TOKEN,
            Scheme::Tokens { block, .. } => block,
        };
        let Some(at) = hasher.hash(scheme, asked.request) else {
            return;
        };
        out.hashes = Some(at);
        let hashes = hasher.hashes(at);
        out.total = hashes.len() as u32;
        self.index.lookup(
            hashes,
            asked.snapshot.slots(),
            |slot| asked.slots.epoch(slot),
            self.mode,
            asked.now,
            &mut out.matched,
        );
    }

    fn picked(&self, asked: &Asked<'_>, hasher: &Hasher, found: &PrefixMatch, targets: Targets) {
        let Some(at) = found.hashes else { return };
        let prefill = targets.prefill.filter(|_| self.rules.learns_prefill);
        for row in std::iter::once(targets.primary).chain(prefill) {
            let slot = asked.snapshot.slots()[row];
            let recorded = Recorded {
                slot,
                epoch: asked.slots.epoch(slot),
                capacity: self
                    .rules
                    .capacity_of(asked.slots.cache_config(slot).blocks),
            };
            self.index.insert(&recorded, hasher.hashes(at), asked.now);
        }
    }

    fn maintain(&self, now: Tick, snapshot: &Snapshot, slots: &Slots) {
        let mut live = snapshot.slots().to_vec();
        live.sort_unstable();
        self.index.maintain(
            now,
            |slot| live.binary_search(&slot).is_ok(),
            |slot| slots.epoch(slot),
        );
    }

    fn holdings(&self, now: Tick) -> Holdings {
        let gone = self.index.expired();
        let endpoints: Vec<Held> = self
            .index
            .slots(now)
            .into_iter()
            .map(|believed| Held {
                slot: believed.slot,
                entries: u64::from(believed.blocks) + u64::from(believed.beyond),
                capacity: u64::from(believed.capacity),
                oldest: believed.oldest,
                newest: believed.newest,
            })
            .collect();
        Holdings {
            entries: endpoints.iter().map(|held| held.entries).sum(),
            endpoints,
            bytes: self.index.memory_bytes() as u64,
            expired: [
                ("ttl", gone.ttl),
                ("lru", gone.lru),
                ("endpoint_gone", gone.endpoint_gone),
                ("restart", gone.restart),
            ],
        }
    }

    fn holders(&self, hash: u64, now: Tick) -> Vec<pointsman_core::model::slots::Slot> {
        self.index.holders(hash, now)
    }

    fn state(&self) -> Option<State> {
        Some(Arc::clone(&self.index) as State)
    }
}
