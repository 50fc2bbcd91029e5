//! What the index of beliefs is told: its limits, where an insertion goes, how matches count; and what has gone.

use serde::Serialize;

use crate::model::slots::Slot;
use crate::time::Span;

/// How the blocks of a slot are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MatchMode {
    /// Every block that the slot holds, up to the first that nobody holds.
    #[default]
    Hits,
    /// The blocks from the start of the prompt up to the first that the slot lacks.
    Contiguous,
}

/// What the index keeps, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long an entry lives after its last insertion; zero: for ever.
    pub ttl: Span,
    /// Bytes that the index may allocate. Slightly more may be in use while one set of holders grows.
    pub max_bytes: usize,
    /// Blocks of a slot that stay visible although their own insertion evicted them; the oldest go first.
    pub keep_overflow: u32,
    /// Whether the capacity of a slot follows later insertions; otherwise the first one fixes it.
    pub resize: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ttl: Span(0),
            max_bytes: 256 << 20,
            keep_overflow: 0,
            resize: false,
        }
    }
}

/// Where an insertion goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The slot that was picked.
    pub slot: Slot,
    /// The slot's epoch at the pick.
    pub epoch: u32,
    /// Blocks that the slot can hold.
    pub capacity: u32,
}

/// Entries that have gone since the index was made, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Expired {
    /// They outlived the time to live.
    pub ttl: u64,
    /// Newer ones took their place, in their slot or in memory.
    pub lru: u64,
    /// Their endpoint left the pool.
    pub endpoint_gone: u64,
    /// Their endpoint restarted, or the slot is another endpoint's now.
    pub restart: u64,
}
