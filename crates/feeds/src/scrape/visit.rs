//! One look at an endpoint's page: ask, read the frames as they come, write what they say into the slot.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;
use pointsman_core::model::reported::Reported;
use pointsman_core::model::slots::{CacheConfig, Reading, ScrapeState, Slot, Slots};
use pointsman_http::{Body, Line, Pool};
use pointsman_wire::prometheus::Readings;
use pointsman_wire::prometheus::reader::Reader;

use crate::clock::Clock;
use crate::scrape::engines::Target;
use crate::scrape::restart::Continuity;

/// What a page comes over.
enum Way {
    /// Connections that everybody shares.
    Plain(Pool),
    /// A connection of its own, under this authority.
    Secure(Box<Line>, String),
}

/// Reads one endpoint's page; what a look needs is made once.
pub(crate) struct Visitor {
    slot: Slot,
    target: Target,
    uri: Option<Uri>,
    headers: HeaderMap,
    max_page_bytes: usize,
    slots: Arc<Slots>,
    clock: Clock,
    way: Way,
    reader: Reader,
    continuity: Continuity,
    reported: Reported,
}

impl Visitor {
    /// A visitor of the page at `target`, which writes into `slot`.
    pub(crate) fn new(
        slot: Slot,
        target: &Target,
        max_page_bytes: usize,
        slots: Arc<Slots>,
        clock: Clock,
        connections: Pool,
    ) -> Self {
        let mut headers = HeaderMap::with_capacity(2);
        let authority = target.address.to_string();
        if let Ok(host) = HeaderValue::try_from(&authority) {
            headers.insert(header::HOST, host);
        }
        let way = match &target.secured {
            None => Way::Plain(connections),
            Some(secured) => {
                let line = secured.line(target.address.ip());
                Way::Secure(Box::new(line), authority)
            }
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
        Self {
            slot,
            uri: target.path.parse().ok(),
            reader: Reader::new(Arc::clone(&target.lexicon)),
            target: target.clone(),
            headers,
            max_page_bytes,
            slots,
            clock,
            way,
            continuity: Continuity::default(),
            reported: Reported::default(),
        }
    }

    /// Reads the page once. Dropping the future closes its connection; the next visit starts clean.
    pub(crate) async fn visit(&mut self) -> ScrapeState {
        let Some(uri) = self.uri.clone() else {
            return ScrapeState::NotFound;
        };
        let Some(response) = self.ask(uri).await else {
            return ScrapeState::Unreachable;
        };
        match response.status().as_u16() {
            200 => {}
            404 => return ScrapeState::NotFound,
            _ => return ScrapeState::Garbage,
        }
        self.reader.begin();
        let mut body = response.into_body();
        let mut read = 0;
        while !body.is_end_stream() {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
                break;
            };
            let Ok(frame) = frame else {
                return ScrapeState::Unreachable;
            };
            if let Some(data) = frame.data_ref() {
                read += data.len();
                if read > self.max_page_bytes {
                    return ScrapeState::Garbage;
                }
                self.reader.feed(data);
            }
        }
        let read = self.reader.finish();
        let reported = self.reader.reported();
        match read {
            Ok(readings) if has_gauges(&readings) || reported != Reported::default() => {
                self.write(&readings, reported);
                ScrapeState::Fresh
            }
            Ok(_) | Err(_) => ScrapeState::Garbage,
        }
    }

    async fn ask(&mut self, uri: Uri) -> Option<Response<Body>> {
        let (address, headers) = (self.target.address, self.headers.clone());
        match &mut self.way {
            Way::Plain(connections) => {
                let mut request = Request::new(Body::Empty);
                *request.uri_mut() = uri;
                *request.headers_mut() = headers;
                connections.send(address, request).await.ok()
            }
            Way::Secure(line, authority) => line.get(address, authority, uri, headers).await.ok(),
        }
    }

    /// Notes how the visit ended.
    pub(crate) fn note(&self, state: ScrapeState) {
        self.slots.set_scrape_state(self.slot, state);
    }

    fn write(&mut self, readings: &Readings, reported: Reported) {
        if self.continuity.is_broken_by(readings) {
            self.slots.restarted(self.slot);
            self.reported = Reported::default();
        }
        self.report(reported);
        if let (Some(block_size), Some(blocks)) = (readings.block_size, readings.num_blocks) {
            let config = CacheConfig { block_size, blocks };
            self.slots.set_cache_config(self.slot, config);
        } else if let Some(block_size) = readings.block_size {
            // An engine that has not sized its cache yet says so much.
            let blocks = self.slots.cache_config(self.slot).blocks;
            self.slots
                .set_cache_config(self.slot, CacheConfig { block_size, blocks });
        }
        let now = self.clock.now();
        let gauges = [
            (Reading::Waiting, readings.waiting),
            (Reading::Running, readings.running),
            (Reading::KvUsage, readings.kv_usage),
        ];
        for (reading, value) in gauges {
            if let Some(value) = value {
                self.slots.write(self.slot, reading, value, now);
            }
        }
    }
}

impl Visitor {
    /// Writes what the page reports beyond its gauges; what it leaves out stays as it was.
    fn report(&mut self, reported: Reported) {
        if let Some(lora) = reported.lora {
            self.reported.lora = Some(lora);
        }
        for (name, value) in reported.attributes {
            let known = &mut self.reported.attributes;
            match known.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => known.push((name, value)),
            }
        }
        self.slots.set_reported(self.slot, &self.reported);
    }
}

fn has_gauges(readings: &Readings) -> bool {
    readings.waiting.is_some() || readings.running.is_some() || readings.kv_usage.is_some()
}
