//! Live readings of endpoints, by slot: requests in flight and the engines' own gauges with their age.
//!
//! One slab per signal, indexed by [`Slot`], so a column of the decision table is a linear copy. A slot
//! outlives snapshots of the membership; it is handed out again only when nothing is in flight on it.
//!
//! Writers: the guard of each request ([`InFlight`]) counts in flight; the scrape task of the endpoint
//! writes its gauges. Readers never wait. Most atomics are relaxed: a reading is one number, and a value
//! that is a few nanoseconds old is as good as any. Two are not: the gauge's stamp is stored after its value, with
//! release order, so that a stamped slot has a value; and a request leaves a slot with release order, which the
//! count's readers acquire, so that whoever sees it gone also sees its permit gone (see `admission/permits`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::model::reported::{Reported, Reports};
use crate::time::{Span, Tick};

/// A small stable number of an endpoint: its row in every slab.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// A reading of an endpoint that scorers and filters may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Reading {
    /// Requests that this router sent and that have not ended. Exact, no age.
    InFlight,
    /// Requests waiting in the engine's queue, as scraped.
    Waiting,
    /// Requests running in the engine, as scraped.
    Running,
    /// Share of KV blocks in use by running requests, 0 to 1, as scraped.
    KvUsage,
    /// Blocks of the request's prompt that the endpoint is believed to hold: the first prefix producer's column.
    PrefixBlocks,
}

impl Reading {
    /// All readings, in the order of their columns.
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::Waiting,
        Self::Running,
        Self::KvUsage,
        Self::PrefixBlocks,
    ];

    /// The readings that come from the engines' metrics pages, in the order of their gauges.
    pub const SCRAPED: [Self; 3] = [Self::Waiting, Self::Running, Self::KvUsage];

    /// Whether the reading comes from the engine's metrics page and so has an age.
    pub const fn is_scraped(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::KvUsage)
    }

    /// The reading's name in receipts and on the admin port.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "inFlight",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::KvUsage => "kvUsage",
            Self::PrefixBlocks => "prefixBlocks",
        }
    }
}

/// How the last attempt to scrape an endpoint ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScrapeState {
    /// Not tried yet.
    Never,
    /// Readings were taken.
    Fresh,
    /// The endpoint answered 404: it has no metrics page.
    NotFound,
    /// The endpoint answered something else that is no metrics page.
    Garbage,
    /// Connection refused, reset or timed out.
    Unreachable,
}

impl ScrapeState {
    const ALL: [Self; 5] = [
        Self::Never,
        Self::Fresh,
        Self::NotFound,
        Self::Garbage,
        Self::Unreachable,
    ];

    /// A short word for listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Fresh => "fresh",
            Self::NotFound => "not-found",
            Self::Garbage => "garbage",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A counter alone on its cache line, so that workers counting different endpoints do not disturb each other.
#[repr(align(64))]
#[derive(Default)]
struct Padded(AtomicU32);

struct Gauge {
    bits: AtomicU64,
    stamp: AtomicU64,
}

/// What an engine says of its KV cache; zero where it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheConfig {
    /// Tokens per block.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u32,
}

/// The slabs of all signals, for a fixed number of slots.
pub struct Slots {
    in_flight: Box<[Padded]>,
    gauges: Box<[[Gauge; Reading::SCRAPED.len()]]>,
    scrape: Box<[AtomicU8]>,
    epochs: Box<[AtomicU32]>,
    caches: Box<[AtomicU64]>,
    reports: Reports,
}

impl Slots {
    /// Slabs for `capacity` endpoints, all idle and never scraped.
    pub fn new(capacity: usize) -> Self {
        let gauge = || Gauge {
            bits: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
        };
        Self {
            in_flight: (0..capacity).map(|_| Padded::default()).collect(),
            gauges: (0..capacity).map(|_| [gauge(), gauge(), gauge()]).collect(),
            scrape: (0..capacity).map(|_| AtomicU8::new(0)).collect(),
            epochs: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            caches: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            reports: Reports::new(capacity),
        }
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.in_flight.len()
    }

    /// Requests in flight on `slot`.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.in_flight[slot.0 as usize].0.load(Ordering::Acquire)
    }

    /// The value of `reading` and the tick it was taken at (`None`: never).
    pub fn read(&self, slot: Slot, reading: Reading) -> (f64, Option<Tick>) {
        if reading == Reading::InFlight {
            return (f64::from(self.in_flight(slot)), None);
        }
        if !reading.is_scraped() {
            return (0.0, None);
        }
        let (value, taken) = self.read_raw(slot, reading);
        (value, (taken != Tick(0)).then_some(taken))
    }

    /// The value of a scraped `reading` and the tick it was taken at; tick 0 means never.
    /// Only for readings that are scraped.
    pub fn read_raw(&self, slot: Slot, reading: Reading) -> (f64, Tick) {
        let gauge = &self.gauges[slot.0 as usize][reading as usize - 1];
        // Acquire pairs with the release in `write`: a stamp seen means its value is there.
        let stamp = gauge.stamp.load(Ordering::Acquire);
        (
            f64::from_bits(gauge.bits.load(Ordering::Relaxed)),
            Tick(stamp),
        )
    }

    /// The age of `reading` at `now` (`None`: never taken; in flight is always new).
    pub fn age(&self, slot: Slot, reading: Reading, now: Tick) -> Option<Span> {
        if reading == Reading::InFlight {
            return Some(Span(0));
        }
        self.read(slot, reading).1.map(|at| now.since(at))
    }

    /// Writes a scraped gauge. Values that are not finite or negative are not taken.
    /// Writing a reading that is not scraped has no effect.
    pub fn write(&self, slot: Slot, reading: Reading, value: f64, now: Tick) {
        if !reading.is_scraped() || !value.is_finite() || value < 0.0 {
            return;
        }
        let gauge = &self.gauges[slot.0 as usize][reading as usize - 1];
        gauge.bits.store(value.to_bits(), Ordering::Relaxed);
        // Tick 0 means "never", so a clock at its origin counts as 1 ns.
        gauge.stamp.store(now.0.max(1), Ordering::Release);
    }

    /// Which endpoint, or which run of its engine, stands in `slot`: the number grows whenever the slot is handed to
    /// another endpoint or its engine has restarted. What was learned under another number is no longer true.
    pub fn epoch(&self, slot: Slot) -> u32 {
        self.epochs[slot.0 as usize].load(Ordering::Relaxed)
    }

    /// The engine in `slot` has restarted: its caches are empty.
    pub fn restarted(&self, slot: Slot) {
        self.epochs[slot.0 as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what the engine says of its KV cache.
    pub fn set_cache_config(&self, slot: Slot, config: CacheConfig) {
        let packed = u64::from(config.block_size) << 32 | u64::from(config.blocks);
        self.caches[slot.0 as usize].store(packed, Ordering::Relaxed);
    }

    /// What the engine says of its KV cache.
    pub fn cache_config(&self, slot: Slot) -> CacheConfig {
        let packed = self.caches[slot.0 as usize].load(Ordering::Relaxed);
        CacheConfig {
            block_size: (packed >> 32) as u32,
            blocks: packed as u32,
        }
    }

    /// Notes what the engine reports beyond its gauges.
    pub fn set_reported(&self, slot: Slot, reported: &Reported) {
        self.reports.set(slot.0, reported);
    }

    /// Looks at what the engine reports beyond its gauges.
    pub fn reported<T>(&self, slot: Slot, look: impl FnOnce(&Reported) -> T) -> T {
        self.reports.look(slot.0, look)
    }

    /// Notes how the last scrape ended.
    pub fn set_scrape_state(&self, slot: Slot, state: ScrapeState) {
        self.scrape[slot.0 as usize].store(state as u8, Ordering::Relaxed);
    }

    /// How the last scrape ended.
    pub fn scrape_state(&self, slot: Slot) -> ScrapeState {
        ScrapeState::ALL[self.scrape[slot.0 as usize].load(Ordering::Relaxed) as usize]
    }

    /// Forgets the gauges of a slot that is handed to another endpoint.
    pub fn forget(&self, slot: Slot) {
        for gauge in &self.gauges[slot.0 as usize] {
            gauge.stamp.store(0, Ordering::Release);
            gauge.bits.store(0, Ordering::Relaxed);
        }
        self.set_scrape_state(slot, ScrapeState::Never);
        self.set_cache_config(slot, CacheConfig::default());
        self.set_reported(slot, &Reported::default());
        self.restarted(slot);
    }

    /// Counts one request on `slot` until the guard is dropped.
    pub fn enter(self: &Arc<Self>, slot: Slot) -> InFlight {
        self.in_flight[slot.0 as usize]
            .0
            .fetch_add(1, Ordering::Relaxed);
        InFlight {
            slots: Arc::clone(self),
            slot,
        }
    }

    /// Sets the number in flight of a slot that nobody enters: for a pool that is looked at again after the fact.
    pub fn set_in_flight(&self, slot: Slot, count: u32) {
        self.in_flight[slot.0 as usize]
            .0
            .store(count, Ordering::Relaxed);
    }

    /// Counts one request on `slot` until the guard is dropped, if fewer than `most` are counted there. Checking and
    /// counting are one step.
    pub fn enter_below(self: &Arc<Self>, slot: Slot, most: u32) -> Option<InFlight> {
        let enter = |count: u32| (count < most).then_some(count + 1);
        let count = &self.in_flight[slot.0 as usize].0;
        // Relaxed: it is one number, and the read-modify-write is what keeps two from taking the last place.
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .ok()?;
        Some(InFlight {
            slots: Arc::clone(self),
            slot,
        })
    }

    /// Requests in flight over all slots; zero when nothing is being served.
    pub fn total_in_flight(&self) -> u64 {
        self.in_flight
            .iter()
            .map(|n| u64::from(n.0.load(Ordering::Relaxed)))
            .sum()
    }
}

/// One request in flight on an endpoint; dropping it releases the count, exactly once on any end.
#[must_use = "the request counts as in flight only while the guard lives"]
pub struct InFlight {
    slots: Arc<Slots>,
    slot: Slot,
}

impl InFlight {
    /// The slot that is counted.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.slots.in_flight[self.slot.0 as usize]
            .0
            .fetch_sub(1, Ordering::Release);
    }
}

/// Hands slots out and takes them back; owned by the one writer of the membership.
#[derive(Debug, Default)]
pub struct SlotAllocator {
    next: u32,
    returned: Vec<Slot>,
}

impl SlotAllocator {
    /// A free slot with forgotten gauges, or `None` when all are in use.
    /// A returned slot is used again only when no request is in flight on it.
    pub fn take(&mut self, slots: &Slots) -> Option<Slot> {
        if let Some(at) = self.returned.iter().position(|&s| slots.in_flight(s) == 0) {
            let slot = self.returned.swap_remove(at);
            slots.forget(slot);
            return Some(slot);
        }
        if (self.next as usize) < slots.capacity() {
            self.next += 1;
            return Some(Slot(self.next - 1));
        }
        None
    }

    /// Takes back the slot of an endpoint that left.
    pub fn give_back(&mut self, slot: Slot) {
        self.returned.push(slot);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    // Threads are what one of these tests is about.
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn a_guard_counts_until_it_is_dropped() {
        let slots = Arc::new(Slots::new(2));
        let (a, b) = (slots.enter(Slot(1)), slots.enter(Slot(1)));
        assert_eq!((slots.in_flight(Slot(0)), slots.in_flight(Slot(1))), (0, 2));
        drop(a);
        assert_eq!(b.slot(), Slot(1));
        drop(b);
        assert_eq!(slots.total_in_flight(), 0);
    }

    #[test]
    fn the_last_place_is_taken_once_whoever_comes_first() {
        let slots = Arc::new(Slots::new(1));
        let guards: Vec<_> = std::thread::scope(|scope| {
            let enter = || slots.enter_below(Slot(0), 4);
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || [enter(), enter()]))
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.flatten().flatten().collect()
        });
        assert_eq!((guards.len(), slots.in_flight(Slot(0))), (4, 4));
        assert!(slots.enter_below(Slot(0), 4).is_none());
        drop(guards);
        assert!(slots.enter_below(Slot(0), 1).is_some());
    }

    #[test]
    fn gauges_carry_their_age_and_refuse_what_is_no_number() {
        let slots = Slots::new(1);
        let s = Slot(0);
        assert_eq!(slots.read(s, Reading::Waiting), (0.0, None));
        slots.write(s, Reading::Waiting, 7.0, Tick(1_000_000));
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            slots.write(s, Reading::Waiting, bad, Tick(9));
        }
        assert_eq!(
            slots.read(s, Reading::Waiting),
            (7.0, Some(Tick(1_000_000)))
        );
        assert_eq!(
            slots.age(s, Reading::Waiting, Tick(3_000_000)),
            Some(Span::from_millis(2))
        );
        assert_eq!(slots.age(s, Reading::KvUsage, Tick(3)), None);
    }

    #[test]
    fn a_slot_comes_back_only_when_idle_and_forgets() {
        let slots = Arc::new(Slots::new(1));
        let mut allocator = SlotAllocator::default();
        let slot = allocator.take(&slots).unwrap();
        slots.write(slot, Reading::KvUsage, 0.5, Tick(5));
        slots.set_scrape_state(slot, ScrapeState::Fresh);
        let guard = slots.enter(slot);
        allocator.give_back(slot);
        assert_eq!(allocator.take(&slots), None);
        drop(guard);
        assert_eq!(allocator.take(&slots), Some(slot));
        assert_eq!(slots.read(slot, Reading::KvUsage).1, None);
        assert_eq!(slots.epoch(slot), 1);
        assert_eq!(slots.scrape_state(slot), ScrapeState::Never);
    }
}
