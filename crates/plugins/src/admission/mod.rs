//! Plugins that decide over requests before they are scheduled: how full the pool is, who waits and who goes next.
pub mod concurrency;
pub mod edf;
pub mod fcfs;
pub mod global_strict;
pub mod probabilistic;
pub mod round_robin;
pub mod slo_deadline;
pub mod static_usage_limit;
pub mod utilization;
