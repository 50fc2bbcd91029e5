//! G2: what HTTP/2 clients do to make work or fill memory, frame by frame against the real binary.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;

use pointsman_tests::answer::{MODEL, chat, chat_body};
use pointsman_tests::backend::Backend;
use pointsman_tests::http::connect;
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;
/// By how much an attack may grow the gateway.
const GROWTH: u64 = 30 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field that is not indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(&mut bytes, 7, text.len());
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn integer(bytes: &mut Vec<u8>, bits: u32, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        bytes.push(value as u8);
        return;
    }
    bytes.push(most as u8);
    value -= most;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// The pseudo-fields of a request.
fn pseudo(method: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "a"),
    ]
    .concat()
}

/// A frame that came.
struct Came {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that writes what it wants.
struct Client(TcpStream);

impl Client {
    #[track_caller]
    fn of(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        let mut socket = connect(gateway.address, LONG).unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        socket.write_all(&bytes).unwrap();
        Self(socket)
    }

    /// Writes as long as the server takes it; false when it does not any more.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next frame; none at the end of the connection.
    fn next(&mut self) -> Option<Came> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Came {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads to the end of the connection. The code of GOAWAY, if one came (a reset may overtake it).
    fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(came) = self.next() {
            if came.kind == GOAWAY {
                code = Some(u32::from_be_bytes(came.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// The status of a stream's answer, by the first byte of its header block (a status of the static table) or its literal.
    fn status(&mut self, stream: u32) -> Option<String> {
        while let Some(came) = self.next() {
            match came.kind {
                HEADERS if came.stream == stream => {
                    return Some(match came.payload[0] {
                        0x88 => "200".to_owned(),
                        0x8c => "400".to_owned(),
                        0x8d => "404".to_owned(),
                        _ => {
                            let text = &came.payload[1..];
                            // Three digits, plain or in Huffman's code.
                            match text[0] {
                                3 => String::from_utf8_lossy(&text[1..4]).into_owned(),
                                _ => format!("literal {text:?}"),
                            }
                        }
                    });
                }
                RST_STREAM if came.stream == stream => return None,
                GOAWAY => return None,
                _ => {}
            }
        }
        None
    }
}

/// A gateway before a simulator, which must look the same after an attack.
struct Rig {
    gateway: Gateway,
    sim: Sim,
    _files: Scratch,
    before: u64,
}

impl Rig {
    #[track_caller]
    fn start() -> Self {
        let sim = Sim::start(MODEL, &["--max-num-seqs", "64"]);
        let files = Scratch::new("http2");
        let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("only", sim.address)]));
        let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
        assert_eq!(chat("Hello", 2).answered(gateway.address).status, 200);
        let before = gateway.process.resident();
        Self {
            gateway,
            sim,
            _files: files,
            before,
        }
    }

    fn client(&self) -> Client {
        Client::of(&self.gateway, &[])
    }

    /// Others are served, nothing stays in flight, memory has not grown.
    #[track_caller]
    fn is_unharmed(&self) {
        assert_eq!(chat("Hello", 2).answered(self.gateway.address).status, 200);
        self.gateway.wait_idle();
        let grown = self.gateway.process.resident().saturating_sub(self.before);
        assert!(grown < GROWTH, "grew by {grown} bytes");
        assert!(self.sim.address.port() > 0);
    }

    /// Sends the same bytes again and again until the gateway has had enough.
    #[track_caller]
    fn flood(&self, client: &mut Client, bytes: &[u8], most: usize) -> Option<u32> {
        let mut sent = 0;
        // What the gateway answers must be taken meanwhile, or it stops reading, which is also a way to be calm.
        let reading = client.0.try_clone().unwrap();
        let reader = std::thread::spawn(move || Client(reading).end());
        while sent < most && client.send(bytes) {
            sent += 1;
        }
        assert!(sent < most, "all {most} were taken");
        reader.join().unwrap()
    }
}

#[test]
fn g2_a_plain_request_is_served_and_the_limits_are_announced() {
    let rig = Rig::start();
    let mut client = rig.client();
    let mut settings = Vec::new();
    let mut window = 65_535;
    // The first frames of a server are its settings and the widening of the connection's window.
    for _ in 0..3 {
        let came = client.next().unwrap();
        match came.kind {
            SETTINGS if came.flags == 0 => {
                for pair in came.payload.chunks(6) {
                    let name = u16::from_be_bytes([pair[0], pair[1]]);
                    let value = u32::from_be_bytes(pair[2..6].try_into().unwrap());
                    settings.push((name, value));
                }
            }
            WINDOW_UPDATE => {
                window += u32::from_be_bytes(came.payload[..4].try_into().unwrap());
            }
            _ => {}
        }
        if window > 65_535 && !settings.is_empty() {
            break;
        }
    }
    for (what, name, value) in [
        ("streams at once", 3, 100),
        ("window of a stream", 4, 64 * 1024),
        ("header list", 6, 32 * 1024),
    ] {
        assert!(settings.contains(&(name, value)), "{what}: {settings:?}");
    }
    assert_eq!(window, 1024 * 1024);

    let body = chat_body("Hello", 2).to_string();
    let fields = [
        pseudo("POST", "/v1/chat/completions"),
        field("content-type", "application/json"),
    ];
    client.send(&frame(HEADERS, END_HEADERS, 1, &fields.concat()));
    client.send(&frame(DATA, END_STREAM, 1, body.as_bytes()));
    assert_eq!(client.status(1).as_deref(), Some("200"));
    rig.is_unharmed();
}

#[test]
fn g2_heads_that_http1_would_refuse_are_refused() {
    let rig = Rig::start();
    let check = |what: &str, fields: Vec<u8>, expected: &[Option<&str>]| {
        let mut client = rig.client();
        let fields = [pseudo("GET", "/v1/models"), fields].concat();
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields));
        let status = client.status(1);
        assert!(expected.contains(&status.as_deref()), "{what}: {status:?}");
    };
    // None: the stream or the connection was reset.
    check("good", field("x-a", "b"), &[Some("200")]);
    check("underscore", field("x_a", "b"), &[Some("400")]);
    check("another host", field("host", "b"), &[Some("400")]);
    check("capital", field("X-A", "b"), &[None]);
    check("connection", field("connection", "close"), &[None]);
    check(
        "transfer-encoding",
        field("transfer-encoding", "chunked"),
        &[None],
    );
    check("line end in a value", field("x-a", "b\r\nx-c: d"), &[None]);
    check("NUL in a value", field("x-a", "b\0"), &[None]);
    check(
        "a pseudo-field too late",
        [field("x-a", "b"), field(":path", "/x")].concat(),
        &[None],
    );
    rig.is_unharmed();
}

#[test]
fn g2_rapid_reset_ends_the_connection() {
    let hanging = Backend::start(|request, reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.peer_leaves(LONG);
    });
    let files = Scratch::new("rapid-reset");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("only", hanging.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let before = gateway.process.resident();
    let mut client = Client::of(&gateway, &[]);
    let reading = client.0.try_clone().unwrap();
    let reader = std::thread::spawn(move || Client(reading).end());
    let mut streams = 0;
    for number in 0..20_000u32 {
        let stream = number * 2 + 1;
        let fields = pseudo("GET", "/rapid");
        let pair = [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields),
            frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()),
        ];
        if !client.send(&pair.concat()) {
            break;
        }
        streams += 1;
    }
    let code = reader.join().unwrap();
    assert!(streams < 20_000, "all streams were taken");
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    let reached = hanging.received("/rapid").len();
    assert!(reached < 2_000, "{reached} reached the backend");
    gateway.wait_idle();
    let grown = gateway.process.resident().saturating_sub(before);
    assert!(grown < GROWTH, "grew by {grown} bytes");
}

#[test]
fn g2_control_frames_in_a_flood_end_the_connection() {
    let rig = Rig::start();
    for (what, bytes) in [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 0])),
        ("unknown", frame(0x77, 0, 0, b"what")),
    ] {
        let mut client = rig.client();
        let code = rig.flood(&mut client, &bytes.repeat(100), 10_000);
        assert!(
            matches!(code, None | Some(ENHANCE_YOUR_CALM)),
            "{what}: {code:?}"
        );
    }
    // On a stream: without end, with nothing in it.
    let mut client = rig.client();
    let fields = pseudo("POST", "/v1/chat/completions");
    client.send(&frame(HEADERS, END_HEADERS, 1, &fields));
    let code = rig.flood(&mut client, &frame(DATA, 0, 1, &[]).repeat(100), 10_000);
    assert!(
        matches!(code, None | Some(ENHANCE_YOUR_CALM)),
        "DATA: {code:?}"
    );
    rig.is_unharmed();
}

#[test]
fn g2_a_flood_of_continuation_ends_the_connection() {
    let rig = Rig::start();
    for piece in [&[][..], &[0x82; 16], &[0x82; 16_000]] {
        let mut client = rig.client();
        client.send(&frame(HEADERS, END_STREAM, 1, &pseudo("GET", "/x")));
        let code = rig.flood(&mut client, &frame(CONTINUATION, 0, 1, piece), 100_000);
        assert!(
            matches!(code, None | Some(ENHANCE_YOUR_CALM) | Some(1)),
            "{code:?}"
        );
    }
    rig.is_unharmed();
}

#[test]
fn g2_a_hundred_thousand_fields_and_a_bomb_in_the_table_are_refused() {
    let rig = Rig::start();
    // Each is one byte on the wire and some forty in memory.
    let many = [pseudo("GET", "/v1/models"), vec![0x90; 100_000]].concat();
    // One entry of 4,000 bytes put into the table, then named 15,000 times: 60 MB.
    let mut entry = vec![0x40];
    integer(&mut entry, 7, 3);
    entry.extend(b"x-b");
    integer(&mut entry, 7, 3900);
    entry.extend([b'y'; 3900]);
    let bomb = [pseudo("GET", "/v1/models"), entry, vec![0xbe; 15_000]].concat();
    // What fits the list but is more fields than are allowed.
    let fields = [pseudo("GET", "/v1/models"), field("x", "y").repeat(200)].concat();
    for (what, block) in [("many", many), ("bomb", bomb), ("fields", fields)] {
        let mut client = rig.client();
        let mut pieces = block.chunks(16_000).peekable();
        let first = pieces.next().unwrap();
        let last = |more: bool| if more { 0 } else { END_HEADERS };
        let flags = END_STREAM | last(pieces.peek().is_some());
        let mut open = client.send(&frame(HEADERS, flags, 1, first));
        while let Some(piece) = pieces.next() {
            let flags = last(pieces.peek().is_some());
            open = open && client.send(&frame(CONTINUATION, flags, 1, piece));
        }
        let status = client.status(1);
        let refused = status.as_ref().is_none_or(|status| status != "200");
        assert!(refused, "{what}: {status:?}");
    }
    rig.is_unharmed();
}

#[test]
fn g2_frames_against_the_rules_end_the_connection() {
    let rig = Rig::start();
    let get = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &pseudo("GET", "/v1/models"),
    );
    for (what, bytes) in [
        (
            "a window beyond its bound",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
        ),
        ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a frame too long", frame(DATA, 0, 1, &[0; 20_000])),
        ("a PING of a wrong length", frame(PING, 0, 0, &[0; 7])),
        ("SETTINGS of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[])),
        ("DATA of no stream", frame(DATA, 0, 0, b"x")),
        ("DATA of a stream that is not open", frame(DATA, 0, 5, b"x")),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
        ),
        (
            "an even stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &pseudo("GET", "/x")),
        ),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        (
            "a table that is none",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0xff, 0xff, 0xff, 0x7f],
            ),
        ),
    ] {
        let mut client = rig.client();
        client.send(&bytes);
        let code = client.end();
        assert_ne!(code, Some(0), "{what} is an error");
    }
    let mut client = rig.client();
    client.send(&get);
    assert_eq!(client.status(1).as_deref(), Some("200"));
    rig.is_unharmed();
}

#[test]
fn g2_clients_that_give_no_window_hold_nobody_up_and_fill_no_memory() {
    let backend = Backend::start(|request, reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        if request.path != "/large" {
            return reply.whole(200, "text/plain", b"small");
        }
        reply.part(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n");
        let mebibyte = vec![b'x'; 1 << 20];
        while reply.part(&mebibyte) {}
    });
    let files = Scratch::new("no-window");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("only", backend.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let before = gateway.process.resident();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::of(&gateway, &[(4, 0)]);
        for number in 0..10 {
            let fields = pseudo("GET", "/large");
            client.send(&frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                number * 2 + 1,
                &fields,
            ));
        }
        clients.push(client);
    }
    until("all to have reached the backend", || {
        (backend.received("/large").len() == 40).then_some(())
    });
    for _ in 0..20 {
        let response = pointsman_tests::http::Request::get("/small").answered(gateway.address);
        assert_eq!(response.text(), "small");
    }
    // 40 answers of 100 MiB, of which each may have its frame in hand and its socket's buffer.
    let grown = gateway.process.resident().saturating_sub(before);
    assert!(grown < 2 * GROWTH, "grew by {grown} bytes");
    drop(clients);
    gateway.wait_idle();
}
