//! The loads, and their names in the report.

use std::net::SocketAddr;
use std::time::Duration;

use pointsman_bench::load::{Pacing, Plan, Work};
use pointsman_bench::rounds::Scenario;

pub(crate) const SMALL: &str = "200 B, c32";
pub(crate) const PREFIX: &str = "4 KiB prefix, c32";
pub(crate) const TOKENS: &str = "SSE, 32 x 200 tokens";
pub(crate) const STREAMS: &str = "512 streams";
pub(crate) const LARGE: &str = "1 MiB, c4";
pub(crate) const RATE: &str = "100 per second";
pub(crate) const PD_SMALL: &str = "P/D, c16";
pub(crate) const PD_64K: &str = "P/D, 64 KiB, c4";
pub(crate) const PD_STREAM: &str = "P/D, streaming";

fn scenario(name: &str, pacing: Pacing, window: Duration) -> Scenario {
    // The target is the peer's; the one here is never used.
    let plan = Plan::new(SocketAddr::from(([127, 0, 0, 1], 0)), pacing, window);
    Scenario {
        name: name.to_owned(),
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        plan,
    }
}

/// The loads for gateways.
pub(crate) fn gateway_scenarios(window: Duration) -> Vec<Scenario> {
    let closed = |name, connections| scenario(name, Pacing::Closed { connections }, window);
    let small = closed(SMALL, 32);

    let mut prefix = closed(PREFIX, 32);
    prefix.plan.work = Work::SharedPrefix {
        prefix: 4096,
        groups: 16,
        own: 200,
    };

    let mut tokens = closed(TOKENS, 32);
    tokens.plan.stream = true;
    tokens.plan.max_tokens = 200;
    // Each token is read by itself; without a pause a slower peer finds several at once and looks cheaper for it.
    tokens.itl = Duration::from_millis(1);

    let mut streams = closed(STREAMS, 512);
    streams.plan.stream = true;
    streams.plan.max_tokens = 32;
    streams.itl = Duration::from_millis(20);
    // 31 pauses: as many streams begin in each millisecond as in any other.
    streams.plan.ramp = Duration::from_millis(620);
    streams.plan.warmup = Duration::from_millis(1500);

    let mut large = closed(LARGE, 4);
    large.plan.work = Work::Unique { bytes: 1 << 20 };

    let pacing = Pacing::Open {
        rate: 100.0,
        connections: 16,
    };
    let mut rate = scenario(RATE, pacing, window);
    rate.plan.stream = true;
    vec![small, prefix, tokens, streams, large, rate]
}

/// The loads for P/D proxies.
pub(crate) fn proxy_scenarios(window: Duration) -> Vec<Scenario> {
    let mut small = scenario(PD_SMALL, Pacing::Closed { connections: 16 }, window);
    small.plan.stream = true;

    let mut long = scenario(PD_64K, Pacing::Closed { connections: 4 }, window);
    long.plan.work = Work::Unique { bytes: 1 << 16 };

    let pacing = Pacing::Open {
        rate: 20.0,
        connections: 16,
    };
    let mut stream = scenario(PD_STREAM, pacing, window);
    stream.plan.stream = true;
    stream.plan.max_tokens = 16;
    stream.ttft = Duration::from_millis(5);
    stream.itl = Duration::from_millis(10);
    vec![small, long, stream]
}
