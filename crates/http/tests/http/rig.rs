//! What the tests stand on: servers on ephemeral ports, a raw client, and bounded waiting.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman_http::{
    Body, Drain, DrainStarter, FaultSwitch, Peer, ServerOptions, bind, drain, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Fails the test instead of hanging; no test asserts that anything is fast.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("did not happen within a minute")
}

/// A running server.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) faults: FaultSwitch,
    pub(crate) drain: DrainStarter,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) fn start<H, F>(options: ServerOptions, handler: H) -> Running
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let bound = bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let addr = bound.local_addr();
    let faults = FaultSwitch::default();
    let (starter, drained): (DrainStarter, Drain) = drain();
    let task = tokio::spawn(serve(
        bound,
        Arc::new(options),
        faults.clone(),
        drained,
        handler,
    ));
    Running {
        addr,
        faults,
        drain: starter,
        task,
    }
}

/// Counts how many of something are alive.
#[derive(Clone, Default)]
pub(crate) struct Alive(Arc<AtomicUsize>);

pub(crate) struct Being(Arc<AtomicUsize>);

impl Alive {
    pub(crate) fn enter(&self) -> Being {
        self.0.fetch_add(1, Ordering::SeqCst);
        Being(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) async fn reaches(&self, count: usize) {
        soon(async {
            while self.count() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

impl Drop for Being {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A client that writes and reads bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(soon(TcpStream::connect(addr)).await.unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads until what came so far ends with, or contains, `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        soon(async {
            while !String::from_utf8_lossy(&seen).contains(end) {
                let mut piece = [0; 4096];
                let len = self.0.read(&mut piece).await.unwrap();
                assert_ne!(len, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..len]);
            }
        })
        .await;
        String::from_utf8(seen).unwrap()
    }

    /// Reads to the end; the second value says whether the end was an orderly close.
    pub(crate) async fn read_to_end(&mut self) -> (String, bool) {
        let mut seen = Vec::new();
        let orderly = soon(async {
            loop {
                let mut piece = [0; 4096];
                match self.0.read(&mut piece).await {
                    Ok(0) => return true,
                    Ok(len) => seen.extend_from_slice(&piece[..len]),
                    Err(_) => return false,
                }
            }
        })
        .await;
        (String::from_utf8(seen).unwrap(), orderly)
    }
}

pub(crate) fn text(text: &'static str) -> Response<Body> {
    Response::new(Body::bytes(text))
}

pub(crate) fn get(path: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    request
        .headers_mut()
        .insert("host", "test".parse().unwrap());
    request
}

pub(crate) fn post(path: &str, body: Body) -> Request<Body> {
    let mut request = get(path);
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = body;
    request
}

pub(crate) async fn body_text(response: Response<Body>) -> String {
    let frames = soon(pointsman_http::collect(
        response.into_body(),
        usize::MAX,
        Duration::from_secs(50),
    ))
    .await
    .unwrap();
    String::from_utf8(frames.joined().into_owned()).unwrap()
}
