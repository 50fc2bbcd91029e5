//! The Kubernetes API as pointsman uses it: one way to connect, for discovery and operator alike.

mod connect;

pub use connect::{ConnectError, connect, connect_to};
