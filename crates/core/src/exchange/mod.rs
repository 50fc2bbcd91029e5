//! The life of one request, the same behind every door.
pub mod event;
pub mod life;
