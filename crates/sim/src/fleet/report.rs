//! What a run of a fleet came to.

use std::fmt;

use serde::Serialize;

use crate::fleet::quantiles::Quantiles;

/// The outcome of one workload. Equal configurations and seeds give equal reports, to the byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seed of the fleet.
    pub seed: u64,
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that an engine answered.
    pub served: u64,
    /// Requests that the picked engine turned away, because its queue was full or they never fit.
    pub refused: u64,
    /// Requests that the router turned away, because the plan left no engine.
    pub rejected: u64,
    /// Requests whose answer broke off because its engine died.
    pub broken: u64,
    /// Attempts at engines that failed; the router asked another one or gave up.
    pub failed_attempts: u64,
    /// Requests whose first token came within half a second.
    pub within_half_second: u64,
    /// Virtual time from the beginning to the last ending.
    pub virtual_seconds: f64,
    /// Requests served per second of virtual time.
    pub served_per_second: f64,
    /// Time to first token, as the router saw it.
    pub ttft: Quantiles,
    /// Time to last token, as the router saw it.
    pub e2e: Quantiles,
    /// Time per token behind the first.
    pub tpot: Quantiles,
    /// By endpoint, in row order.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Full name.
    pub name: String,
    /// Times it was picked.
    pub picked: u64,
    /// Requests it answered.
    pub served: u64,
    /// Prompts it computed for others, or one engine of a pair for the other.
    pub prefilled: u64,
    /// Prompt tokens it was asked to compute.
    pub prompt_tokens: u64,
    /// Prompt tokens that it reused instead.
    pub cached_tokens: u64,
    /// Tokens it generated.
    pub output_tokens: u64,
    /// Times it took a running request's blocks away.
    pub preemptions: u64,
    /// Most requests that were in flight on it at once.
    pub most_in_flight: u32,
}

impl fmt::Display for Report {
    /// A few lines for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s: {} served ({:.1}/s), {} refused, {} rejected, {} broken",
            self.requests,
            self.virtual_seconds,
            self.served,
            self.served_per_second,
            self.refused,
            self.rejected,
            self.broken
        )?;
        for (name, q) in [("ttft", &self.ttft), ("e2e", &self.e2e)] {
            writeln!(
                f,
                "{name:<5} p50 {:.1} ms  p90 {:.1} ms  p99 {:.1} ms  max {:.1} ms",
                q.p50_ms, q.p90_ms, q.p99_ms, q.max_ms
            )?;
        }
        let width = self.endpoints.iter().map(|e| e.name.len()).max();
        for endpoint in &self.endpoints {
            writeln!(
                f,
                "{:<width$}  picked {:>7}  cached {:>3.0} %  most in flight {:>4}",
                endpoint.name,
                endpoint.picked,
                100.0 * endpoint.cached_tokens as f64 / endpoint.prompt_tokens.max(1) as f64,
                endpoint.most_in_flight,
                width = width.unwrap_or(0)
            )?;
        }
        Ok(())
    }
}
