//! KV blocks of one engine: who uses them, which of them can be reused, which go first.
//!
//! Blocks are counted, not numbered. A block is in one of four states:
//! `free` (holds nothing), `plain` (used by one request, without a hash), `shared` (a prompt block in
//! the tree that a running request uses) or `cached` (in the tree, used by nobody, evictable).
//! `free + plain + shared + cached = total` always.
//!
//! The tree is a radix tree over chained block hashes. A node holds a *run* of consecutive blocks, so a
//! prompt nobody shares costs one map entry, whatever its length. As the hashes are chained, a hash
//! stands for its whole past and occurs at most once in the tree; the map holds the first hash of each
//! node. A run is split when a prompt leaves it in the middle.
//!
//! Eviction takes blocks one by one from the end of the least recently used childless run, as vLLM
//! frees a request's blocks back to front. Node order is an intrusive list sorted by last use.

use foldhash::fast::FixedState;
use std::collections::HashMap;

/// No node.
pub const NO_NODE: u32 = u32::MAX;

#[derive(Clone, Debug, Default)]
struct Node {
    hashes: Vec<u64>,
    parent: u32,
    children: u32,
    /// Running requests whose prompt goes through this node.
    users: u32,
    last_use: u64,
    listed: bool,
    older: u32,
    newer: u32,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hit {
    /// Leading blocks of the prompt that are in the tree.
    pub blocks: u32,
    /// How many of them nobody uses; taking them makes as many fewer evictable.
    pub idle: u32,
}

/// The blocks of one engine.
#[derive(Clone, Debug)]
pub struct KvCache {
    total: u32,
    free: u32,
    cached: u32,
    shared: u32,
    nodes: Vec<Node>,
    spare: Vec<u32>,
    first_hash: HashMap<u64, u32, FixedState>,
    oldest: u32,
    newest: u32,
    clock: u64,
    evictions: u64,
}

impl KvCache {
    /// A cache of `total` blocks, all free.
    pub fn new(total: u32) -> Self {
        Self {
            total,
            free: total,
            cached: 0,
            shared: 0,
            nodes: Vec::new(),
            spare: Vec::new(),
            first_hash: HashMap::default(),
            oldest: NO_NODE,
            newest: NO_NODE,
            clock: 0,
            evictions: 0,
        }
    }

    /// All blocks of the engine.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Blocks a request can get, evicting cached ones where needed.
    pub fn available(&self) -> u32 {
        self.free + self.cached
    }

    /// Blocks that running requests use.
    pub fn used(&self) -> u32 {
        self.total - self.available()
    }

    /// Blocks that hold a reusable prefix and that nobody uses.
    pub fn cached(&self) -> u32 {
        self.cached
    }

    /// Blocks in the tree that running requests use.
    pub fn shared(&self) -> u32 {
        self.shared
    }

    /// Blocks evicted so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How much of a prompt is in the tree.
    pub fn find(&self, hashes: &[u64]) -> Hit {
        let mut hit = Hit::default();
        while let Some(rest) = hashes.get(hit.blocks as usize..).filter(|r| !r.is_empty()) {
            let Some(&node) = self.first_hash.get(&rest[0]) else {
                break;
            };
            let node = &self.nodes[node as usize];
            let common = common_prefix(&node.hashes, rest) as u32;
            hit.blocks += common;
            if node.users == 0 {
                hit.idle += common;
            }
            if (common as usize) < node.hashes.len() {
                break;
            }
        }
        hit
    }

    /// Makes a request a user of the leading `blocks` blocks of its prompt, which [`Self::find`] found;
    /// returns the node they end in.
    pub fn pin(&mut self, hashes: &[u64], blocks: u32) -> u32 {
        let mut tail = NO_NODE;
        let mut at = 0;
        while at < blocks as usize {
            let &node = self
                .first_hash
                .get(&hashes[at])
                .expect("find() saw these blocks");
            let wanted = blocks as usize - at;
            let node = if self.nodes[node as usize].hashes.len() > wanted {
                self.split(node, wanted)
            } else {
                node
            };
            self.add_user(node);
            at += self.nodes[node as usize].hashes.len();
            tail = node;
        }
        tail
    }

    /// Ends the use of the blocks up to `tail`; they stay cached until evicted.
    pub fn unpin(&mut self, tail: u32) {
        self.clock += 1;
        let mut at = tail;
        while at != NO_NODE {
            let node = &mut self.nodes[at as usize];
            node.users -= 1;
            node.last_use = self.clock;
            let parent = node.parent;
            if node.users == 0 {
                let blocks = node.hashes.len() as u32;
                self.cached += blocks;
                self.shared -= blocks;
                if self.nodes[at as usize].children == 0 {
                    self.list_newest(at);
                }
            }
            at = parent;
        }
    }

    /// Turns plain blocks of a request, whose prompt so far ends in `tail`, into shared ones under
    /// `hashes`; returns the new tail, or `None` when another request stored the same first (the blocks
    /// then stay plain).
    pub fn store(&mut self, tail: u32, hashes: &[u64]) -> Option<u32> {
        let (&first, blocks) = (hashes.first()?, hashes.len() as u32);
        let extends = tail != NO_NODE && {
            let node = &self.nodes[tail as usize];
            node.children == 0 && node.users == 1
        };
        let node = if extends {
            self.nodes[tail as usize].hashes.extend_from_slice(hashes);
            tail
        } else {
            if self.first_hash.contains_key(&first) {
                return None;
            }
            let node = self.new_node(tail, hashes);
            self.nodes[node as usize].users = 1;
            self.first_hash.insert(first, node);
            if tail != NO_NODE {
                self.nodes[tail as usize].children += 1;
            }
            node
        };
        self.shared += blocks;
        Some(node)
    }

    /// Takes `blocks` plain blocks, evicting the least recently used where needed. The caller has
    /// checked [`Self::available`].
    pub fn take(&mut self, blocks: u32) {
        if blocks > self.free {
            self.evict(blocks - self.free);
        }
        self.free -= blocks;
    }

    /// Gives plain blocks back.
    pub fn give(&mut self, blocks: u32) {
        self.free += blocks;
    }

    /// Forgets every prefix that no running request uses; true when nothing is left to reuse.
    pub fn reset(&mut self) -> bool {
        self.evict(self.cached);
        self.shared == 0
    }

    fn evict(&mut self, blocks: u32) {
        let mut missing = blocks;
        while missing > 0 && self.oldest != NO_NODE {
            let at = self.oldest;
            let node = &mut self.nodes[at as usize];
            let (held, first, parent) = (node.hashes.len() as u32, node.hashes[0], node.parent);
            let taken = held.min(missing);
            node.hashes.truncate((held - taken) as usize);
            missing -= taken;
            self.cached -= taken;
            self.free += taken;
            self.evictions += u64::from(taken);
            if taken == held {
                self.unlist(at);
                self.first_hash.remove(&first);
                self.spare.push(at);
                if parent != NO_NODE {
                    self.lose_child(parent);
                }
            }
        }
    }

    fn lose_child(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        node.children -= 1;
        if node.children == 0 && node.users == 0 {
            self.list_by_use(at);
        }
    }

    fn add_user(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        node.users += 1;
        if node.users == 1 {
            let blocks = node.hashes.len() as u32;
            self.cached -= blocks;
            self.shared += blocks;
            if node.listed {
                self.unlist(at);
            }
        }
    }

    /// Cuts a node after `keep` blocks. The lower part keeps its number, as its users hold it.
    fn split(&mut self, lower: u32, keep: usize) -> u32 {
        let parent = self.nodes[lower as usize].parent;
        let upper = self.new_node(parent, &[]);
        let tail = &mut self.nodes[lower as usize];
        let (users, last_use) = (tail.users, tail.last_use);
        let mut head = std::mem::take(&mut tail.hashes);
        let mut kept = std::mem::take(&mut self.nodes[upper as usize].hashes);
        kept.extend_from_slice(&head[..keep]);
        head.drain(..keep);
        self.first_hash.insert(kept[0], upper);
        self.first_hash.insert(head[0], lower);
        let tail = &mut self.nodes[lower as usize];
        tail.hashes = head;
        tail.parent = upper;
        let node = &mut self.nodes[upper as usize];
        node.hashes = kept;
        node.users = users;
        node.last_use = last_use;
        node.children = 1;
        upper
    }

    fn new_node(&mut self, parent: u32, hashes: &[u64]) -> u32 {
        let at = self.spare.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as u32
        });
        let node = &mut self.nodes[at as usize];
        node.hashes.clear();
        node.hashes.extend_from_slice(hashes);
        (
            node.parent,
            node.children,
            node.users,
            node.last_use,
            node.listed,
        ) = (parent, 0, 0, self.clock, false);
        at
    }

    fn list_newest(&mut self, at: u32) {
        self.link_after(self.newest, at);
    }

    /// Lists a node that became childless by eviction. Its children were the oldest, so it nearly
    /// always belongs at the very front; the walk is for the rare prompt that ended exactly here.
    fn list_by_use(&mut self, at: u32) {
        let last_use = self.nodes[at as usize].last_use;
        let mut before = NO_NODE;
        let mut next = self.oldest;
        while next != NO_NODE && self.nodes[next as usize].last_use < last_use {
            before = next;
            next = self.nodes[next as usize].newer;
        }
        self.link_after(before, at);
    }

    fn link_after(&mut self, before: u32, at: u32) {
        let after = if before == NO_NODE {
            self.oldest
        } else {
            self.nodes[before as usize].newer
        };
        let node = &mut self.nodes[at as usize];
        (node.older, node.newer, node.listed) = (before, after, true);
        match before {
            NO_NODE => self.oldest = at,
            _ => self.nodes[before as usize].newer = at,
        }
        match after {
            NO_NODE => self.newest = at,
            _ => self.nodes[after as usize].older = at,
        }
    }

    fn unlist(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        let (older, newer) = (node.older, node.newer);
        node.listed = false;
        match older {
            NO_NODE => self.oldest = newer,
            _ => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NO_NODE => self.newest = older,
            _ => self.nodes[newer as usize].older = older,
        }
    }
}

fn common_prefix(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes and stores all of `hashes` as a request would, and leaves it pinned.
    fn admit(kv: &mut KvCache, hashes: &[u64]) -> (u32, u32) {
        let hit = kv.find(hashes);
        let tail = kv.pin(hashes, hit.blocks);
        let rest = &hashes[hit.blocks as usize..];
        kv.take(rest.len() as u32);
        if rest.is_empty() {
            return (tail, hit.blocks);
        }
        (kv.store(tail, rest).unwrap(), hit.blocks)
    }

    fn audit(kv: &KvCache) {
        let held: u32 = kv
            .first_hash
            .values()
            .map(|&n| kv.nodes[n as usize].hashes.len() as u32)
            .sum();
        assert_eq!(held, kv.cached + kv.shared, "blocks in the tree");
        let listed: u32 = kv
            .first_hash
            .values()
            .filter(|&&n| kv.nodes[n as usize].listed)
            .count() as u32;
        let (mut walked, mut at, mut last) = (0, kv.oldest, 0);
        while at != NO_NODE {
            let node = &kv.nodes[at as usize];
            assert!(node.last_use >= last && node.users == 0 && node.children == 0);
            (last, walked, at) = (node.last_use, walked + 1, node.newer);
        }
        assert_eq!(walked, listed);
    }

    #[test]
    fn a_prompt_is_found_again_up_to_where_it_differs() {
        let mut kv = KvCache::new(100);
        let (tail, _) = admit(&mut kv, &[1, 2, 3, 4]);
        kv.unpin(tail);
        assert_eq!(kv.find(&[1, 2, 3, 4, 5]), Hit { blocks: 4, idle: 4 });
        let (other, hits) = admit(&mut kv, &[1, 2, 9]);
        assert_eq!(hits, 2);
        assert_eq!((kv.used(), kv.cached()), (3, 2));
        audit(&kv);
        kv.unpin(other);
        assert_eq!((kv.used(), kv.cached()), (0, 5));
        audit(&kv);
    }

    #[test]
    fn the_tail_of_the_least_recently_used_goes_first() {
        let mut kv = KvCache::new(6);
        let (a, _) = admit(&mut kv, &[1, 2, 3]);
        kv.unpin(a);
        let (b, _) = admit(&mut kv, &[7, 8, 9]);
        kv.unpin(b);
        kv.take(1);
        assert_eq!(kv.find(&[1, 2, 3]).blocks, 2);
        assert_eq!(kv.find(&[7, 8, 9]).blocks, 3);
        kv.take(3);
        assert_eq!((kv.find(&[1]).blocks, kv.find(&[7, 8, 9]).blocks), (0, 2));
        assert_eq!(kv.evictions(), 4);
        audit(&kv);
    }

    #[test]
    fn who_stores_second_keeps_its_blocks_to_itself() {
        let mut kv = KvCache::new(10);
        let (_, _) = admit(&mut kv, &[1, 2]);
        kv.take(2);
        assert_eq!(kv.store(NO_NODE, &[1, 2]), None);
        assert_eq!(kv.used(), 4);
        audit(&kv);
    }

    #[test]
    fn a_reset_leaves_what_is_in_use() {
        let mut kv = KvCache::new(10);
        let (a, _) = admit(&mut kv, &[1, 2]);
        let (b, _) = admit(&mut kv, &[3]);
        kv.unpin(b);
        assert!(!kv.reset());
        assert_eq!((kv.cached(), kv.used()), (0, 2));
        kv.unpin(a);
        assert!(kv.reset());
        assert_eq!(kv.available(), 10);
    }

    proptest! {
        #[test]
        fn blocks_are_conserved(ops in proptest::collection::vec((0u8..3, 0u64..4, 1usize..8, 0usize..8), 1..200)) {
            let mut kv = KvCache::new(24);
            // Each held request: its tail and its plain blocks.
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (op, family, length, fork) in ops {
                if op < 2 {
                    // Prompts of a family share the first `fork` blocks; a hash stands for its whole past.
                    let hashes: Vec<u64> = (0..length)
                        .map(|i| if i < 3 { family * 1000 + i as u64 } else { family * 1000 + (fork * 100 + i) as u64 })
                        .collect();
                    let hit = kv.find(&hashes);
                    let rest = hashes.len() as u32 - hit.blocks;
                    if rest > kv.available() - hit.idle {
                        continue;
                    }
                    let tail = kv.pin(&hashes, hit.blocks);
                    kv.take(rest);
                    match kv.store(tail, &hashes[hit.blocks as usize..]) {
                        Some(tail) => held.push((tail, 0)),
                        None => held.push((tail, rest)),
                    }
                } else if !held.is_empty() {
                    let (tail, plain) = held.swap_remove(fork % held.len());
                    kv.unpin(tail);
                    kv.give(plain);
                }
                audit(&kv);
                let plain: u32 = held.iter().map(|h| h.1).sum();
                prop_assert_eq!(kv.used(), plain + kv.shared());
                prop_assert_eq!(kv.free + plain + kv.shared + kv.cached, kv.total());
            }
            for (tail, plain) in held.drain(..) {
                kv.unpin(tail);
                kv.give(plain);
            }
            prop_assert_eq!(kv.used(), 0);
            prop_assert!(kv.reset());
            prop_assert_eq!(kv.available(), 24);
        }
    }
}
