//! Who can serve and what is asked: endpoints and their slots, the pool, the request, the rejects.
pub mod assets;
pub mod endpoint;
pub mod headers;
pub mod pool;
pub mod prompt;
pub mod reject;
pub mod reported;
pub mod request;
pub mod rewrites;
pub mod slots;
pub mod tokens;
pub mod usage;
