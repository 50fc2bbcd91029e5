//! Chained hashes of prompt blocks: equal hashes mean equal tokens from the start of the prompt.
//!
//! `h[i] = mix(h[i-1], block i)`. These are the simulator's own numbers, made for prefix reuse inside
//! one engine; they are not the engines' wire format for KV events.

use pointsman_core::rng::splitmix;

/// Appends the hash of every full block of `tokens` to `out`.
pub fn hash_tokens(tokens: &[u32], block_size: usize, out: &mut Vec<u64>) {
    let mut parent = 0;
    for block in tokens.chunks_exact(block_size.max(1)) {
        let mut hash = parent;
        for pair in block.chunks(2) {
            let second = pair.get(1).copied().unwrap_or(u32::MAX);
            hash = chain(hash, (u64::from(pair[0]) << 32) | u64::from(second));
        }
        out.push(hash);
        parent = hash;
    }
}

/// Appends chained hashes of blocks that are known by ids of their own (as in public traces) to `out`.
pub fn hash_ids(ids: &[u64], out: &mut Vec<u64>) {
    let mut parent = 0;
    for &id in ids {
        parent = chain(parent, id);
        out.push(parent);
    }
}

fn chain(parent: u64, value: u64) -> u64 {
    let mut state = parent.rotate_left(23) ^ value.wrapping_mul(0x9fb2_1c65_1e98_df25);
    splitmix(&mut state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokens: &[u32]) -> Vec<u64> {
        let mut out = Vec::new();
        hash_tokens(tokens, 4, &mut out);
        out
    }

    #[test]
    fn only_full_blocks_count_and_the_past_is_part_of_the_hash() {
        let a = tokens(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(a.len(), 2);
        let b = tokens(&[1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(a[0], b[0]);
        assert_ne!(a[1], b[1]);
        let c = tokens(&[0, 2, 3, 4, 5, 6, 7, 8]);
        assert_ne!(a[1], c[1]);
    }

    #[test]
    fn ids_are_chained() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        hash_ids(&[1, 2, 3], &mut a);
        hash_ids(&[9, 2, 3], &mut b);
        assert!(a.iter().zip(&b).all(|(a, b)| a != b));
    }
}
