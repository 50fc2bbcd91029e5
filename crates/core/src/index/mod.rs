//! Sets over rows, the hashes of a prompt's blocks, and who is believed to hold them.
pub mod believed;
pub mod block_hash;
pub mod row_set;
