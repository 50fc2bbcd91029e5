//! What the gatekeeper knows of the pool: its parts by role, and what was in flight when each reading was taken.

use crate::contract::admission::{AtReading, PoolLoad, SaturationDetector};
use crate::model::pool::Snapshot;
use crate::model::slots::{Reading, Slot, Slots};
use crate::model::tokens::TokensInFlight;
use crate::time::Tick;

/// The label with an endpoint's part in a request.
const ROLE: &str = "llm-d.ai/role";

/// How full each part of the pool is; `None` where no endpoint has that part.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Saturation {
    /// Those who prefill.
    pub prefill: Option<f64>,
    /// Those who decode.
    pub decode: Option<f64>,
    /// The fuller of both: what counts.
    pub effective: f64,
}

/// The pool as it was looked at last.
#[derive(Default)]
pub struct Watch {
    generation: Option<u64>,
    all: Vec<Slot>,
    prefill: Vec<Slot>,
    decode: Vec<Slot>,
    at_reading: Vec<AtReading>,
}

impl Watch {
    /// Looks at the membership and at which readings are new.
    pub fn look(&mut self, snapshot: &Snapshot, slots: &Slots) {
        if self.generation != Some(snapshot.generation) {
            self.take_members(snapshot);
        }
        for &slot in &self.all {
            let at = slot.0 as usize;
            if self.at_reading.len() <= at {
                self.at_reading.resize(at + 1, AtReading::default());
            }
            let taken = Reading::SCRAPED.map(|reading| slots.read_raw(slot, reading).1);
            let taken = taken.into_iter().max().unwrap_or_default();
            let then = &mut self.at_reading[at];
            if then.taken != taken || taken == Tick(0) {
                *then = AtReading {
                    taken,
                    in_flight: slots.in_flight(slot),
                };
            }
        }
    }

    fn take_members(&mut self, snapshot: &Snapshot) {
        self.generation = Some(snapshot.generation);
        for part in [&mut self.all, &mut self.prefill, &mut self.decode] {
            part.clear();
        }
        for endpoint in &snapshot.endpoints {
            self.all.push(endpoint.slot);
            let (prefill, decode) = match endpoint.labels.get(ROLE) {
                Some("prefill" | "encode-prefill") => (true, false),
                None | Some("decode") => (false, true),
                Some("prefill-decode" | "both" | "encode-prefill-decode") => (true, true),
                Some(_) => (false, false),
            };
            if prefill {
                self.prefill.push(endpoint.slot);
            }
            if decode {
                self.decode.push(endpoint.slot);
            }
        }
    }

    /// Whether the pool has no endpoint.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn load<'a>(
        &'a self,
        members: &'a [Slot],
        slots: &'a Slots,
        tokens: Option<&'a TokensInFlight>,
        now: Tick,
    ) -> PoolLoad<'a> {
        PoolLoad {
            slots,
            members,
            now,
            at_reading: &self.at_reading,
            tokens,
        }
    }

    /// How full the pool is: the fuller of its parts, or the whole where no endpoint has a part that counts.
    pub fn saturation(
        &self,
        detector: &dyn SaturationDetector,
        slots: &Slots,
        tokens: Option<&TokensInFlight>,
        now: Tick,
    ) -> Saturation {
        let of = |members: &[Slot]| {
            let load = self.load(members, slots, tokens, now);
            (!members.is_empty()).then(|| detector.saturation(&load))
        };
        let (prefill, decode) = (of(&self.prefill), of(&self.decode));
        let fuller = match (prefill, decode) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        let effective = fuller
            .or_else(|| of(&self.all))
            .unwrap_or_else(|| detector.saturation(&self.load(&[], slots, tokens, now)));
        Saturation {
            prefill,
            decode,
            effective,
        }
    }

    /// How many more requests each part has room for below `ceiling`; the least of them. Below zero where some have to
    /// end first.
    pub fn room(
        &self,
        detector: &dyn SaturationDetector,
        slots: &Slots,
        tokens: Option<&TokensInFlight>,
        now: Tick,
        ceiling: f64,
    ) -> i64 {
        let of = |members: &[Slot]| {
            let load = self.load(members, slots, tokens, now);
            (!members.is_empty()).then(|| detector.room(&load, ceiling))
        };
        let parts = [of(&self.prefill), of(&self.decode)];
        let least = parts.into_iter().flatten().min();
        least.or_else(|| of(&self.all)).unwrap_or(i64::MIN)
    }

    /// How many endpoints count as full because their readings are too old.
    pub fn stale(&self, detector: &dyn SaturationDetector, slots: &Slots, now: Tick) -> usize {
        detector.stale(&self.load(&self.all, slots, None, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::saturation::Concurrency;
    use crate::model::endpoint::{Endpoint, Labels};
    use std::sync::Arc;

    fn snapshot(generation: u64, roles: &[&str]) -> Snapshot {
        let endpoints = roles.iter().enumerate().map(|(at, role)| {
            let labels: Labels = [(ROLE, *role)]
                .into_iter()
                .filter(|(_, role)| !role.is_empty())
                .collect();
            let slot = Slot(at as u32);
            Endpoint::new(
                &format!("ns/e{at}"),
                ([10, 0, 0, 1], 80).into(),
                labels,
                slot,
            )
        });
        Snapshot::new(generation, endpoints.collect())
    }

    #[test]
    fn the_fuller_part_counts_and_other_roles_do_not() {
        let detector = Concurrency {
            requests: 4,
            ..Concurrency::default()
        };
        let slots = Arc::new(Slots::new(8));
        let guards: Vec<_> = (0..3).map(|_| slots.enter(Slot(0))).collect();
        let mut watch = Watch::default();
        let mut check = |snapshot: &Snapshot, expected: Saturation, room: i64| {
            watch.look(snapshot, &slots);
            let found = watch.saturation(&detector, &slots, None, Tick(1));
            assert_eq!(found, expected);
            assert_eq!(watch.room(&detector, &slots, None, Tick(1), 1.0), room);
        };
        let parts = Saturation {
            prefill: Some(0.75),
            decode: Some(0.0),
            effective: 0.75,
        };
        check(&snapshot(1, &["prefill", "decode", "", "encode"]), parts, 1);
        let both = Saturation {
            prefill: Some(0.75),
            decode: Some(0.375),
            effective: 0.75,
        };
        check(&snapshot(2, &["both", "decode"]), both, 1);
        let none = Saturation {
            effective: 0.75,
            ..Saturation::default()
        };
        check(&snapshot(3, &["encode"]), none, 1);
        let empty = Saturation {
            effective: 1.0,
            ..Saturation::default()
        };
        check(&snapshot(4, &[]), empty, i64::MIN);
        drop(guards);
    }

    #[test]
    fn growth_is_counted_from_the_newest_reading() {
        let slots = Arc::new(Slots::new(1));
        let snapshot = snapshot(1, &[""]);
        let mut watch = Watch::default();
        slots.write(Slot(0), Reading::Waiting, 0.0, Tick(5));
        watch.look(&snapshot, &slots);
        let guards: Vec<_> = (0..3).map(|_| slots.enter(Slot(0))).collect();
        watch.look(&snapshot, &slots);
        let grown = |watch: &Watch| watch.load(&watch.all, &slots, None, Tick(6)).grown(Slot(0));
        assert_eq!(grown(&watch), (0, 3));
        slots.write(Slot(0), Reading::Waiting, 1.0, Tick(7));
        watch.look(&snapshot, &slots);
        assert_eq!(grown(&watch), (3, 0));
        drop(guards);
    }
}
