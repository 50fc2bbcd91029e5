//! From a block's hash to its row: open addressing over one array, eight bytes a cell.
//!
//! A cell is `tag << 32 | row`, where the tag is the upper half of the hash under a seed of its own, so that nobody
//! outside can aim prompts at one cell; the seed places cells and changes no answer. A cell's home is `tag & mask`;
//! cells are probed one after the other, and a removal moves followers back, so there are no tombstones.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::index::believed::slab::NONE;

const EMPTY: u64 = u64::MAX;

/// Rows of blocks by hash. The caller keeps the hashes and says which row has which.
#[derive(Debug, Default)]
pub(crate) struct Table {
    cells: Vec<u64>,
    len: usize,
    seed: RandomState,
}

impl Table {
    /// Bytes that the next insertion allocates besides what is there, while both exist.
    pub(crate) fn growth(&self) -> usize {
        if self.full() {
            (self.cells.len() * 2).max(64) * size_of::<u64>()
        } else {
            0
        }
    }

    /// Bytes that are allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<u64>()
    }

    /// The row of a hash; `is` tells whether a row has it.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.cells.is_empty() {
            return None;
        }
        let tag = self.tag(hash);
        let mut at = self.home(tag);
        loop {
            let cell = self.cells[at];
            if cell == EMPTY {
                return None;
            }
            if (cell >> 32) as u32 == tag && is(cell as u32) {
                return Some(cell as u32);
            }
            at = self.next(at);
        }
    }

    /// Adds a row whose hash is not here yet.
    pub(crate) fn insert(&mut self, hash: u64, row: u32) {
        debug_assert_ne!(row, NONE, "no row is given the number that means none");
        if self.full() {
            let grown = vec![EMPTY; (self.cells.len() * 2).max(64)];
            for cell in std::mem::replace(&mut self.cells, grown) {
                if cell != EMPTY {
                    self.place(cell);
                }
            }
        }
        self.place(u64::from(self.tag(hash)) << 32 | u64::from(row));
        self.len += 1;
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, hash: u64, row: u32) {
        let wanted = u64::from(self.tag(hash)) << 32 | u64::from(row);
        let mut hole = self.home((wanted >> 32) as u32);
        while self.cells[hole] != wanted {
            if self.cells[hole] == EMPTY {
                return;
            }
            hole = self.next(hole);
        }
        self.len -= 1;
        let mask = self.cells.len() - 1;
        let mut at = hole;
        loop {
            at = self.next(at);
            let cell = self.cells[at];
            if cell == EMPTY {
                break;
            }
            // A follower fills the hole unless its home lies behind the hole.
            let home = self.home((cell >> 32) as u32);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.cells[hole] = cell;
                hole = at;
            }
        }
        self.cells[hole] = EMPTY;
    }

    const fn full(&self) -> bool {
        // At most two thirds, so that probes stay short.
        self.len * 3 >= self.cells.len() * 2
    }

    fn place(&mut self, cell: u64) {
        let mut at = self.home((cell >> 32) as u32);
        while self.cells[at] != EMPTY {
            at = self.next(at);
        }
        self.cells[at] = cell;
    }

    #[inline]
    fn tag(&self, hash: u64) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(hash);
        (hasher.finish() >> 32) as u32
    }

    #[inline]
    const fn home(&self, tag: u32) -> usize {
        tag as usize & (self.cells.len() - 1)
    }

    #[inline]
    const fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..200u64), 0..600)) {
            let mut table = Table::default();
            let mut rows: Vec<u64> = Vec::new();
            let mut model: HashMap<u64, u32> = HashMap::new();
            for (add, hash) in steps {
                let found = table.find(hash, |row| rows[row as usize] == hash);
                prop_assert_eq!(found, model.get(&hash).copied());
                match (add, found) {
                    (true, None) => {
                        table.insert(hash, rows.len() as u32);
                        model.insert(hash, rows.len() as u32);
                        rows.push(hash);
                    }
                    (false, Some(row)) => {
                        table.remove(hash, row);
                        model.remove(&hash);
                    }
                    _ => {}
                }
            }
            for (&hash, &row) in &model {
                prop_assert_eq!(table.find(hash, |row| rows[row as usize] == hash), Some(row));
            }
        }
    }
}
