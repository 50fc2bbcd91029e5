//! Which slots we believe to hold which blocks, because we sent them there.
//!
//! The index learns from picks alone: whoever is picked for a prompt is believed to hold all its blocks, up to its
//! capacity, from then on. Nothing here knows text; a block is its chained hash
//! ([`crate::index::block_hash`]).
//!
//! - **Lookup** walks the hashes of a prompt in order. A hash that nobody holds ends the prompt; otherwise each
//!   holder gets one ([`MatchMode::Hits`], the reference's way: a slot that lacks block 1 and holds block 2 still gets
//!   one if somebody holds block 1), or only as long as it held all blocks before ([`MatchMode::Contiguous`]). Prompts
//!   of one request are added up. Lookups refresh nothing.
//! - **Eviction**: a slot keeps the `capacity` blocks that were inserted last; inserting a block again makes it
//!   the newest. Of a prompt longer than the capacity the tail stays. The first generation of the reference leaves
//!   blocks that their own insertion evicts visible; [`Limits::keep_overflow`] does the same for a bounded number.
//! - **Expiry**: an entry ends `ttl` after its last insertion, also between two maintenances; when its slot leaves
//!   ([`BelievedIndex::maintain`]); when the epoch of its slot is no longer the one it was recorded under (it stops
//!   matching at once and is removed later); and when memory is short, the oldest of all first.
//!
//! Lookups share a read lock; an insertion holds the write lock for at most 64 blocks at a time, a few
//! microseconds. The bench `prefix` has the figures.

mod entry;
pub mod limits;
mod slab;
mod store;
mod table;
mod walk;

// The one exception to "no locks on the path of a pick": exact eviction order needs one writer, a lookup of a long
// prompt takes about as long as waking a thread, and readers do not exclude each other.
#[allow(clippy::disallowed_types)]
use std::sync::RwLock;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

use crate::index::believed::limits::{Expired, Limits, MatchMode, Recorded};
use crate::index::believed::store::{Reason, Store};
use crate::index::block_hash::PromptHashes;
use crate::model::slots::Slot;
use crate::time::Tick;

/// Entries that are written under one hold of the lock.
const PART: usize = 64;

/// What the index believes of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotBeliefs {
    /// The slot.
    pub slot: Slot,
    /// The epoch that the entries were recorded under.
    pub epoch: u32,
    /// Blocks that count against the capacity.
    pub blocks: u32,
    /// Blocks that are kept beyond it ([`Limits::keep_overflow`]).
    pub beyond: u32,
    /// Blocks that the slot can hold.
    pub capacity: u32,
    /// When the oldest entry was inserted; `None` without entries.
    pub oldest: Option<Tick>,
    /// When the newest entry was inserted.
    pub newest: Option<Tick>,
}

/// The index; shared by all workers.
#[derive(Debug)]
pub struct BelievedIndex {
    #[allow(clippy::disallowed_types)]
    store: RwLock<Store>,
}

impl BelievedIndex {
    /// An index that knows nothing.
    #[allow(clippy::disallowed_types)]
    pub fn new(limits: Limits) -> Self {
        Self {
            store: RwLock::new(Store::new(limits)),
        }
    }

    /// Changes the limits and keeps the entries; those beyond them go as usual.
    pub fn set_limits(&self, limits: Limits) {
        self.write().limits = limits;
    }

    /// Counts the blocks of `hashes` that each of `rows` holds at `now`, into `out` by row. `epoch` tells the
    /// present epoch of a slot. A warm `out` is not allocated anew.
    pub fn lookup(
        &self,
        hashes: &PromptHashes,
        rows: &[Slot],
        epoch: impl Fn(Slot) -> u32,
        mode: MatchMode,
        now: Tick,
        out: &mut Vec<u32>,
    ) {
        walk::matched(&self.present(now), hashes, rows, epoch, mode, out);
    }

    /// Notes that the prompts of `hashes` were sent to a slot at `now`. A record of an older epoch than the one
    /// the slot is known by is ignored; a newer one removes what was held before. Without hashes the slot is only
    /// made known, with its capacity.
    pub fn insert(&self, to: &Recorded, hashes: &PromptHashes, now: Tick) {
        let insertion = loop {
            let mut store = self.write();
            if let Some(insertion) = store.begin(to) {
                break insertion;
            }
            if store.held()[to.slot.0 as usize].epoch > to.epoch {
                return;
            }
            store.purge(to.slot.0, Reason::Restart, PART);
        };
        for part in hashes.all().chunks(PART) {
            self.write().insert(to, insertion, part, now);
        }
    }

    /// Removes what has expired, what slots that are not `live` held, and what was recorded under another epoch
    /// than the present one.
    pub fn maintain(&self, now: Tick, live: impl Fn(Slot) -> bool, epoch: impl Fn(Slot) -> u32) {
        while self.write().expire(now, PART) {}
        let width = self.read().held().len() as u32;
        for slot in 0..width {
            let reason = {
                let store = self.read();
                let held = &store.held()[slot as usize];
                match held.known {
                    true if !live(Slot(slot)) => Reason::Gone,
                    true if held.epoch != epoch(Slot(slot)) => Reason::Restart,
                    _ => continue,
                }
            };
            while self.write().purge(slot, reason, PART) {}
            self.write().forget(slot);
        }
    }

    /// The slots that hold a block, in ascending order.
    pub fn holders(&self, hash: u64, now: Tick) -> Vec<Slot> {
        let store = self.present(now);
        let slots = store.block(hash).map_or(&[][..], |block| block.slots());
        slots.iter().copied().map(Slot).collect()
    }

    /// What is believed of every slot that was ever recorded and has not been forgotten, by slot.
    pub fn slots(&self, now: Tick) -> Vec<SlotBeliefs> {
        let store = self.present(now);
        let known = (0..).zip(store.held()).filter(|(_, held)| held.known);
        known
            .map(|(slot, held)| {
                let span = store.span(slot);
                SlotBeliefs {
                    slot: Slot(slot),
                    epoch: held.epoch,
                    blocks: held.len,
                    beyond: held.beyond,
                    capacity: held.capacity,
                    oldest: span.map(|(oldest, _)| oldest),
                    newest: span.map(|(_, newest)| newest),
                }
            })
            .collect()
    }

    /// Entries of all slots; may still count some that have expired since the last lookup.
    pub fn entries(&self) -> usize {
        self.read().len()
    }

    /// Bytes that are allocated.
    pub fn memory_bytes(&self) -> usize {
        self.read().bytes()
    }

    /// What has gone so far.
    pub fn expired(&self) -> Expired {
        self.read().expired
    }

    /// The store without anything that has outlived its time.
    fn present(&self, now: Tick) -> RwLockReadGuard<'_, Store> {
        let store = self.read();
        if !store.due(now) {
            return store;
        }
        drop(store);
        while self.write().expire(now, PART) {}
        self.read()
    }

    // A panic in the store is a bug; until it is found, half an insertion is better than no picks at all.
    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }
}
