//! A plain blocking HTTP/1.1 client: one connection per request, and raw bytes where a test wants to be rude.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::body::{BodyReader, Framing};
use crate::patience::LONG;

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    patience: Duration,
}

impl Request {
    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, Vec::new())
    }

    /// A POST of JSON.
    pub fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path, body.to_string().into_bytes())
            .header("content-type", "application/json")
    }

    /// Any method and body. A `content-length` is always sent for methods other than GET.
    pub fn new(method: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: body.into(),
            patience: LONG,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How long a read may wait for the next byte (a minute, unless said).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The bytes that go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: pointsman.test\r\nconnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" || !self.body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// What the socket said; `UnexpectedEof` for an answer cut short.
    pub fn send(&self, to: SocketAddr) -> io::Result<Response> {
        exchange(to, &self.bytes(), self.patience)
    }

    /// Sends it and reads the head of the answer; the body follows as it arrives.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn open(&self, to: SocketAddr) -> io::Result<Answering> {
        open(to, &self.bytes(), self.patience)
    }

    /// [`Request::send`] for requests that must be answered.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn answered(&self, by: SocketAddr) -> Response {
        self.send(by)
            .unwrap_or_else(|error| panic!("{} {} at {by}: {error}", self.method, self.path))
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, unframed.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// An answer whose head has arrived.
pub struct Answering {
    /// Status and headers; the body is empty.
    pub head: Response,
    /// The body as it arrives.
    pub body: BodyReader,
}

/// Sends raw bytes and reads one whole answer.
///
/// # Errors
/// What the socket said; `UnexpectedEof` for an answer cut short.
pub fn exchange(to: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Response> {
    let Answering { mut head, mut body } = open(to, bytes, patience)?;
    head.body = body.rest()?;
    Ok(head)
}

/// Sends raw bytes and reads the head of the answer.
///
/// # Errors
/// What the socket said; `UnexpectedEof` when the peer closed without an answer.
pub fn open(to: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Answering> {
    let mut connection = connect(to, patience)?;
    connection.write_all(bytes)?;
    read_answer(connection)
}

/// A connection with bounded waits.
///
/// # Errors
/// What the socket said.
pub fn connect(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&to, patience)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    Ok(connection)
}

/// Reads the head of the answer to what has been written to the connection.
///
/// # Errors
/// What the socket said; `UnexpectedEof` when the peer closed without an answer.
pub fn read_answer(connection: TcpStream) -> io::Result<Answering> {
    let mut reader = BufReader::new(connection);
    loop {
        let head = read_head(&mut reader)?;
        // 100 Continue and its like announce the answer, they are not it.
        if head.status >= 200 {
            let framing = framing(&head);
            return Ok(Answering {
                head,
                body: BodyReader::new(reader, framing),
            });
        }
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Response> {
    let first = line(reader)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid(format!("status line {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Ok(Response {
                status,
                headers,
                body: Vec::new(),
            });
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(format!("header {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn framing(head: &Response) -> Framing {
    if matches!(head.status, 204 | 304) {
        return Framing::Ended;
    }
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.contains("chunked"))
    {
        return Framing::Chunked;
    }
    match head
        .header("content-length")
        .and_then(|value| value.parse().ok())
    {
        Some(length) => Framing::Counted(length),
        None => Framing::ToClose,
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
