//! Without a free file descriptor the server waits and the pool says what is wrong. A binary of its own: the limit is the process's.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use pointsman_http::{
    Body, ClientOptions, FaultSwitch, Pool, SendErrorKind, ServerOptions, bind, collect, drain,
    serve,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("did not happen within a minute")
}

fn request() -> Request<Body> {
    Request::get("/")
        .header("host", "a")
        .body(Body::empty())
        .unwrap()
}

/// Takes all descriptors that are left.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
async fn no_descriptor_left_is_waited_out() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum,
        },
    )
    .unwrap();
    let bound = bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let addr = bound.local_addr();
    let (starter, drained) = drain();
    let options = ServerOptions {
        max_connections: 1000,
        ..ServerOptions::default()
    };
    let held = Arc::new(Semaphore::new(0));
    let taken = Arc::clone(&held);
    let server = tokio::spawn(serve(
        bound,
        Arc::new(options),
        FaultSwitch::default(),
        drained,
        move |request: Request<hyper::body::Incoming>, _| {
            let taken = Arc::clone(&taken);
            async move {
                if request.uri().path() == "/hold" {
                    taken.add_permits(1);
                    std::future::pending::<()>().await;
                }
                Response::new(Body::bytes("hello"))
            }
        },
    ));
    let pool = Pool::new(ClientOptions::default());
    let answer = soon(pool.send(addr, request())).await.unwrap();
    let answer = soon(collect(answer.into_body(), 100, Duration::from_secs(5)))
        .await
        .unwrap();
    assert_eq!(answer.joined().as_ref(), b"hello");

    // One descriptor for a client; for the server only that of the idle connection, which it lets go.
    let mut hoard = exhaust();
    hoard.pop();
    let mut first = soon(TcpStream::connect(addr)).await.unwrap();
    first
        .write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    soon(held.acquire()).await.unwrap().forget();

    // Now nothing is idle.
    hoard.extend(exhaust());
    hoard.pop();
    let mut client = soon(TcpStream::connect(addr)).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut seen = [0; 512];
    let unanswered = tokio::time::timeout(Duration::from_millis(50), client.read(&mut seen)).await;
    assert!(unanswered.is_err());
    assert!(!server.is_finished());
    let nowhere = Pool::new(ClientOptions::default());
    let error = soon(nowhere.send(addr, request())).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::LocalExhausted, "{error}");
    assert!(error.is_unsent());

    hoard.truncate(hoard.len() - 8);
    let len = soon(client.read(&mut seen)).await.unwrap();
    assert!(seen[..len].starts_with(b"HTTP/1.1 200"));
    starter.start();
    drop((first, client, pool));
    soon(server).await.unwrap();
}
