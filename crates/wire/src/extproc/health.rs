//! The messages of `grpc.health.v1`.

use prost::Message;

/// Who is asked after.
#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckRequest {
    /// The service's name; empty for the whole process.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// How it is.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct HealthCheckResponse {
    /// [`SERVING`], [`NOT_SERVING`] or [`SERVICE_UNKNOWN`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// How all services are.
#[derive(Clone, PartialEq, Message)]
pub struct HealthListResponse {
    /// By name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub statuses: std::collections::BTreeMap<String, HealthCheckResponse>,
}

/// It serves.
pub const SERVING: i32 = 1;
/// It does not.
pub const NOT_SERVING: i32 = 2;
/// There is no such service.
pub const SERVICE_UNKNOWN: i32 = 3;
