//! The loads, and what is asked of the picker under them.

use crate::field::Found;

/// A load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// Endpoints of the pool.
    pub(crate) endpoints: usize,
    /// Between two scrapes of an endpoint.
    pub(crate) scrape_ms: u32,
    /// Exchanges at the same time; with a rate, as many as it takes.
    pub(crate) streams: usize,
    /// Exchanges per second; closed loop without.
    pub(crate) rate: Option<f64>,
    /// Size of the prompt.
    pub(crate) prompt: usize,
    /// Size of what it begins with, which it shares with others of its group.
    pub(crate) shared: usize,
    /// Pieces of a streamed answer; 0: one JSON answer.
    pub(crate) pieces: usize,
}

/// Ten endpoints at the default interval, 16 streams, 200 bytes, a JSON answer.
const BASE: Scenario = Scenario {
    name: "200 B, 16 streams",
    endpoints: 10,
    scrape_ms: 50,
    streams: 16,
    rate: None,
    prompt: 200,
    shared: 0,
    pieces: 0,
};

/// In the order of the report.
pub(crate) const SCENARIOS: &[Scenario] = &[
    BASE,
    Scenario {
        name: "200 B, 100 per second",
        rate: Some(100.0),
        ..BASE
    },
    Scenario {
        name: "4 KiB prefix, 16 streams",
        shared: 4096,
        ..BASE
    },
    Scenario {
        name: "64 KiB, 8 streams",
        prompt: 64 << 10,
        streams: 8,
        ..BASE
    },
    Scenario {
        name: "220 KiB, 4 streams",
        prompt: 220 << 10,
        streams: 4,
        ..BASE
    },
    Scenario {
        name: "1 MiB, 4 streams",
        prompt: 1 << 20,
        streams: 4,
        ..BASE
    },
    Scenario {
        name: "32-chunk SSE, 16 streams",
        pieces: 32,
        ..BASE
    },
    Scenario {
        name: "100 endpoints",
        endpoints: 100,
        scrape_ms: 1000,
        ..BASE
    },
    Scenario {
        name: "1,000 endpoints",
        endpoints: 1000,
        scrape_ms: 5000,
        ..BASE
    },
    Scenario {
        name: "10,000 endpoints",
        endpoints: 10_000,
        scrape_ms: 20_000,
        streams: 4,
        ..BASE
    },
    Scenario {
        name: "idle, 10 endpoints",
        streams: 0,
        ..BASE
    },
    Scenario {
        name: "idle, 100 endpoints at 50 ms",
        endpoints: 100,
        streams: 0,
        ..BASE
    },
];

/// What is asked.
pub(crate) struct Asked {
    pub(crate) scenario: &'static str,
    pub(crate) what: &'static str,
    pub(crate) at_most: f64,
    pub(crate) figure: fn(&Found) -> Option<f64>,
}

/// The goals, with CPU times scaled to this machine.
pub(crate) fn goals(scale: f64) -> Vec<Asked> {
    let cpu = |scenario, micros: f64| Asked {
        scenario,
        what: "CPU µs per exchange",
        at_most: micros * scale,
        figure: Found::cpu_micros,
    };
    vec![
        cpu("200 B, 16 streams", 80.0),
        Asked {
            scenario: "200 B, 100 per second",
            what: "decision p50, ms",
            at_most: 0.45,
            figure: |found| found.decision_ms(0.5),
        },
        Asked {
            scenario: "200 B, 100 per second",
            what: "decision p99, ms",
            at_most: 1.0,
            figure: |found| found.decision_ms(0.99),
        },
        cpu("4 KiB prefix, 16 streams", 100.0),
        cpu("64 KiB, 8 streams", 200.0),
        cpu("1 MiB, 4 streams", 2300.0),
        cpu("32-chunk SSE, 16 streams", 185.0),
        cpu("100 endpoints", 90.0),
        cpu("1,000 endpoints", 150.0 + 80.0),
        cpu("10,000 endpoints", 1000.0 + 80.0),
        Asked {
            scenario: "idle, 100 endpoints at 50 ms",
            what: "cores",
            at_most: 0.12 * scale,
            figure: |found| Some(found.spent.cores),
        },
        Asked {
            scenario: "idle, 10 endpoints",
            what: "RSS MiB",
            at_most: 16.0,
            figure: |found| Some(found.spent.resident_mib),
        },
        Asked {
            scenario: "100 endpoints",
            what: "RSS MiB",
            at_most: 60.0,
            figure: |found| Some(found.spent.resident_mib),
        },
        Asked {
            scenario: "1 MiB, 4 streams",
            what: "RSS MiB, 3 s later",
            at_most: 64.0,
            figure: |found| Some(found.later_mib),
        },
    ]
}
