//! The life of one request, the same behind every door.
pub mod event;
pub mod lessons;
pub mod life;
