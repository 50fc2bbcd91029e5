//! What a client sees of a server.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_http::{Body, BodyError, Frames, ServerOptions, collect};
use tokio::net::TcpStream;

use crate::rig::{Alive, Raw, soon, start, text};

#[tokio::test]
async fn keeps_the_connection_and_answers_again() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    let mut raw = Raw::connect(server.addr).await;
    for _ in 0..3 {
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = raw.read_until("hello").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-length: 5\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_frame_arrives_before_the_next_is_made() {
    let (sender, body) = Body::channel(1);
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let server = start(ServerOptions::default(), move |_, _| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::new(body) }
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_until("\r\n\r\n").await;
    for piece in ["one", "two", "three"] {
        soon(sender.send(piece)).await.unwrap();
        assert_eq!(
            raw.read_until(piece).await,
            format!("{:X}\r\n{piece}\r\n", piece.len())
        );
    }
    sender.finish();
    assert_eq!(raw.read_until("\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn an_abandoned_body_never_looks_whole() {
    let server = start(ServerOptions::default(), async |_, _| {
        let (sender, body) = Body::channel(1);
        tokio::spawn(async move {
            sender.send("half").await.unwrap();
            tokio::task::yield_now().await;
        });
        Response::new(body)
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (seen, orderly) = raw.read_to_end().await;
    assert!(!seen.contains("\r\n0\r\n"), "{seen}");
    assert!(!orderly);
}

#[tokio::test]
async fn the_sender_learns_that_the_reader_left() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    let server = start(ServerOptions::default(), move |_, _| {
        let (sender, body) = Body::channel(1);
        let told = told.lock().unwrap().take().unwrap();
        tokio::spawn(async move {
            sender.send("first").await.unwrap();
            sender.closed().await;
            told.send(()).unwrap();
        });
        async { Response::new(body) }
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_until("first").await;
    drop(raw);
    soon(heard).await.unwrap();
}

#[tokio::test]
async fn bodies_of_head_no_content_and_not_modified_stay_away() {
    let server = start(
        ServerOptions::default(),
        async |request: Request<Incoming>, _| {
            let mut response = text("hello");
            match request.uri().path() {
                "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
                "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
                _ => {}
            }
            if response.status() != StatusCode::OK {
                *response.body_mut() = Body::empty();
            }
            response
        },
    );
    let mut raw = Raw::connect(server.addr).await;
    raw.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(
        head.contains("content-length: 5\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    raw.write("GET /204 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let none = raw.read_until("\r\n\r\n").await;
    assert!(
        none.starts_with("HTTP/1.1 204")
            && !none.contains("content-length")
            && !none.contains("transfer-encoding"),
        "{none}"
    );
    raw.write("GET /304 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let same = raw.read_until("\r\n\r\n").await;
    assert!(
        same.starts_with("HTTP/1.1 304") && !same.contains("transfer-encoding"),
        "{same}"
    );
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_its_body_is_wanted() {
    let server = start(
        ServerOptions::default(),
        async |request: Request<Incoming>, _| {
            let body = collect(request.into_body(), 100, Duration::from_secs(5))
                .await
                .unwrap();
            Response::new(Body::frames(body))
        },
    );
    let mut raw = Raw::connect(server.addr).await;
    raw.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(
        raw.read_until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    raw.write("body").await;
    assert!(raw.read_until("body").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn frames_pass_as_they_arrived() {
    let server = start(
        ServerOptions::default(),
        async |request: Request<Incoming>, _| {
            Response::new(Body::boxed(request.into_body().map_err(BodyError::Peer)))
        },
    );
    let mut raw = Raw::connect(server.addr).await;
    raw.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    assert!(
        raw.read_until("3\r\nabc\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    raw.write("2\r\nde\r\n").await;
    assert_eq!(raw.read_until("de\r\n").await, "2\r\nde\r\n");
    raw.write("0\r\n\r\n").await;
    assert_eq!(raw.read_until("0\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn many_frames_keep_an_exact_length() {
    let server = start(ServerOptions::default(), async |_, _| {
        Response::new(Body::frames(
            ["ab", "cde", "f"]
                .into_iter()
                .map(Bytes::from)
                .collect::<Frames>(),
        ))
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        raw.read_until("abcdef")
            .await
            .contains("content-length: 6\r\n")
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_handler() {
    let alive = Alive::default();
    let seen = alive.clone();
    let server = start(ServerOptions::default(), move |_, _| {
        let being = seen.enter();
        async move {
            let _being = being;
            std::future::pending().await
        }
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab")
        .await;
    alive.reaches(1).await;
    drop(raw);
    alive.reaches(0).await;
}

async fn http2(
    addr: std::net::SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(soon(TcpStream::connect(addr)).await.unwrap());
    let (sender, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(conn);
    sender
}

fn http2_get(addr: std::net::SocketAddr, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{addr}{path}"))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn http2_without_tls_on_the_same_port() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    let mut sender = http2(server.addr).await;
    let response = soon(sender.send_request(http2_get(server.addr, "/")))
        .await
        .unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(
        soon(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes(),
        "hello"
    );
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_until("hello").await;
}

#[tokio::test]
async fn a_reset_stream_ends_its_handler() {
    let alive = Alive::default();
    let seen = alive.clone();
    let server = start(ServerOptions::default(), move |_, _| {
        let being = seen.enter();
        async move {
            let _being = being;
            std::future::pending().await
        }
    });
    let mut sender = http2(server.addr).await;
    let request = tokio::spawn(sender.send_request(http2_get(server.addr, "/")));
    alive.reaches(1).await;
    request.abort();
    alive.reaches(0).await;
    // The connection is still good.
    drop(soon(sender.ready()).await);
}

#[tokio::test]
async fn a_preface_in_pieces_is_still_understood() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    let mut raw = Raw::connect(server.addr).await;
    raw.write("P").await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    raw.write("OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    raw.read_until("hello").await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let options = ServerOptions {
        header_timeout: Duration::from_millis(500),
        ..ServerOptions::default()
    };
    let server = start(options, async |_, _| text("hello"));
    for start in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nx"] {
        let mut raw = Raw::connect(server.addr).await;
        raw.write(start).await;
        let (seen, _) = raw.read_to_end().await;
        assert_eq!(seen, "", "after {start:?}");
    }
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_until("hello").await;
    raw.write("GET / HT").await;
    assert_eq!(raw.read_to_end().await.0, "");
}

#[tokio::test]
async fn an_idle_connection_ends_but_a_slow_answer_does_not() {
    let options = ServerOptions {
        header_timeout: Duration::from_millis(500),
        keep_alive_idle: Duration::from_millis(500),
        ..ServerOptions::default()
    };
    let server = start(options, async |_, _| {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        text("late")
    });
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (seen, orderly) = raw.read_to_end().await;
    assert!(seen.ends_with("late") && orderly, "{seen}");
}

#[tokio::test]
async fn oversized_and_broken_heads_are_refused() {
    let server = start(ServerOptions::default(), async |_, _| text("hello"));
    for (head, status) in [
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
                "y".repeat(40_000)
            ),
            "431",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
                "x: y\r\n".repeat(120)
            ),
            "431",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_owned(),
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n".to_owned(),
            "400",
        ),
        ("GET / HTTP/1.1\r\nho\0st: a\r\n\r\n".to_owned(), "400"),
    ] {
        let mut raw = Raw::connect(server.addr).await;
        raw.write(&head).await;
        let (seen, _) = raw.read_to_end().await;
        assert!(
            seen.starts_with(&format!("HTTP/1.1 {status}")),
            "{seen} for {:.60}",
            head
        );
    }
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let (sender, body) = Body::channel(1);
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let server = start(ServerOptions::default(), move |_, _| {
        let body = body.lock().unwrap().take().unwrap_or_default();
        async { Response::new(body) }
    });
    let mut idle = Raw::connect(server.addr).await;
    let mut busy = Raw::connect(server.addr).await;
    busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    busy.read_until("\r\n\r\n").await;
    idle.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_until("\r\n\r\n").await;

    server.drain.start();
    let (rest, orderly) = idle.read_to_end().await;
    assert!(rest.is_empty() && orderly);
    assert!(TcpStream::connect(server.addr).await.is_err());
    assert!(!server.task.is_finished());

    sender.send("last words").await.unwrap();
    sender.finish();
    let (rest, orderly) = busy.read_to_end().await;
    assert!(
        rest.contains("last words") && rest.ends_with("0\r\n\r\n") && orderly,
        "{rest}"
    );
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn waiting_clients_get_their_turn_when_all_places_are_taken() {
    let server = start(
        ServerOptions {
            max_connections: 2,
            ..ServerOptions::default()
        },
        async |_, _| text("hello"),
    );
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Raw::connect(server.addr).await);
    }
    // Nobody closes; each is answered because those before it are let go after their answer.
    for raw in &mut clients {
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    for raw in &mut clients {
        raw.read_until("hello").await;
    }
}

#[tokio::test]
async fn a_client_not_heard_yet_is_not_sent_away_by_a_crowd() {
    let options = ServerOptions {
        max_connections: 3,
        ..ServerOptions::default()
    };
    let server = start(options, async |_, _| text("hello"));
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut quiet = Raw::connect(server.addr).await;
    // Each is answered before the next comes, so the quiet one is waited for when the third takes the last place.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = Raw::connect(server.addr).await;
        other.write(request).await;
        other.read_until("hello").await;
        others.push(other);
    }
    quiet.write(request).await;
    quiet.read_until("hello").await;
}

#[tokio::test]
async fn a_handler_can_close_the_connection_after_its_answer() {
    let server = start(
        ServerOptions::default(),
        async |_, peer: pointsman_http::Peer| {
            let (sender, body) = Body::channel(4);
            tokio::spawn(async move {
                sender.send("some").await.unwrap();
                peer.disconnect_after_response();
                sender.send("more").await.unwrap();
                sender.finish();
            });
            Response::new(body)
        },
    );
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (seen, orderly) = raw.read_to_end().await;
    assert!(seen.ends_with("0\r\n\r\n") && orderly, "{seen}");
}
