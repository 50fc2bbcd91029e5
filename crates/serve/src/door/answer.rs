//! What the gateway watches in an answer that passes: usage and id for the receipt, and how it ends.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, header};
use pointsman_core::exchange::event::Cause;
use pointsman_wire::reply::ReplyScanner;

use crate::door::passage::Watch;
use crate::exchange::Exchange;

/// The exchange an answer belongs to, and the scanner that each part is shown to.
pub struct Answer {
    exchange: Exchange,
    scanner: Option<ReplyScanner>,
}

impl Answer {
    /// Watches an answer whose head has been reported to `exchange`.
    pub fn new(headers: &HeaderMap, mut exchange: Exchange) -> Self {
        let content_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let scanner = ReplyScanner::new(content_type.unwrap_or_default());
        if scanner.is_event_stream() {
            exchange.streams();
        }
        Self {
            exchange,
            scanner: Some(scanner),
        }
    }
}

impl Watch for Answer {
    fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.exchange.poll_evicted(cx)
    }

    fn passed(&mut self, data: &Bytes) {
        self.exchange.passed(data.len());
        if let Some(scanner) = &mut self.scanner {
            scanner.chunk(data);
        }
    }

    fn ended(&mut self) {
        if let Some(scanner) = self.scanner.take() {
            let facts = scanner.finish();
            self.exchange.end(facts.usage, facts.id.as_deref());
        }
    }

    fn broken(&mut self, cause: Cause, _: &str) {
        self.exchange.broken(cause);
    }
}
