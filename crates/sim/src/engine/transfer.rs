//! How long the KV cache of a prompt takes from the prefill engine to the decode engine.
//!
//! `setup + tokens * kv_bytes * passes / bandwidth`; a link carries one transfer at a time, so a second
//! one between the same pair waits. The presets are the backends of the lab and two kinds of network;
//! the figures are orders of magnitude, not measurements of ours.

use pointsman_core::time::Span;

use crate::engine::ramp::{FINE_BITS, Fine};

/// A way to move KV blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransferModel {
    /// Name of the preset, or `custom`.
    pub name: &'static str,
    /// Time per request before the first byte.
    pub setup: Span,
    /// Bytes per second; infinite when only the set-up counts.
    pub bandwidth: f64,
    /// How often each byte crosses the link: 2 where it is written and read again.
    pub passes: f64,
    /// Time per token on top, whatever the size of its keys and values.
    pub per_token: Span,
}

/// The known transfer backends.
pub const TRANSFER_PRESETS: [TransferModel; 5] = [
    TransferModel {
        name: "none",
        setup: Span(0),
        bandwidth: f64::INFINITY,
        passes: 1.0,
        per_token: Span(0),
    },
    TransferModel {
        name: "p2p-nvlink",
        setup: Span(92_000),
        bandwidth: f64::INFINITY,
        passes: 1.0,
        per_token: Span(0),
    },
    TransferModel {
        name: "fs",
        setup: Span(2_000_000),
        bandwidth: 2e9,
        passes: 2.0,
        per_token: Span(0),
    },
    TransferModel {
        name: "eth",
        setup: Span(5_000_000),
        bandwidth: 15e9,
        passes: 1.0,
        per_token: Span(0),
    },
    TransferModel {
        name: "rdma",
        setup: Span(1_000_000),
        bandwidth: 30e9,
        passes: 1.0,
        per_token: Span(0),
    },
];

impl TransferModel {
    /// The preset of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        TRANSFER_PRESETS
            .into_iter()
            .find(|preset| preset.name == name)
    }

    /// Time to move `tokens` tokens of `kv_bytes` each over an idle link.
    pub fn span(&self, tokens: u64, kv_bytes: f64) -> Span {
        let bytes = tokens as f64 * kv_bytes * self.passes;
        self.setup + Span::from_secs_f64(bytes / self.bandwidth) + Span(self.per_token.0 * tokens)
    }
}

/// The links of one decode engine, one per prefill engine it hears from.
#[derive(Clone, Debug, Default)]
pub struct Links {
    busy_until: Vec<(u32, Fine)>,
}

impl Links {
    /// Books the link from `peer` for `length`, at the earliest at `now`; returns when it ends.
    pub fn book(&mut self, peer: u32, now: Fine, length: Fine) -> Fine {
        let at = self
            .busy_until
            .iter()
            .position(|link| link.0 == peer)
            .unwrap_or_else(|| {
                self.busy_until.push((peer, 0));
                self.busy_until.len() - 1
            });
        let link = &mut self.busy_until[at].1;
        *link = now.max(*link).saturating_add(length);
        *link
    }
}

/// A span in [`Fine`] units, divided by the simulation's speed.
pub fn fine(span: Span, speed: f64) -> Fine {
    (span.0 as f64 / speed * (1u64 << FINE_BITS) as f64) as Fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, tokens: u64, micros: u64) {
        let kv_bytes = 98_304.0;
        assert_eq!(
            TransferModel::by_name(name)
                .unwrap()
                .span(tokens, kv_bytes)
                .0
                / 1000,
            micros
        );
    }

    #[test]
    fn presets_cost_what_the_lab_measured() {
        check("p2p-nvlink", 10, 92);
        check("p2p-nvlink", 2000, 92);
        check("fs", 0, 2000);
        // 2 ms + 2 * 1000 * 96 KiB / 2 GB/s.
        check("fs", 1000, 100_304);
        assert!(TransferModel::by_name("pigeon").is_none());
    }

    #[test]
    fn one_transfer_at_a_time_per_pair() {
        let mut links = Links::default();
        assert_eq!(links.book(1, 100, 50), 150);
        assert_eq!(links.book(1, 110, 50), 200);
        assert_eq!(links.book(2, 110, 50), 160);
        assert_eq!(links.book(1, 900, 50), 950);
    }
}
