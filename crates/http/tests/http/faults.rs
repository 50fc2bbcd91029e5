//! Every fault that a server can be told to have.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman_http::{Body, ClientOptions, Fault, Pool, SendErrorKind, ServerOptions};
use tokio::net::TcpStream;

use crate::rig::{Alive, Raw, body_text, get, soon, start, text};

#[tokio::test]
async fn down_refuses_and_resets_until_it_is_over() {
    let alive = Alive::default();
    let seen = alive.clone();
    let server = start(
        ServerOptions::default(),
        move |request: Request<Incoming>, _| {
            let being = seen.enter();
            async move {
                if request.uri().path() == "/never" {
                    let _being = being;
                    std::future::pending::<()>().await;
                }
                text("hello")
            }
        },
    );
    let mut idle = Raw::connect(server.addr).await;
    idle.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_until("hello").await;
    let mut busy = Raw::connect(server.addr).await;
    busy.write("GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await;
    alive.reaches(1).await;

    server.faults.set(Fault::Down);
    assert_eq!(busy.read_to_end().await, (String::new(), false));
    assert_eq!(idle.read_to_end().await, (String::new(), false));
    alive.reaches(0).await;
    assert!(TcpStream::connect(server.addr).await.is_err());
    let error = soon(Pool::new(ClientOptions::default()).send(server.addr, get("/")))
        .await
        .unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);

    server.faults.clear();
    soon(async {
        while TcpStream::connect(server.addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let response = soon(Pool::new(ClientOptions::default()).send(server.addr, get("/")))
        .await
        .unwrap();
    assert_eq!(body_text(response).await, "hello");
}

#[tokio::test]
async fn a_hanging_server_accepts_and_never_answers_what_came_meanwhile() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    server.faults.set(Fault::Hang);
    let mut hung = Raw::connect(server.addr).await;
    hung.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let silence = tokio::time::timeout(Duration::from_millis(50), hung.read_until("HTTP")).await;
    assert!(silence.is_err());
    server.faults.clear();
    let mut later = Raw::connect(server.addr).await;
    later.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    later.read_until("hello").await;
    let silence = tokio::time::timeout(Duration::from_millis(50), hung.read_until("HTTP")).await;
    assert!(silence.is_err());
}

#[tokio::test]
async fn metrics_vanish_and_nothing_else() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    let pool = Pool::new(ClientOptions::default());
    server.faults.set(Fault::MetricsNotFound);
    assert_eq!(
        soon(pool.send(server.addr, get("/metrics")))
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(
        soon(pool.send(server.addr, get("/other")))
            .await
            .unwrap()
            .status(),
        200
    );
    server.faults.clear();
    assert_eq!(
        soon(pool.send(server.addr, get("/metrics")))
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn answers_die_half_way() {
    let server = start(
        ServerOptions::default(),
        async |request: Request<Incoming>, _| {
            if request.uri().path() == "/whole" {
                return text("0123456789");
            }
            let (sender, body) = Body::channel(8);
            for piece in ["first", "second"] {
                sender.send(piece).await.unwrap();
            }
            sender.finish();
            Response::new(body)
        },
    );
    server.faults.set(Fault::DieMidStream);
    let mut whole = Raw::connect(server.addr).await;
    whole.write("GET /whole HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (seen, orderly) = whole.read_to_end().await;
    assert!(
        seen.contains("content-length: 10") && seen.ends_with("01234") && !orderly,
        "{seen}"
    );
    let mut streamed = Raw::connect(server.addr).await;
    streamed
        .write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let (seen, orderly) = streamed.read_to_end().await;
    assert!(seen.ends_with("5\r\nfirst\r\n") && !orderly, "{seen}");
}
