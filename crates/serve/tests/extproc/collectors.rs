//! Spans on their way to a collector over gRPC and over TLS, in the protocols' own words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use parking_lot::Mutex;
use pointsman_core::rng::Rng;
use pointsman_http::{
    Body, Credentials, DrainStarter, FaultSwitch, ServerOptions, Tls, Trust, bind, collect, drain,
    serve,
};
use pointsman_serve::door::extproc::call::{finished, replied};
use pointsman_serve::tracing::exporter;
use pointsman_serve::tracing::settings::Settings;
use pointsman_serve::tracing::tracer::Tracer;
use pointsman_wire::extproc::frame_fault::Code;
use pointsman_wire::extproc::grpc::Deframer;
use pointsman_wire::otlp::ExportTraceServiceRequest;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// What a batch came in.
struct Came {
    version: Version,
    path: String,
    headers: HeaderMap,
    batch: ExportTraceServiceRequest,
}

/// A collector; of its first batches it refuses some.
#[derive(Clone)]
struct Collector {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    refuses: Arc<AtomicUsize>,
    _drain: Arc<DrainStarter>,
}

/// The answer to a batch that was taken: nothing is said of it.
#[derive(Clone, PartialEq, Message)]
struct Nothing {}

impl Collector {
    fn start(tls: Option<Tls>) -> Self {
        let bound = bind("127.0.0.1:0".parse().unwrap(), "collector").unwrap();
        let (starter, drained) = drain();
        let collector = Self {
            address: bound.local_addr(),
            came: Arc::default(),
            refuses: Arc::default(),
            _drain: Arc::new(starter),
        };
        let own = collector.clone();
        let handler = move |request, _| {
            let own = own.clone();
            async move { own.answer(request).await }
        };
        let options = ServerOptions {
            tls,
            ..ServerOptions::default()
        };
        tokio::spawn(serve(
            bound,
            Arc::new(options),
            FaultSwitch::default(),
            drained,
            handler,
        ));
        collector
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = collect(body, usize::MAX, LONG).await.unwrap();
        let bytes = bytes::Bytes::from(body.joined().into_owned());
        let grpc = head.headers["content-type"] == "application/grpc";
        let message = if grpc {
            let mut deframer = Deframer::new(1 << 20, false);
            deframer.feed(bytes);
            deframer.take().unwrap().expect("one whole message")
        } else {
            bytes
        };
        self.came.lock().push(Came {
            version: head.version,
            path: head.uri.path().to_owned(),
            headers: head.headers,
            batch: ExportTraceServiceRequest::decode(message).unwrap(),
        });
        let left = self.refuses.load(Ordering::SeqCst);
        if left > 0 {
            self.refuses.store(left - 1, Ordering::SeqCst);
            return finished(Code::Internal, "not now");
        }
        if grpc {
            replied(&Nothing {})
        } else {
            Response::new(Body::empty())
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

/// A tracer under these variables that brings its spans away, trusting this authority.
fn tracer(url: &str, protocol: &str, authority: Option<&str>) -> Arc<Tracer> {
    let settings = Settings::of(&|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(url.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("authorization=Basic%20YQ%3D%3D".to_owned()),
        "OTEL_TRACES_SAMPLER_ARG" => Some("1".to_owned()),
        _ => None,
    });
    let settings = settings.unwrap().unwrap();
    let trust = Trust {
        authorities: authority.map(|text| text.as_bytes().to_vec()),
        ..Trust::default()
    };
    let line = exporter::line(&settings, &trust).unwrap();
    let tracer = Arc::new(Tracer::new(settings));
    tokio::spawn(exporter::run(Arc::clone(&tracer), line));
    tracer
}

/// Hands in a span, and waits until it is known what became of it.
async fn bring(tracer: &Tracer, so_far: u64) -> [(&'static str, u64); 3] {
    let trace = tracer.begin(None, &mut Rng::from_seed(so_far)).unwrap();
    tracer.request(&trace, (1, 2), Vec::new(), None);
    let settled = async {
        loop {
            let counts = tracer.counts();
            if counts[0].1 + counts[1].1 > so_far {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, settled).await.expect("an end")
}

fn counts(sent: u64, failed: u64) -> [(&'static str, u64); 3] {
    [("sent", sent), ("failed", failed), ("dropped", 0)]
}

#[tokio::test]
async fn a_collector_over_grpc_gets_framed_batches_over_one_connection() {
    let collector = Collector::start(None);
    collector.refuses.store(1, Ordering::SeqCst);
    let url = format!("http://{}", collector.address);
    let tracer = tracer(&url, "grpc", None);
    assert_eq!(bring(&tracer, 0).await, counts(0, 1), "a status says no");
    assert_eq!(bring(&tracer, 1).await, counts(1, 1));
    assert_eq!(bring(&tracer, 2).await, counts(2, 1));
    let came = collector.came.lock();
    assert_eq!(came.len(), 3);
    for one in came.iter() {
        assert_eq!(one.version, Version::HTTP_2);
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(one.path, path);
        assert_eq!(one.headers["te"], "trailers");
        assert_eq!(one.headers["authorization"], "Basic YQ==");
        let spans = &one.batch.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0].name, "gateway.request");
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn tls(authority: &Authority) -> Tls {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let credentials = Credentials {
        certificate: certificate.pem().into(),
        key: key.serialize_pem().into(),
        clients: None,
    };
    Tls::new(&credentials, false).unwrap()
}

#[tokio::test]
async fn over_tls_only_a_collector_that_is_trusted_gets_any() {
    let (good, other) = (authority(), authority());
    for (protocol, version) in [
        ("grpc", Version::HTTP_2),
        ("http/protobuf", Version::HTTP_11),
    ] {
        let collector = Collector::start(Some(tls(&good)));
        let url = format!("https://{}", collector.address);
        let trusting = tracer(&url, protocol, Some(&good.pem()));
        assert_eq!(bring(&trusting, 0).await, counts(1, 0), "{protocol}");
        let wary = tracer(&url, protocol, Some(&other.pem()));
        assert_eq!(bring(&wary, 0).await, counts(0, 1), "{protocol}");
        let came = collector.came.lock();
        assert_eq!((came.len(), came[0].version), (1, version));
        if protocol != "grpc" {
            assert_eq!(came[0].path, "/v1/traces");
            assert_eq!(came[0].headers["content-type"], "application/x-protobuf");
        }
    }
}

#[tokio::test]
async fn a_collector_that_comes_back_is_found_again() {
    let collector = Collector::start(None);
    let address = collector.address;
    let tracer = tracer(&format!("http://{address}"), "http/protobuf", None);
    assert_eq!(bring(&tracer, 0).await, counts(1, 0));
    // Its server goes, and with it the connection.
    collector._drain.start();
    let mut so_far = 1;
    while tracer.counts()[1].1 == 0 {
        bring(&tracer, so_far).await;
        so_far += 1;
    }
    let sent = tracer.counts()[0].1;
    let again = loop {
        // The port may take a moment to be free.
        if let Ok(bound) = bind(address, "collector") {
            break bound;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let (_starter, drained) = drain();
    let handler = |_, _| async { Response::new(Body::empty()) };
    let options = Arc::new(ServerOptions::default());
    tokio::spawn(serve(
        again,
        options,
        FaultSwitch::default(),
        drained,
        handler,
    ));
    bring(&tracer, so_far).await;
    assert_eq!(tracer.counts()[0].1, sent + 1);
}
