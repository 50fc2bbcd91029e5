//! The Kubernetes API as pointsman uses it, for discovery and operator alike: one way to connect, one to follow
//! objects, one to be the leader.

mod connect;
mod nodes;
mod usage;

mod backoff;

pub mod watch;

pub mod lease;

pub mod election;

pub use backoff::Backoff;
pub use connect::{ConnectError, connect, connect_to};
pub use kube::Client;
pub use nodes::{NodesError, label_node, list_nodes};
pub use usage::{PodUsage, UsageError, pod_usage};
