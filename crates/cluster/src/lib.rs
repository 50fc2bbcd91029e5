//! The Kubernetes API as pointsman uses it: one way to connect, for discovery and operator alike.

mod connect;
mod nodes;

pub use kube::Client;

pub use connect::{ConnectError, connect, connect_to};
pub use nodes::{NodesError, label_node, list_nodes};
