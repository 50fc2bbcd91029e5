//! The beliefs of all slots, for one writer at a time; see [`crate::index::believed`] for what they mean.
//!
//! A block's row lists its holders in two parallel arrays, the slots in ascending order and their entries, beside a
//! print of the set: the sum of a 64-bit number per slot, drawn under a seed of the index. Equal sets have equal
//! prints, and others as rarely as other prompts have equal block hashes, so a lookup compares prints and does not
//! touch the arrays. An entry is 48 bytes, a block 64 (up to four holders; then eight bytes each on the heap) and
//! about 16 in the table.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::index::believed::entry::{Entry, Link, List, OF_ALL, OF_SLOT};
use crate::index::believed::limits::{Expired, Limits, Recorded};
use crate::index::believed::slab::{NONE, Slab};
use crate::index::believed::table::Table;
use crate::time::{Span, Tick};

/// A block and who holds it.
#[derive(Debug, Default)]
pub(crate) struct Block {
    hash: u64,
    /// Tells the set of holders.
    print: u64,
    /// Ascending.
    slots: SmallVec<[u32; 4]>,
    /// The entry of each slot, in the order of `slots`.
    entries: SmallVec<[u32; 4]>,
}

impl Block {
    /// The slots that hold it, ascending.
    #[inline]
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Equal for blocks that the same slots hold.
    #[inline]
    pub(crate) fn print(&self) -> u64 {
        self.print
    }

    fn heap(&self) -> usize {
        let bytes = |list: &SmallVec<[u32; 4]>| {
            if list.spilled() {
                list.capacity() * 4
            } else {
                0
            }
        };
        bytes(&self.slots) + bytes(&self.entries)
    }
}

/// What one slot holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// Whether anything, if only nothing, was ever recorded for it.
    pub(crate) known: bool,
    pub(crate) epoch: u32,
    pub(crate) capacity: u32,
    /// Entries that count against the capacity.
    pub(crate) len: u32,
    /// Entries kept beyond it.
    pub(crate) beyond: u32,
    list: List,
    overflow: List,
}

impl Held {
    const NOTHING: Self = Self {
        known: false,
        epoch: 0,
        capacity: 0,
        len: 0,
        beyond: 0,
        list: List::EMPTY,
        overflow: List::EMPTY,
    };

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0 && self.beyond == 0
    }
}

/// Why an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Ttl,
    Lru,
    Gone,
    Restart,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) limits: Limits,
    table: Table,
    blocks: Slab<Block>,
    entries: Slab<Entry>,
    held: Vec<Held>,
    /// The epoch of each slot in `held` once more, close together for the check of every lookup.
    epochs: Vec<u32>,
    all: List,
    /// Bytes of the holders that lie outside their block.
    heap: usize,
    insertions: u32,
    seed: RandomState,
    /// The latest time seen: lists stay in order although callers' clocks are read in any order.
    latest: Tick,
    pub(crate) expired: Expired,
}

impl Store {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: Table::default(),
            blocks: Slab::new(),
            entries: Slab::new(),
            held: Vec::new(),
            epochs: Vec::new(),
            seed: RandomState::default(),
            all: List::EMPTY,
            heap: 0,
            insertions: 0,
            latest: Tick(0),
            expired: Expired::default(),
        }
    }

    /// The block of a hash.
    #[inline]
    pub(crate) fn block(&self, hash: u64) -> Option<&Block> {
        let row = self.table.find(hash, |row| self.blocks[row].hash == hash)?;
        Some(&self.blocks[row])
    }

    /// What each slot holds, by slot.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Whether what a slot holds was recorded under another epoch than the present one.
    pub(crate) fn past(&self, slot: u32, epoch: u32) -> bool {
        self.epochs[slot as usize] != epoch && !self.held[slot as usize].is_empty()
    }

    /// The number that stands for a slot in the print of a set.
    fn mark(&self, slot: u32) -> u64 {
        self.seed.hash_one(slot)
    }

    /// Entries of all slots.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes()
            + self.blocks.bytes()
            + self.entries.bytes()
            + self.held.capacity() * size_of::<Held>()
            + self.epochs.capacity() * size_of::<u32>()
            + self.heap
    }

    /// When the oldest and the newest entry of a slot were inserted.
    pub(crate) fn span(&self, slot: u32) -> Option<(Tick, Tick)> {
        let held = &self.held[slot as usize];
        let ends = |list: List| {
            (list.first != NONE).then(|| (self.entries[list.first].at, self.entries[list.last].at))
        };
        match (ends(held.list), ends(held.overflow)) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        }
    }

    /// Whether an entry has outlived its time.
    pub(crate) fn due(&self, now: Tick) -> bool {
        self.limits.ttl != Span(0)
            && self.all.first != NONE
            && now.since(self.entries[self.all.first].at) >= self.limits.ttl
    }

    /// Removes what has outlived its time, `most` entries at most; whether more is due.
    pub(crate) fn expire(&mut self, now: Tick, most: usize) -> bool {
        for _ in 0..most {
            if !self.due(now) {
                return false;
            }
            self.remove(self.all.first, Reason::Ttl);
        }
        self.due(now)
    }

    /// Begins an insertion: its number, or `None` if the slot's past has to be purged first ([`Store::purge`]) or
    /// the record is older than what the slot holds.
    pub(crate) fn begin(&mut self, to: &Recorded) -> Option<u32> {
        let slot = to.slot.0 as usize;
        if self.held.len() <= slot {
            self.held.resize_with(slot + 1, || Held::NOTHING);
            self.epochs.resize(slot + 1, 0);
        }
        let resize = self.limits.resize;
        let held = &mut self.held[slot];
        if !held.known || (held.epoch < to.epoch && held.is_empty()) {
            *held = Held {
                known: true,
                epoch: to.epoch,
                capacity: to.capacity,
                ..Held::NOTHING
            };
            self.epochs[slot] = to.epoch;
        }
        if held.epoch != to.epoch {
            return None;
        }
        if resize {
            held.capacity = to.capacity;
        }
        self.insertions = self.insertions.wrapping_add(1);
        Some(self.insertions)
    }

    /// Inserts a part of an insertion's hashes, in order; nothing if the slot was forgotten or restarted since the
    /// insertion began.
    pub(crate) fn insert(&mut self, to: &Recorded, insertion: u32, hashes: &[u64], now: Tick) {
        let held = &self.held[to.slot.0 as usize];
        if !held.known || held.epoch != to.epoch {
            return;
        }
        self.latest = self.latest.max(now);
        let mut rest = hashes;
        while let Some((&hash, others)) = rest.split_first() {
            rest = match self.renew(to.slot.0, insertion, rest) {
                0 => {
                    self.put(to.slot.0, insertion, hash);
                    others
                }
                renewed => &rest[renewed..],
            };
        }
    }

    /// Makes a run of blocks the newest that stands in this order in both lists already, as what was inserted together
    /// does; how many of `hashes` that were. The same as [`Store::put`] for each of them, and much cheaper.
    fn renew(&mut self, slot: u32, insertion: u32, hashes: &[u64]) -> usize {
        let held = &self.held[slot as usize];
        if held.len > held.capacity {
            // The capacity has shrunk, and each insertion may evict what the next one inserts.
            return 0;
        }
        let Some(block) = self.block(hashes[0]) else {
            return 0;
        };
        let Ok(place) = block.slots.binary_search(&slot) else {
            return 0;
        };
        let first = block.entries[place];
        if self.entries[first].overflow {
            return 0;
        }
        let (mut last, mut length) = (first, 0);
        loop {
            let entry = &mut self.entries[last];
            entry.at = self.latest;
            entry.insertion = insertion;
            length += 1;
            let next = entry.of_slot.after();
            let follows = next != NONE && next == entry.of_all.after() && length < hashes.len();
            if !follows || self.blocks[self.entries[next].block].hash != hashes[length] {
                break;
            }
            last = next;
        }
        let list = &mut self.held[slot as usize].list;
        list.renew(&mut self.entries, OF_SLOT, first, last);
        self.all.renew(&mut self.entries, OF_ALL, first, last);
        length
    }

    fn put(&mut self, slot: u32, insertion: u32, hash: u64) {
        if !self.make_room() {
            return;
        }
        let found = self.table.find(hash, |row| self.blocks[row].hash == hash);
        let block = found.unwrap_or_else(|| {
            let row = self.blocks.insert(Block {
                hash,
                ..Block::default()
            });
            self.table.insert(hash, row);
            row
        });
        let mark = self.mark(slot);
        let held = &mut self.held[slot as usize];
        let at = match self.blocks[block].slots.binary_search(&slot) {
            Ok(place) => {
                let at = self.blocks[block].entries[place];
                let entry = &mut self.entries[at];
                if std::mem::replace(&mut entry.overflow, false) {
                    held.beyond -= 1;
                    held.overflow.unlink(&mut self.entries, OF_SLOT, at);
                } else {
                    held.len -= 1;
                    held.list.unlink(&mut self.entries, OF_SLOT, at);
                }
                self.all.unlink(&mut self.entries, OF_ALL, at);
                at
            }
            Err(place) => {
                let at = self.entries.insert(Entry {
                    at: self.latest,
                    block,
                    slot,
                    insertion,
                    overflow: false,
                    of_slot: Link::LOOSE,
                    of_all: Link::LOOSE,
                });
                let block = &mut self.blocks[block];
                let before = block.heap();
                block.slots.insert(place, slot);
                block.entries.insert(place, at);
                block.print = block.print.wrapping_add(mark);
                self.heap += block.heap() - before;
                at
            }
        };
        let entry = &mut self.entries[at];
        entry.at = self.latest;
        entry.insertion = insertion;
        held.len += 1;
        held.list.push(&mut self.entries, OF_SLOT, at);
        self.all.push(&mut self.entries, OF_ALL, at);
        while self.held[slot as usize].len > self.held[slot as usize].capacity {
            self.evict(slot, insertion);
        }
    }

    /// Drops the oldest entry of a slot, or keeps it beyond the capacity if its own insertion evicts it.
    fn evict(&mut self, slot: u32, insertion: u32) {
        let held = &mut self.held[slot as usize];
        let at = held.list.first;
        let own = self.entries[at].insertion == insertion;
        if !own || self.limits.keep_overflow == 0 {
            self.remove(at, Reason::Lru);
            return;
        }
        held.list.unlink(&mut self.entries, OF_SLOT, at);
        held.overflow.push(&mut self.entries, OF_SLOT, at);
        held.len -= 1;
        held.beyond += 1;
        let oldest = held.overflow.first;
        let too_many = held.beyond > self.limits.keep_overflow;
        self.entries[at].overflow = true;
        if too_many {
            self.remove(oldest, Reason::Lru);
        }
    }

    /// Evicts the oldest entries of all until one more fits into the memory; whether it does.
    fn make_room(&mut self) -> bool {
        loop {
            let mut growth = self.table.growth();
            if self.entries.full() {
                growth += Slab::<Entry>::GROWTH;
            }
            if self.blocks.full() {
                growth += Slab::<Block>::GROWTH;
            }
            if self.bytes() + growth <= self.limits.max_bytes {
                return true;
            }
            if self.all.first == NONE {
                return false;
            }
            self.remove(self.all.first, Reason::Lru);
        }
    }

    /// Removes entries of a slot, oldest first, `most` at most; whether the slot holds more.
    pub(crate) fn purge(&mut self, slot: u32, reason: Reason, most: usize) -> bool {
        for _ in 0..most {
            let held = &self.held[slot as usize];
            let at = match held.list.first {
                NONE => held.overflow.first,
                first => first,
            };
            if at == NONE {
                return false;
            }
            self.remove(at, reason);
        }
        !self.held[slot as usize].is_empty()
    }

    /// Forgets a slot that holds nothing any more, so that its next capacity is that of its next insertion.
    pub(crate) fn forget(&mut self, slot: u32) {
        if self.held[slot as usize].is_empty() {
            self.held[slot as usize] = Held::NOTHING;
        }
    }

    fn remove(&mut self, at: u32, reason: Reason) {
        let Entry {
            slot,
            block: row,
            overflow,
            ..
        } = self.entries[at];
        let held = &mut self.held[slot as usize];
        if overflow {
            held.beyond -= 1;
            held.overflow.unlink(&mut self.entries, OF_SLOT, at);
        } else {
            held.len -= 1;
            held.list.unlink(&mut self.entries, OF_SLOT, at);
        }
        self.all.unlink(&mut self.entries, OF_ALL, at);
        self.entries.remove(at);
        let mark = self.mark(slot);
        let block = &mut self.blocks[row];
        let before = block.heap();
        if let Ok(place) = block.slots.binary_search(&slot) {
            block.slots.remove(place);
            block.entries.remove(place);
            block.print = block.print.wrapping_sub(mark);
        }
        if block.slots.is_empty() {
            self.table.remove(block.hash, row);
            *block = Block::default();
            self.heap -= before;
            self.blocks.remove(row);
        } else if block.slots.spilled() && block.slots.len() * 4 <= block.slots.capacity() {
            block.slots.shrink_to_fit();
            block.entries.shrink_to_fit();
            self.heap = self.heap - before + block.heap();
        }
        match reason {
            Reason::Ttl => self.expired.ttl += 1,
            Reason::Lru => self.expired.lru += 1,
            Reason::Gone => self.expired.endpoint_gone += 1,
            Reason::Restart => self.expired.restart += 1,
        }
    }
}
