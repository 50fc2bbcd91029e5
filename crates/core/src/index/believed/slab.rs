//! Rows in pages that never move: growing copies nothing, and what it costs is known before.

use std::ops::{Index, IndexMut};

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// Rows by number; numbers of removed rows are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pages: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Rows of a page.
    const PAGE: usize = 512;
    /// Bytes by which [`Slab::insert`] grows a full slab.
    pub(crate) const GROWTH: usize = Self::PAGE * size_of::<T>();

    pub(crate) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Whether the next row needs another page.
    pub(crate) fn full(&self) -> bool {
        self.free.is_empty()
            && self
                .pages
                .last()
                .is_none_or(|page| page.len() == Self::PAGE)
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self[at] = value;
            return at;
        }
        if self.full() {
            self.pages.push(Vec::with_capacity(Self::PAGE));
        }
        let page = self.pages.len() - 1;
        let rows = &mut self.pages[page];
        rows.push(value);
        (page * Self::PAGE + rows.len() - 1) as u32
    }

    /// Gives a row's number back; its value stays until the number is used again.
    pub(crate) fn remove(&mut self, at: u32) {
        self.free.push(at);
    }

    /// Rows in use.
    pub(crate) fn len(&self) -> usize {
        let rows = match self.pages.split_last() {
            Some((last, whole)) => whole.len() * Self::PAGE + last.len(),
            None => 0,
        };
        rows - self.free.len()
    }

    /// Bytes that are allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * Self::GROWTH
            + self.pages.capacity() * size_of::<Vec<T>>()
            + self.free.capacity() * size_of::<u32>()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: u32) -> &T {
        &self.pages[at as usize / Self::PAGE][at as usize % Self::PAGE]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.pages[at as usize / Self::PAGE][at as usize % Self::PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_rows_stay() {
        let mut slab = Slab::new();
        let rows: Vec<u32> = (0..2000u64).map(|n| slab.insert(n)).collect();
        assert!(rows.iter().zip(0..).all(|(&at, n)| slab[at] == n));
        slab.remove(rows[7]);
        assert_eq!(slab.len(), 1999);
        assert_eq!(slab.insert(1), rows[7]);
        let pages = slab.bytes() / Slab::<u64>::GROWTH;
        assert_eq!(pages, 2000_usize.div_ceil(Slab::<u64>::PAGE));
    }
}
