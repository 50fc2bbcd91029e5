//! The Kubernetes API as pointsman uses it, for discovery and operator alike: one way to connect, one to follow
//! objects, one to be the leader, one to know who may read.

mod connect;
mod nodes;

mod backoff;

pub mod access;

pub mod watch;

pub mod lease;

pub mod election;

pub use backoff::Backoff;
pub use connect::{ConnectError, connect, connect_to};
pub use kube::Client;
pub use nodes::{NodesError, label_node, list_nodes};
