//! The Kubernetes API as pointsman uses it, for discovery, operator and checks alike: one way to connect, one to follow
//! objects, one to list them, one to reach a pod's port, one to be the leader, one to know who may read.

mod connect;
mod nodes;
mod usage;

mod backoff;

pub mod access;

pub mod watch;

pub mod lease;

pub mod election;

pub mod read;

pub mod forward;

pub use backoff::Backoff;
pub use connect::{ConnectError, connect, connect_to};
pub use kube::Client;
pub use nodes::{NodesError, label_node, list_nodes, managed_nodes};
pub use usage::{PodUsage, UsageError, pod_usage};
