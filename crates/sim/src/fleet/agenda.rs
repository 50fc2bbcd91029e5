//! Who has something to do next: a tournament over fixed contestants.
//!
//! Every contestant has one entry, a time or nothing. A binary tree holds in each node the earlier of
//! its two children, so the first is at the root and a change costs one path, `log2(n)` comparisons.
//! Of equal times the lower number goes first, so an order never depends on what came before.
//! Unlike a heap of wake-ups it never holds an entry that is out of date.

use pointsman_core::time::Tick;

/// Nothing to do.
const NEVER: u64 = u64::MAX;

/// The next event of each of a fixed number of contestants.
#[derive(Clone, Debug)]
pub struct Agenda {
    /// (time, contestant); node `i` has the children `2 i` and `2 i + 1`, the leaves come last.
    tree: Vec<(u64, u32)>,
    leaves: usize,
}

impl Agenda {
    /// An empty agenda for the contestants `0..contestants`.
    pub fn new(contestants: usize) -> Self {
        let leaves = contestants.next_power_of_two();
        let mut agenda = Self {
            tree: vec![(NEVER, 0); 2 * leaves],
            leaves,
        };
        for at in 0..leaves {
            agenda.tree[leaves + at].1 = at as u32;
        }
        for node in (1..leaves).rev() {
            agenda.tree[node] = agenda.tree[2 * node];
        }
        agenda
    }

    /// Sets when contestant `at` is due next; `None` takes it off.
    pub fn set(&mut self, at: usize, due: Option<Tick>) {
        let mut node = self.leaves + at;
        self.tree[node].0 = due.map_or(NEVER, |tick| tick.0);
        while node > 1 {
            node /= 2;
            let earlier = self.tree[2 * node].min(self.tree[2 * node + 1]);
            if self.tree[node] == earlier {
                return;
            }
            self.tree[node] = earlier;
        }
    }

    /// Who is due first, and when; `None` when nobody has anything to do.
    pub fn first(&self) -> Option<(Tick, usize)> {
        let (due, at) = self.tree[1];
        (due != NEVER).then_some((Tick(due), at as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_smallest_of_all(
            contestants in 1usize..20,
            changes in prop::collection::vec((0usize..20, prop::option::of(0u64..9)), 0..100),
        ) {
            let mut agenda = Agenda::new(contestants);
            let mut model = vec![None; contestants];
            prop_assert_eq!(agenda.first(), None);
            for (at, due) in changes {
                let at = at % contestants;
                model[at] = due.map(Tick);
                agenda.set(at, model[at]);
                let first = (0..contestants).filter_map(|at| Some((model[at]?, at))).min();
                prop_assert_eq!(agenda.first(), first);
            }
        }
    }
}
