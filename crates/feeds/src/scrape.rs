//! Scrapes the engines' metrics: one task per endpoint, spread in time, every value with its age.
//!
//! A task waits `interval` between scrapes and starts at a phase of its own (derived from its slot), so that a
//! large pool is scraped evenly and never all at once. A scrape that fails leaves the old values, which
//! age, notes why ([`ScrapeState`]) and doubles the wait up to `backoff`. Nothing here makes an endpoint
//! unroutable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::slots::{Reading, ScrapeState, Slot, Slots};
use pointsman_http::{Body, Pool, collect};
use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::{Readings, parse};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::membership::Membership;

/// How often and how patiently to scrape.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeOptions {
    /// Time between scrapes of one endpoint.
    pub interval: Duration,
    /// Longest time one scrape may take.
    pub timeout: Duration,
    /// Longest wait after repeated failures.
    pub backoff: Duration,
    /// Largest page that is read.
    pub max_page_bytes: usize,
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            backoff: Duration::from_secs(5),
            max_page_bytes: 4 << 20,
        }
    }
}

/// Scrapes whatever is in the pool until dropped.
pub async fn scrape_all(
    membership: Arc<Membership>,
    clock: Clock,
    pool: Pool,
    options: ScrapeOptions,
) {
    let mut changes = membership.changes();
    let mut tasks: HashMap<Slot, (Arc<str>, AbortOnDrop)> = HashMap::new();
    loop {
        changes.borrow_and_update();
        let snapshot = membership.snapshot();
        tasks.retain(|slot, (name, _)| {
            snapshot
                .endpoints
                .iter()
                .any(|e| e.slot == *slot && e.name == *name)
        });
        for endpoint in &snapshot.endpoints {
            tasks.entry(endpoint.slot).or_insert_with(|| {
                let scraper = Scraper {
                    endpoint: endpoint.clone(),
                    slots: Arc::clone(membership.slots()),
                    clock,
                    pool: pool.clone(),
                    options,
                };
                (
                    Arc::clone(&endpoint.name),
                    AbortOnDrop(tokio::spawn(scraper.run())),
                )
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Scraper {
    endpoint: Endpoint,
    slots: Arc<Slots>,
    clock: Clock,
    pool: Pool,
    options: ScrapeOptions,
}

impl Scraper {
    async fn run(self) {
        // Golden-ratio phases spread any number of endpoints evenly over the interval.
        let phase = (f64::from(self.endpoint.slot.0) * 0.618_033_988_749_895).fract();
        // The first look is not put off by the phase for more than a tenth of a second.
        sleep(
            self.options
                .interval
                .min(Duration::from_millis(100))
                .mul_f64(phase),
        )
        .await;
        let mut failures = 0_u32;
        loop {
            let state = match timeout(self.options.timeout, self.fetch()).await {
                Ok(state) => state,
                Err(_) => ScrapeState::Unreachable,
            };
            self.slots.set_scrape_state(self.endpoint.slot, state);
            failures = if state == ScrapeState::Fresh {
                0
            } else {
                (failures + 1).min(16)
            };
            let wait = self
                .options
                .interval
                .saturating_mul(1 << failures)
                .min(self.options.backoff);
            sleep(wait.max(self.options.interval)).await;
        }
    }

    async fn fetch(&self) -> ScrapeState {
        let request = Request::get("/metrics")
            .header(header::HOST, self.endpoint.address.to_string())
            .header(header::ACCEPT, "text/plain")
            .body(Body::empty());
        let Ok(request) = request else {
            return ScrapeState::Garbage;
        };
        let Ok(response) = self.pool.send(self.endpoint.address, request).await else {
            return ScrapeState::Unreachable;
        };
        match response.status().as_u16() {
            200 => {}
            404 => return ScrapeState::NotFound,
            _ => return ScrapeState::Garbage,
        }
        let body = collect(
            response.into_body(),
            self.options.max_page_bytes,
            self.options.timeout,
        )
        .await;
        let Ok(page) = body else {
            return ScrapeState::Garbage;
        };
        match parse(Dialect::Vllm, &page.joined()) {
            Ok(readings) if has_gauges(&readings) => {
                self.write(&readings);
                ScrapeState::Fresh
            }
            Ok(_) | Err(_) => ScrapeState::Garbage,
        }
    }

    fn write(&self, readings: &Readings) {
        let now = self.clock.now();
        let gauges = [
            (Reading::Waiting, readings.waiting),
            (Reading::Running, readings.running),
            (Reading::KvUsage, readings.kv_usage),
        ];
        for (reading, value) in gauges {
            if let Some(value) = value {
                self.slots.write(self.endpoint.slot, reading, value, now);
            }
        }
    }
}

fn has_gauges(readings: &Readings) -> bool {
    readings.waiting.is_some() || readings.running.is_some() || readings.kv_usage.is_some()
}
