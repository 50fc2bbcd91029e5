//! Decides which requests are traced, and takes their spans.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pointsman_core::rng::Rng;
use pointsman_wire::otlp::{KeyValue, Span, Status};
use tokio::sync::mpsc;

use crate::tracing::context::Context;
use crate::tracing::settings::Settings;

/// Spans that wait for the collector; further ones are dropped.
const WAITING: usize = 4096;

/// A span inside the process, and one of a server.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;

/// The code of a span that ended in an error.
const ERROR: i32 = 2;

/// One request's place in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The request's own span.
    pub own: Context,
    /// The span that it is a part of; zero where the trace begins here.
    pub parent: u64,
}

/// Takes spans. Counts are relaxed: each is a number of its own.
#[derive(Debug)]
pub struct Tracer {
    /// How traces are recorded.
    pub settings: Settings,
    queue: mpsc::Sender<Span>,
    outlet: Mutex<Option<mpsc::Receiver<Span>>>,
    dropped: AtomicU64,
    /// Spans that a collector took, and those that it did not.
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Tracer {
    /// A tracer whose spans wait until somebody takes the outlet.
    pub fn new(settings: Settings) -> Self {
        let (queue, outlet) = mpsc::channel(WAITING);
        Self {
            settings,
            queue,
            outlet: Mutex::new(Some(outlet)),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The end of the queue that spans come out of; given out once.
    pub fn take_outlet(&self) -> Option<mpsc::Receiver<Span>> {
        self.outlet.lock().take()
    }

    /// The place of a request whose header says `parent`. A trace that comes in is recorded if its sender does so; of
    /// those that begin here a share is. `None` where it is not recorded.
    pub fn begin(&self, parent: Option<&str>, rng: &mut Rng) -> Option<Trace> {
        let parent = parent.and_then(Context::read);
        if !parent.map_or_else(|| rng.unit() < self.settings.ratio, |p| p.sampled) {
            return None;
        }
        let mut id = || rng.next_u64().max(1);
        Some(Trace {
            own: Context {
                trace: match parent {
                    Some(parent) => parent.trace,
                    None => u128::from(id()) << 64 | u128::from(id()),
                },
                span: id(),
                sampled: true,
            },
            parent: parent.map_or(0, |parent| parent.span),
        })
    }

    /// Takes the span of a request.
    pub fn request(
        &self,
        trace: &Trace,
        times: (u64, u64),
        attributes: Vec<KeyValue>,
        error: Option<&str>,
    ) {
        let place = (trace.own, trace.parent);
        let error = error.map(str::to_owned);
        self.span("gateway.request", SERVER, place, times, attributes, error);
    }

    /// Takes a span of something that was done for a request.
    pub fn part(
        &self,
        name: &str,
        trace: &Trace,
        times: (u64, u64),
        attributes: Vec<KeyValue>,
        rng: &mut Rng,
    ) {
        let context = Context {
            span: rng.next_u64().max(1),
            ..trace.own
        };
        let place = (context, trace.own.span);
        self.span(name, INTERNAL, place, times, attributes, None);
    }

    /// Takes a span at this place: its own, and the id of the span it is a part of or 0.
    pub(super) fn span(
        &self,
        name: &str,
        kind: i32,
        (own, parent): (Context, u64),
        (start, end): (u64, u64),
        attributes: Vec<KeyValue>,
        error: Option<String>,
    ) {
        let parent = (parent != 0).then(|| id_bytes(parent));
        self.take(Span {
            trace_id: Bytes::copy_from_slice(&own.trace.to_be_bytes()),
            span_id: id_bytes(own.span),
            parent_span_id: parent.unwrap_or_default(),
            name: name.to_owned(),
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            status: error.map(|message| Status {
                message,
                code: ERROR,
            }),
            ..Span::default()
        });
    }

    fn take(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans by what became of them: sent, failed, dropped.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [
            ("sent", self.sent.load(Ordering::Relaxed)),
            ("failed", self.failed.load(Ordering::Relaxed)),
            ("dropped", self.dropped.load(Ordering::Relaxed)),
        ]
    }
}

fn id_bytes(id: u64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tracer(ratio: &str) -> Tracer {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            ("OTEL_TRACES_SAMPLER_ARG", ratio),
        ];
        let settings = Settings::of(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        Tracer::new(settings.unwrap().unwrap())
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_sender_decides_and_of_the_others_a_share_is_traced() {
        let mut rng = Rng::from_seed(3);
        let none = tracer("0");
        assert_eq!(none.begin(None, &mut rng), None);
        assert_eq!(none.begin(Some("nonsense"), &mut rng), None);
        let trace = none.begin(Some(PARENT), &mut rng).unwrap();
        assert_eq!(trace.parent, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(trace.own.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_ne!(trace.own.span, trace.parent);
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(tracer("1").begin(Some(&unsampled), &mut rng), None);
        let some = tracer("0.25");
        let traced = (0..4000).filter(|_| some.begin(None, &mut rng).is_some());
        let traced = traced.count();
        assert!((800..1200).contains(&traced), "{traced}");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, mut rng) = (tracer("1"), Rng::from_seed(1));
        let trace = tracer.begin(None, &mut rng).unwrap();
        for _ in 0..WAITING + 7 {
            tracer.request(&trace, (1, 2), Vec::new(), None);
        }
        assert_eq!(tracer.counts()[2], ("dropped", 7));
        let mut outlet = tracer.take_outlet().unwrap();
        assert!(tracer.take_outlet().is_none());
        assert_eq!(outlet.try_recv().unwrap().name, "gateway.request");
    }
}
