//! G1: clients that take their time, and what the clocks of a connection make of them. Others are served meanwhile.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman_http::{Body, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Alive, Raw, Running, soon, start, text};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn impatient() -> ServerOptions {
    ServerOptions {
        header_timeout: Duration::from_millis(500),
        write_timeout: Duration::from_millis(800),
        ..ServerOptions::default()
    }
}

async fn is_served(server: &Running) {
    let mut raw = Raw::connect(server.addr).await;
    raw.write(GET).await;
    raw.read_until("hello").await;
}

#[tokio::test]
async fn g1_heads_that_dribble_are_cut_off() {
    let server = start(impatient(), async |_, _| text("hello"));
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::connect(server.addr).await;
        slow.push(tokio::spawn(async move {
            // As slowly as may be, forever.
            for byte in "GET / HTTP/1.1\r\nhost: a\r\nx: "
                .bytes()
                .chain(std::iter::repeat(b'y'))
            {
                if raw.0.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    for _ in 0..10 {
        is_served(&server).await;
    }
    for task in slow {
        soon(task).await.unwrap();
    }
    is_served(&server).await;
}

#[tokio::test]
async fn g1_a_second_head_that_dribbles_is_cut_off() {
    let server = start(impatient(), async |_, _| text("hello"));
    let mut raw = Raw::connect(server.addr).await;
    raw.write(GET).await;
    raw.read_until("hello").await;
    raw.write("GET / HT").await;
    let (seen, _) = raw.read_to_end().await;
    assert_eq!(seen, "");
}

/// An answer without end, of which somebody counts how many are alive.
fn endless(
    alive: &Alive,
) -> impl Fn(Request<Incoming>, pointsman_http::Peer) -> std::future::Ready<Response<Body>>
+ Clone
+ Send
+ Sync
+ 'static {
    let alive = alive.clone();
    move |request, _| {
        if request.uri().path() != "/endless" {
            return std::future::ready(text("hello"));
        }
        let being = alive.enter();
        let (sender, body) = Body::channel(1);
        tokio::spawn(async move {
            let _being = being;
            while sender.send(vec![b'x'; 16 * 1024]).await.is_ok() {}
        });
        std::future::ready(Response::new(body))
    }
}

#[tokio::test]
async fn g1_a_client_that_never_reads_is_reset() {
    let alive = Alive::default();
    let server = start(impatient(), endless(&alive));
    let mut raw = Raw::connect(server.addr).await;
    raw.write("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    alive.reaches(1).await;
    is_served(&server).await;
    alive.reaches(0).await;
    is_served(&server).await;
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0,
        0,
        u8::try_from(payload.len()).unwrap(),
        kind,
        flags,
        0,
        0,
        0,
        stream,
    ];
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test]
async fn g1_g2_a_stream_without_window_is_reset_and_the_others_go_on() {
    let alive = Alive::default();
    let server = start(impatient(), endless(&alive));
    let mut raw = Raw::connect(server.addr).await;
    // No window for any stream; the first asks for the endless answer.
    raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    raw.write(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    let fields = [&[0x82, 0x86, 0x44, 8][..], b"/endless", &[0x41, 1, b'a']].concat();
    raw.write(frame(1, 5, 1, &fields)).await;
    alive.reaches(1).await;
    is_served(&server).await;
    // RST_STREAM of the first, and the connection stays: a ping is answered after it.
    let reset = soon(async {
        loop {
            let mut head = [0; 9];
            raw.0.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            raw.0.read_exact(&mut payload).await.unwrap();
            assert_ne!(head[3], 7, "GOAWAY");
            if head[3] == 3 {
                return head[8];
            }
        }
    })
    .await;
    assert_eq!(reset, 1);
    alive.reaches(0).await;
    raw.write(frame(6, 0, 0, &[7; 8])).await;
    soon(async {
        loop {
            let mut head = [0; 9];
            raw.0.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[2])];
            raw.0.read_exact(&mut payload).await.unwrap();
            if head[3] == 6 && payload == [7; 8] {
                return;
            }
        }
    })
    .await;
}
