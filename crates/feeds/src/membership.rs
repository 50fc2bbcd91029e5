//! The membership of the pool: merges what discovery says into numbered snapshots and swaps the pointer.
//!
//! An endpoint that stays keeps its slot, so its readings and its in-flight count outlive the change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pointsman_core::model::endpoint::{Endpoint, Labels};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Slot, SlotAllocator, Slots};
use tokio::sync::watch;

/// One endpoint as discovery describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Full name, `<namespace>/<name>`.
    pub name: String,
    /// Where requests are sent.
    pub address: SocketAddr,
    /// Its labels.
    pub labels: Labels,
}

/// The pool's members and their slots.
pub struct Membership {
    slots: Arc<Slots>,
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Writer {
    allocator: SlotAllocator,
    held: HashMap<(String, SocketAddr), Slot>,
}

impl Membership {
    /// An empty pool with room for `capacity` endpoints.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Arc::new(Slots::new(capacity)),
            current: ArcSwap::from_pointee(Snapshot::default()),
            changes: watch::channel(0).0,
            writer: Mutex::default(),
        }
    }

    /// Live readings of all slots.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Tells the generation of each new snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Replaces the membership. Returns how many members found no free slot and were left out.
    pub fn replace(&self, members: &[Member]) -> usize {
        let mut writer = self.writer.lock();
        let Writer { allocator, held } = &mut *writer;
        let mut next: HashMap<(String, SocketAddr), Slot> = HashMap::with_capacity(members.len());
        let mut endpoints = Vec::with_capacity(members.len());
        let mut left_out = 0;
        for member in members {
            let key = (member.name.clone(), member.address);
            if next.contains_key(&key) {
                continue;
            }
            let Some(slot) = held.remove(&key).or_else(|| allocator.take(&self.slots)) else {
                left_out += 1;
                continue;
            };
            next.insert(key, slot);
            endpoints.push(Endpoint::new(
                &member.name,
                member.address,
                member.labels.clone(),
                slot,
            ));
        }
        for (_, slot) in held.drain() {
            allocator.give_back(slot);
        }
        *held = next;
        let generation = self.current.load().generation + 1;
        self.current
            .store(Arc::new(Snapshot::new(generation, endpoints)));
        drop(writer);
        self.changes.send_replace(generation);
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, port: u16) -> Member {
        Member {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], port).into(),
            labels: Labels::default(),
        }
    }

    #[test]
    fn who_stays_keeps_its_slot_and_who_moves_gets_a_new_one() {
        let membership = Membership::new(3);
        assert_eq!(membership.replace(&[member("a", 1), member("b", 2)]), 0);
        let before = membership.snapshot();
        let guard = membership.slots().enter(before.endpoints[1].slot);
        membership.replace(&[member("b", 2), member("a", 9)]);
        let after = membership.snapshot();
        assert_eq!(after.generation, 2);
        assert_eq!(after.endpoints[0].slot, before.endpoints[1].slot);
        assert_ne!(after.endpoints[1].slot, before.endpoints[0].slot);
        assert_eq!(membership.slots().in_flight(guard.slot()), 1);
    }

    #[test]
    fn members_without_a_slot_are_counted_and_repeated_ones_taken_once() {
        let membership = Membership::new(2);
        assert_eq!(
            membership.replace(&[
                member("a", 1),
                member("a", 1),
                member("b", 2),
                member("c", 3)
            ]),
            1
        );
        assert_eq!(membership.snapshot().len(), 2);
    }
}
