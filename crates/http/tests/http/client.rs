//! The pool against servers that behave and servers that do not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pointsman_http::{
    Body, BodyError, ClientOptions, Frames, Pool, SendErrorKind, ServerOptions, collect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{Alive, body_text, get, post, soon, start, text};

fn pool() -> Pool {
    Pool::new(ClientOptions::default())
}

/// A server that plays a script: each connection answers its requests with the given bytes, then closes.
async fn scripted(
    script: Vec<Vec<&'static str>>,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answers in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") && !seen.ends_with(b"END") {
                    let mut piece = [0; 1024];
                    let len = stream.read(&mut piece).await.unwrap();
                    assert_ne!(len, 0);
                    seen.extend_from_slice(&piece[..len]);
                }
                told.send(String::from_utf8(seen).unwrap()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (addr, heard)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let (addr, _heard) = scripted(vec![vec![OK, OK, OK]]).await;
    let pool = pool();
    for _ in 0..3 {
        let response = soon(pool.send(addr, get("/"))).await.unwrap();
        assert_eq!(body_text(response).await, "ok");
    }
}

#[tokio::test]
async fn requests_without_a_body_to_read_give_the_connection_back_too() {
    let (addr, _heard) = scripted(vec![vec![
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
        OK,
    ]])
    .await;
    let pool = pool();
    assert_eq!(soon(pool.send(addr, get("/"))).await.unwrap().status(), 204);
    let mut head = get("/");
    *head.method_mut() = http::Method::HEAD;
    let response = soon(pool.send(addr, head)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert_eq!(body_text(response).await, "");
    assert_eq!(
        body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
        "ok"
    );
}

#[tokio::test]
async fn a_chunked_body_gives_the_connection_back_at_its_end() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (addr, _heard) = scripted(vec![vec![chunked, chunked, chunked]]).await;
    let pool = pool();
    for _ in 0..3 {
        assert_eq!(
            body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
            "ok"
        );
    }
}

#[tokio::test]
async fn a_reused_connection_that_died_is_replaced_once() {
    // The first connection answers once and reads the second request without an answer.
    let (addr, mut heard) = scripted(vec![vec![OK, ""], vec![OK]]).await;
    let pool = pool();
    assert_eq!(
        body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
        "ok"
    );
    let body: Frames = ["on", "ce", "END"].into_iter().map(Bytes::from).collect();
    let response = soon(pool.send(addr, post("/again", Body::frames(body))))
        .await
        .unwrap();
    assert_eq!(body_text(response).await, "ok");
    let mut seen = Vec::new();
    while let Ok(request) = heard.try_recv() {
        seen.push(request);
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1], seen[2]);
    assert!(
        seen[2].starts_with("POST /again HTTP/1.1\r\n") && seen[2].ends_with("onceEND"),
        "{}",
        seen[2]
    );
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_not_used() {
    let (addr, _heard) = scripted(vec![vec![OK], vec![OK]]).await;
    let pool = pool();
    assert_eq!(
        body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
        "ok"
    );
    // A body that cannot be produced again proves that there was no second attempt.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let once =
        Body::boxed(http_body_util::Full::new(Bytes::from("END")).map_err(|never| match never {}));
    assert_eq!(
        body_text(soon(pool.send(addr, post("/", once))).await.unwrap()).await,
        "ok"
    );
}

#[tokio::test]
async fn half_an_answer_is_an_error_not_a_retry() {
    let (addr, mut heard) = scripted(vec![vec![OK, "HTTP/1.1 200"], vec![OK]]).await;
    let pool = pool();
    assert_eq!(
        body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
        "ok"
    );
    let error = soon(pool.send(addr, get("/"))).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Reset, "{error}");
    assert!(!error.is_unsent());
    heard.recv().await.unwrap();
    heard.recv().await.unwrap();
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let (addr, _heard) = scripted(vec![vec![
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal",
    ]])
    .await;
    let response = soon(pool().send(addr, get("/"))).await.unwrap();
    let error = soon(collect(response.into_body(), 100, Duration::from_secs(5)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, pointsman_http::CollectError::Read(_)),
        "{error}"
    );
}

#[tokio::test]
async fn kinds_of_failure() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = soon(pool().send(closed, get("/"))).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Connect);
    assert!(error.is_unsent());
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to {closed}: ")),
        "{error}"
    );

    let (addr, _heard) = scripted(vec![vec!["SSH-2.0-OpenSSH\r\n\r\n"]]).await;
    assert_eq!(
        soon(pool().send(addr, get("/"))).await.unwrap_err().kind,
        SendErrorKind::Protocol
    );

    let (addr, _heard) = scripted(vec![vec![""]]).await;
    assert_eq!(
        soon(pool().send(addr, get("/"))).await.unwrap_err().kind,
        SendErrorKind::Reset
    );
}

#[tokio::test]
async fn dropping_the_wait_or_the_body_cancels_at_the_server() {
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
                    return text("");
                }
                let (sender, body) = Body::channel(1);
                tokio::spawn(async move {
                    let _being = being;
                    sender.send("first").await.unwrap();
                    sender.closed().await;
                });
                Response::new(body)
            }
        },
    );
    let pool = pool();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.send(server.addr, get("/never")).await }
    });
    alive.reaches(1).await;
    waiting.abort();
    alive.reaches(0).await;

    let mut response = soon(pool.send(server.addr, get("/stream"))).await.unwrap();
    assert_eq!(
        soon(response.body_mut().frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap(),
        "first"
    );
    assert_eq!(alive.count(), 1);
    drop(response);
    alive.reaches(0).await;
}

#[tokio::test]
async fn a_proxy_streams_both_ways_and_passes_cancellation_on() {
    let alive = Alive::default();
    let seen = alive.clone();
    let upstream = start(
        ServerOptions::default(),
        move |request: Request<Incoming>, _| {
            let being = seen.enter();
            async move {
                let body = request
                    .into_body()
                    .map_err(BodyError::Peer)
                    .map_frame(move |frame| {
                        let _ = &being;
                        frame
                    });
                Response::new(Body::boxed(body))
            }
        },
    );
    let pool = pool();
    let proxy = start(
        ServerOptions::default(),
        move |request: Request<Incoming>, _| {
            let pool = pool.clone();
            let (parts, body) = request.into_parts();
            async move {
                pool.send(
                    upstream.addr,
                    Request::from_parts(parts, Body::Incoming(body)),
                )
                .await
                .unwrap()
            }
        },
    );
    let mut raw = crate::rig::Raw::connect(proxy.addr).await;
    raw.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    for round in 0..20 {
        let piece = format!("{:X}\r\n{}\r\n", 5 + round % 7, "x".repeat(5 + round % 7));
        raw.write(&piece).await;
        assert_eq!(raw.read_until(&piece).await, piece);
    }
    assert_eq!(alive.count(), 1);
    drop(raw);
    alive.reaches(0).await;
}

#[tokio::test]
async fn a_large_body_survives_a_slow_reader() {
    let upstream = start(ServerOptions::default(), async |_, _| {
        let body: Frames = (0..64u8)
            .map(|index| Bytes::from(vec![index; 65_536]))
            .collect();
        Response::new(Body::frames(body))
    });
    let response = soon(pool().send(upstream.addr, get("/"))).await.unwrap();
    let mut body = response.into_body();
    let mut len = 0_usize;
    while let Some(frame) = soon(body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        for (offset, byte) in data.iter().enumerate() {
            assert_eq!(usize::from(*byte), (len + offset) / 65_536);
        }
        len += data.len();
        tokio::task::yield_now().await;
    }
    assert_eq!(len, 64 * 65_536);
}

#[tokio::test]
async fn unused_connections_are_closed_after_their_time() {
    let alive = Alive::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = alive.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _being = seen.enter();
        let mut piece = [0; 1024];
        assert_ne!(stream.read(&mut piece).await.unwrap(), 0);
        stream.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut piece).await.unwrap(), 0);
    });
    let pool = Pool::new(ClientOptions {
        idle_timeout: Duration::from_millis(600),
        ..ClientOptions::default()
    });
    assert_eq!(
        body_text(soon(pool.send(addr, get("/"))).await.unwrap()).await,
        "ok"
    );
    assert_eq!(alive.count(), 1);
    alive.reaches(0).await;
}
