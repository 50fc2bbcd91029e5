//! One belief, a block on a slot, and the lists it stands in.
//!
//! Every entry stands in two lists: that of its slot (what the slot would evict first) and that of all entries
//! (what expires first, and what goes when memory is short). Both are in the order of insertion.

use crate::index::believed::slab::{NONE, Slab};
use crate::time::Tick;

/// A block that a slot is believed to hold.
#[derive(Debug)]
pub(crate) struct Entry {
    /// When it was inserted last.
    pub(crate) at: Tick,
    /// The row of the block.
    pub(crate) block: u32,
    pub(crate) slot: u32,
    /// The insertion that put it here last.
    pub(crate) insertion: u32,
    /// Whether it was evicted by its own insertion and is kept nevertheless.
    pub(crate) overflow: bool,
    pub(crate) of_slot: Link,
    pub(crate) of_all: Link,
}

/// The neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    /// The next newer entry, or [`NONE`].
    #[inline]
    pub(crate) const fn after(self) -> u32 {
        self.after
    }

    pub(crate) const LOOSE: Self = Self {
        before: NONE,
        after: NONE,
    };
}

/// The ends of a list, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// Which of an entry's links a list runs through.
type Pick = fn(&mut Entry) -> &mut Link;

/// The links of a slot's list.
pub(crate) const OF_SLOT: Pick = |entry| &mut entry.of_slot;
/// The links of the list of all entries.
pub(crate) const OF_ALL: Pick = |entry| &mut entry.of_all;

impl List {
    pub(crate) const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };

    /// Appends an entry that stands in no list of this kind.
    #[inline]
    pub(crate) fn push(&mut self, entries: &mut Slab<Entry>, link: Pick, at: u32) {
        *link(&mut entries[at]) = Link {
            before: self.last,
            after: NONE,
        };
        match self.last {
            NONE => self.first = at,
            last => link(&mut entries[last]).after = at,
        }
        self.last = at;
    }

    /// Moves a run of neighbours, from `first` to `last`, to the end.
    #[inline]
    pub(crate) fn renew(&mut self, entries: &mut Slab<Entry>, link: Pick, first: u32, last: u32) {
        let after = link(&mut entries[last]).after;
        if after == NONE {
            return;
        }
        let before = link(&mut entries[first]).before;
        match before {
            NONE => self.first = after,
            before => link(&mut entries[before]).after = after,
        }
        link(&mut entries[after]).before = before;
        // The run does not hold the end, since something stands after it.
        link(&mut entries[first]).before = self.last;
        link(&mut entries[self.last]).after = first;
        link(&mut entries[last]).after = NONE;
        self.last = last;
    }

    /// Takes an entry out.
    #[inline]
    pub(crate) fn unlink(&mut self, entries: &mut Slab<Entry>, link: Pick, at: u32) {
        let Link { before, after } = std::mem::replace(link(&mut entries[at]), Link::LOOSE);
        match before {
            NONE => self.first = after,
            before => link(&mut entries[before]).after = after,
        }
        match after {
            NONE => self.last = before,
            after => link(&mut entries[after]).before = before,
        }
    }
}
