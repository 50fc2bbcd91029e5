//! A set of table rows as bits: candidates that are still in, or endpoints that were already tried.

/// A set over the rows `0..len`. Clearing and refilling keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSet {
    words: Vec<u64>,
    len: usize,
}

impl RowSet {
    /// Makes this the full set over `0..len`.
    pub fn fill(&mut self, len: usize) {
        self.len = len;
        self.words.clear();
        self.words.resize(len.div_ceil(64), u64::MAX);
        if !len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last = (1u64 << (len % 64)) - 1;
        }
    }

    /// Makes this the empty set over `0..len`.
    pub fn clear(&mut self, len: usize) {
        self.len = len;
        self.words.clear();
        self.words.resize(len.div_ceil(64), 0);
    }

    /// Removes a row; rows outside are ignored.
    pub fn remove(&mut self, row: usize) {
        if row < self.len {
            self.words[row / 64] &= !(1u64 << (row % 64));
        }
    }

    /// Adds a row; rows outside are ignored.
    pub fn insert(&mut self, row: usize) {
        if row < self.len {
            self.words[row / 64] |= 1u64 << (row % 64);
        }
    }

    /// Whether the row is in the set.
    pub fn contains(&self, row: usize) -> bool {
        row < self.len && self.words[row / 64] & (1u64 << (row % 64)) != 0
    }

    /// How many rows are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no row is left.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Number of rows the set ranges over.
    pub fn universe(&self) -> usize {
        self.len
    }

    /// The rows in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// Calls `visit` with every row in ascending order; the fast way through a large set.
    pub fn for_each(&self, mut visit: impl FnMut(usize)) {
        for (at, &word) in self.words.iter().enumerate() {
            let start = at * 64;
            if word == u64::MAX {
                (start..start + 64).for_each(&mut visit);
                continue;
            }
            let mut rest = word;
            while rest != 0 {
                visit(start + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }

    /// Keeps only rows for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !keep(at * 64 + bit) {
                    *word &= !(1u64 << bit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(len in 0usize..200, removed in prop::collection::vec(0usize..220, 0..50)) {
            let mut set = RowSet::default();
            set.fill(len);
            let mut model: std::collections::BTreeSet<usize> = (0..len).collect();
            for row in removed {
                set.remove(row);
                model.remove(&row);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            set.retain(|row| row % 3 == 0);
            model.retain(|row| row % 3 == 0);
            prop_assert!(set.iter().eq(model.iter().copied()));
            let mut visited = Vec::new();
            set.for_each(|row| visited.push(row));
            prop_assert!(visited.iter().eq(model.iter()));
        }
    }
}
