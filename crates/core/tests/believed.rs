//! The believed index against a naive model of what it promises, under short memory, and from many threads.
#![allow(clippy::unwrap_used)]
// Threads are what one of these tests is about.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use pointsman_core::index::believed::BelievedIndex;
use pointsman_core::index::believed::limits::{Expired, Limits, MatchMode, Recorded};
use pointsman_core::index::block_hash::PromptHashes;
use pointsman_core::model::slots::Slot;
use pointsman_core::time::{Span, Tick};

fn hashed(prompts: &[Vec<u64>]) -> PromptHashes {
    let mut hashes = PromptHashes::default();
    prompts.iter().for_each(|prompt| hashes.push_prompt(prompt));
    hashes
}

fn record(slot: u32, epoch: u32, capacity: u32) -> Recorded {
    Recorded {
        slot: Slot(slot),
        epoch,
        capacity,
    }
}

const SLOTS: u32 = 5;

#[derive(Clone, Debug, Default)]
struct Held {
    epoch: u32,
    capacity: usize,
    /// Hash and insertion, oldest first.
    blocks: Vec<(u64, Tick)>,
    beyond: Vec<(u64, Tick)>,
}

impl Held {
    fn all(&self) -> impl Iterator<Item = &(u64, Tick)> {
        self.blocks.iter().chain(&self.beyond)
    }
}

/// What the index promises, without any of its structure.
struct Model {
    limits: Limits,
    slots: BTreeMap<u32, Held>,
    epochs: [u32; SLOTS as usize],
    gone: Expired,
}

impl Model {
    fn expire(&mut self, now: Tick) {
        let ttl = self.limits.ttl;
        if ttl == Span(0) {
            return;
        }
        for held in self.slots.values_mut() {
            for list in [&mut held.blocks, &mut held.beyond] {
                let before = list.len();
                list.retain(|(_, at)| now.since(*at) < ttl);
                self.gone.ttl += (before - list.len()) as u64;
            }
        }
    }

    fn insert(&mut self, to: &Recorded, prompts: &[Vec<u64>], now: Tick) {
        let Limits {
            keep_overflow,
            resize,
            ..
        } = self.limits;
        let held = self.slots.entry(to.slot.0).or_insert_with(|| Held {
            epoch: to.epoch,
            capacity: to.capacity as usize,
            ..Held::default()
        });
        if held.epoch > to.epoch {
            return;
        }
        if held.epoch < to.epoch {
            self.gone.restart += held.all().count() as u64;
            *held = Held {
                epoch: to.epoch,
                capacity: to.capacity as usize,
                ..Held::default()
            };
        }
        if resize {
            held.capacity = to.capacity as usize;
        }
        let mut own = Vec::new();
        for &hash in prompts.iter().flatten() {
            held.blocks.retain(|(h, _)| *h != hash);
            held.beyond.retain(|(h, _)| *h != hash);
            held.blocks.push((hash, now));
            own.push(hash);
            while held.blocks.len() > held.capacity {
                let oldest = held.blocks.remove(0);
                if keep_overflow == 0 || !own.contains(&oldest.0) {
                    self.gone.lru += 1;
                    continue;
                }
                held.beyond.push(oldest);
                if held.beyond.len() > keep_overflow as usize {
                    held.beyond.remove(0);
                    self.gone.lru += 1;
                }
            }
        }
    }

    fn holds(&self, slot: u32, hash: u64) -> bool {
        self.slots.get(&slot).is_some_and(|held| {
            held.epoch == self.epochs[slot as usize] && held.all().any(|(h, _)| *h == hash)
        })
    }

    fn lookup(&self, prompts: &[Vec<u64>], rows: &[Slot], mode: MatchMode) -> Vec<u32> {
        let one = |slot: u32| {
            let mut sum = 0;
            for prompt in prompts {
                let walked = prompt
                    .iter()
                    .take_while(|&&hash| (0..SLOTS).any(|slot| self.holds(slot, hash)));
                let held = walked.map(|&hash| self.holds(slot, hash));
                sum += match mode {
                    MatchMode::Hits => held.filter(|&held| held).count(),
                    MatchMode::Contiguous => held.take_while(|&held| held).count(),
                };
            }
            sum as u32
        };
        rows.iter().map(|row| one(row.0)).collect()
    }

    fn maintain(&mut self, live: &[bool]) {
        let epochs = self.epochs;
        let gone = RefCell::new(&mut self.gone);
        self.slots.retain(|&slot, held| {
            let entries = held.all().count() as u64;
            if !live[slot as usize] {
                gone.borrow_mut().endpoint_gone += entries;
            } else if held.epoch != epochs[slot as usize] {
                gone.borrow_mut().restart += entries;
            } else {
                return true;
            }
            false
        });
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        slot: u32,
        late: bool,
        capacity: u32,
        prompts: Vec<Vec<u64>>,
    },
    Restart(u32),
    Maintain(Vec<bool>),
    Wait(u64),
}

/// Prompts as chains: a few families whose members share a beginning of any length.
fn prompts() -> impl Strategy<Value = Vec<Vec<u64>>> {
    let prompt = (0..3u64, 0..8u64, 0..12u64).prop_map(|(family, own, len)| {
        let hash = |at| family * 1000 + if at < own { at } else { at + 100 * own };
        (0..len).map(hash).collect::<Vec<u64>>()
    });
    let scattered = prop::collection::vec(0..16u64, 0..10);
    prop::collection::vec(prop_oneof![4 => prompt, 1 => scattered], 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..SLOTS, prop::bool::weighted(0.1), 0..15u32, prompts()).prop_map(
            |(slot, late, capacity, prompts)| Step::Insert { slot, late, capacity, prompts }
        ),
        1 => (0..SLOTS).prop_map(Step::Restart),
        1 => prop::collection::vec(prop::bool::weighted(0.8), SLOTS as usize).prop_map(Step::Maintain),
        3 => (0..60u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_is_its_model(
        ttl in prop_oneof![Just(0), 20..200u64],
        keep_overflow in prop_oneof![Just(0), 1..6u32],
        resize: bool,
        steps in prop::collection::vec((step(), prompts()), 1..60),
    ) {
        let limits = Limits { ttl: Span(ttl), keep_overflow, resize, ..Limits::default() };
        let index = BelievedIndex::new(limits);
        let mut model = Model {
            limits,
            slots: BTreeMap::new(),
            epochs: [1; SLOTS as usize],
            gone: Expired::default(),
        };
        let mut now = Tick(1000);
        // Rows in an order of their own, one of them unknown to the index.
        let rows = [4, 2, 9, 0, 1].map(Slot);
        model.slots.clear();
        for (step, asked) in steps {
            match step {
                Step::Insert { slot, late, capacity, prompts } => {
                    let to = record(slot, model.epochs[slot as usize] - u32::from(late), capacity);
                    // An insertion alone expires nothing that is looked at later.
                    index.maintain(now, |_| true, |slot| {
                        model.slots.get(&slot.0).map_or(0, |held| held.epoch)
                    });
                    model.insert(&to, &prompts, now);
                    index.insert(&to, &hashed(&prompts), now);
                }
                Step::Restart(slot) => model.epochs[slot as usize] += 1,
                Step::Maintain(live) => {
                    model.maintain(&live);
                    index.maintain(now, |slot| live[slot.0 as usize], |slot| model.epochs[slot.0 as usize]);
                }
                Step::Wait(span) => now = now + Span(span),
            }
            model.expire(now);
            let hashes = hashed(&asked);
            let mut out = vec![7; 3];
            for mode in [MatchMode::Hits, MatchMode::Contiguous] {
                let epoch = |slot: Slot| model.epochs.get(slot.0 as usize).copied().unwrap_or(0);
                index.lookup(&hashes, &rows, epoch, mode, now, &mut out);
                prop_assert_eq!(&out, &model.lookup(&asked, &rows, mode), "{:?}", mode);
            }
            prop_assert_eq!(index.expired(), model.gone);
            let known = index.slots(now);
            prop_assert_eq!(known.len(), model.slots.len());
            for (got, (&slot, held)) in known.iter().zip(&model.slots) {
                prop_assert_eq!((got.slot, got.epoch), (Slot(slot), held.epoch));
                prop_assert_eq!(got.blocks as usize, held.blocks.len());
                prop_assert_eq!(got.beyond as usize, held.beyond.len());
                prop_assert_eq!(got.capacity as usize, held.capacity);
                prop_assert_eq!(got.oldest, held.all().map(|(_, at)| *at).min());
                prop_assert_eq!(got.newest, held.all().map(|(_, at)| *at).max());
            }
            let entries: usize = model.slots.values().map(|held| held.all().count()).sum();
            prop_assert_eq!(index.entries(), entries);
            if let Some(&hash) = hashes.all().first() {
                let holders: Vec<Slot> = model.slots.iter()
                    .filter(|(_, held)| held.all().any(|(h, _)| *h == hash))
                    .map(|(&slot, _)| Slot(slot))
                    .collect();
                prop_assert_eq!(index.holders(hash, now), holders);
            }
        }
    }
}

#[test]
fn memory_stays_within_its_bound_and_the_oldest_go_first() {
    let max_bytes = 400_000;
    let index = BelievedIndex::new(Limits {
        max_bytes,
        ..Limits::default()
    });
    let mut newest = PromptHashes::default();
    for round in 0..4000u64 {
        newest.clear();
        let hashes: Vec<u64> = (0..8)
            .map(|at| (round * 8 + at).wrapping_mul(0x9E37_79B9))
            .collect();
        newest.push_prompt(&hashes);
        // Shared by up to 40 slots, so that sets of holders grow and shrink too.
        for slot in 0..(round % 40) {
            index.insert(&record(slot as u32, 0, 31_250), &newest, Tick(round));
        }
        assert!(
            index.memory_bytes() <= max_bytes + 4096,
            "{} bytes in round {round}",
            index.memory_bytes()
        );
    }
    assert!(index.memory_bytes() > max_bytes / 2);
    assert!(index.expired().lru > 0);
    let mut out = Vec::new();
    index.lookup(
        &newest,
        &[Slot(3)],
        |_| 0,
        MatchMode::Hits,
        Tick(4000),
        &mut out,
    );
    assert_eq!(out, [8]);
    assert_eq!(index.holders(0, Tick(4000)), []);
    let tiny = BelievedIndex::new(Limits {
        max_bytes: 100,
        ..Limits::default()
    });
    tiny.insert(&record(0, 0, 9), &newest, Tick(1));
    assert_eq!(tiny.entries(), 0);
}

#[test]
fn threads_read_while_others_insert() {
    let index = BelievedIndex::new(Limits {
        ttl: Span(1_000_000),
        ..Limits::default()
    });
    let family = |n: u64| hashed(&[(0..100).map(|at| n << 32 | at).collect()]);
    let rows: Vec<Slot> = (0..8).map(Slot).collect();
    std::thread::scope(|scope| {
        for slot in 0..4u32 {
            let index = &index;
            scope.spawn(move || {
                for round in 0..300u64 {
                    index.insert(&record(slot, 0, 350), &family(round % 5), Tick(round));
                }
            });
        }
        for _ in 0..4 {
            let (index, rows) = (&index, &rows);
            scope.spawn(move || {
                let mut out = Vec::new();
                for round in 0..1000u64 {
                    index.lookup(
                        &family(round % 5),
                        rows,
                        |_| 0,
                        MatchMode::Contiguous,
                        Tick(round % 300),
                        &mut out,
                    );
                    assert!(out.iter().all(|&matched| matched <= 100));
                    assert!(out[4..].iter().all(|&matched| matched == 0));
                }
            });
        }
    });
    let known = index.slots(Tick(300));
    assert!(known.iter().all(|slot| slot.blocks == 350), "{known:?}");
    let mut out = Vec::new();
    index.lookup(
        &family(299 % 5),
        &rows,
        |_| 0,
        MatchMode::Contiguous,
        Tick(300),
        &mut out,
    );
    assert_eq!(out, [100, 100, 100, 100, 0, 0, 0, 0]);
}

#[test]
fn a_slot_with_much_to_forget_forgets_it_all() {
    let index = BelievedIndex::new(Limits::default());
    let many = hashed(&[(0..500).collect()]);
    let (a, b) = (record(2, 4, 300), record(2, 5, 1000));
    index.insert(&a, &many, Tick(1));
    index.insert(&b, &hashed(&[vec![9000]]), Tick(2));
    // What an older pick brings late is ignored.
    index.insert(&a, &many, Tick(3));
    let held = index.slots(Tick(3));
    assert_eq!(
        (held[0].epoch, held[0].blocks, held[0].capacity),
        (5, 1, 1000)
    );
    index.insert(&b, &many, Tick(4));
    index.maintain(Tick(5), |_| false, |_| 5);
    assert_eq!((index.entries(), index.slots(Tick(5))), (0, vec![]));
    assert_eq!(
        index.expired(),
        Expired {
            ttl: 0,
            lru: 200,
            restart: 300,
            endpoint_gone: 501
        }
    );
}
