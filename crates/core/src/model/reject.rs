//! The closed list of reasons why a request is not served.
//!
//! Only `wire/status.rs` turns a reason into a status, a body and headers; everything else passes this value on.

use std::fmt;

/// Why a request is not served. Each request that is not served ends in exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The body or a header is not what the interface asks for; the text says what and where.
    Malformed(String),
    /// The body is larger than the door accepts.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// No route claims the path and headers.
    NoRoute,
    /// The path is known, the method is not one it accepts.
    MethodNotAllowed,
    /// The request was wanted only where its prompt is cached, and the picked endpoint does not hold it.
    NotCached,
    /// The pool, or the part of it that the request may use, is empty.
    NoEndpoints,
    /// The pool is empty, and the request may not wait, or not any longer, until it is not.
    NoEndpointsQueued {
        /// Whether it has waited; else the queue had no room for it.
        waited: bool,
    },
    /// Filters crossed out every candidate.
    FilteredOut {
        /// Name of the scheduling profile that failed.
        profile: String,
        /// Name of the filter that removed the last candidate.
        filter: String,
    },
    /// The pool is saturated, and the request is of those that give way.
    Saturated,
    /// A plugin does not admit it; the text says which and why.
    NotAdmitted(String),
    /// The queue has no room for it.
    QueueFull {
        /// Seconds after which there is likely to be room, from how fast the queue drains.
        retry_after_s: u32,
    },
    /// The request waited longer than its time to live.
    TtlExpired,
    /// It was let in, and had to give way to one of a higher priority.
    Evicted,
    /// The router is shutting down.
    ShuttingDown,
    /// The client left before it was answered.
    ClientGone,
    /// Every endpoint that was tried refused or reset the connection before a first byte.
    UpstreamUnreachable {
        /// How many endpoints were tried.
        tried: usize,
    },
    /// The endpoint gave no first byte in time and no other was left.
    UpstreamTimeout,
    /// The endpoint broke off after its first byte.
    UpstreamBroke,
    /// A fault of our own.
    Internal(String),
}

impl Reject {
    /// A short, stable word for logs, metrics and receipts.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::NoRoute => "no-route",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotCached => "not-cached",
            Self::NoEndpoints | Self::NoEndpointsQueued { .. } => "no-endpoints",
            Self::FilteredOut { .. } => "filtered-out",
            Self::Saturated => "saturated",
            Self::NotAdmitted(_) => "not-admitted",
            Self::QueueFull { .. } => "queue-full",
            Self::TtlExpired => "ttl-expired",
            Self::Evicted => "evicted",
            Self::ShuttingDown => "shutting-down",
            Self::ClientGone => "client-gone",
            Self::UpstreamUnreachable { .. } => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamBroke => "upstream-broke",
            Self::Internal(_) => "internal",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "{what}"),
            Self::BodyTooLarge { limit } => write!(f, "request body is larger than {limit} bytes"),
            Self::NoRoute => write!(f, "no route matches this path and these headers"),
            Self::MethodNotAllowed => write!(f, "this path does not accept the method; use POST"),
            Self::NotCached => write!(f, "no endpoint holds this prompt in its cache"),
            Self::NoEndpoints | Self::NoEndpointsQueued { .. } => {
                write!(f, "the pool has no endpoint for this request")
            }
            Self::FilteredOut { profile, filter } => {
                write!(
                    f,
                    "filter '{filter}' of profile '{profile}' left no endpoint for this request"
                )
            }
            Self::Saturated => write!(f, "the pool is saturated; try again later"),
            Self::NotAdmitted(why) => write!(f, "the request cannot be admitted: {why}"),
            Self::QueueFull { retry_after_s } => write!(
                f,
                "too many requests wait for the pool; try again in {retry_after_s} s"
            ),
            Self::TtlExpired => write!(f, "the request waited too long for a free endpoint"),
            Self::Evicted => write!(
                f,
                "the request gave way to one of a higher priority; try again later"
            ),
            Self::ShuttingDown => write!(f, "the router is shutting down"),
            Self::ClientGone => write!(f, "the client left before the answer"),
            Self::UpstreamUnreachable { tried } => {
                write!(f, "no endpoint could be reached ({tried} tried)")
            }
            Self::UpstreamTimeout => write!(f, "the endpoint gave no answer in time"),
            Self::UpstreamBroke => write!(f, "the endpoint broke off before the end of its answer"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Reject {}
