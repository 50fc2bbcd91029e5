//! A scripted model server: each test says, request by request, what it answers and when.
//!
//! One thread per connection, keep-alive. The script gets the request and a [`Reply`] to write to; a reply
//! that was begun and not finished when the script returns ends the connection (a server that died).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// A request as the backend received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, unframed.
    pub body: Vec<u8>,
}

impl Received {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Writes the answer.
pub struct Reply {
    connection: TcpStream,
    chunked: bool,
    finished: bool,
}

impl Reply {
    /// A whole JSON answer.
    pub fn json(&mut self, status: u16, body: &Value) {
        self.whole(status, "application/json", body.to_string().as_bytes());
    }

    /// A whole answer.
    pub fn whole(&mut self, status: u16, content_type: &str, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.finished = self.write(head.as_bytes()) && self.write(body);
    }

    /// The address that the connection comes from: the same for all requests of one connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer_addr().ok()
    }

    /// A whole answer, head and all, as it goes over the wire.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.finished = self.write(bytes);
    }

    /// A part of an answer as it goes over the wire; false when the peer has left. [`Reply::raw`] says the last of it.
    pub fn part(&mut self, bytes: &[u8]) -> bool {
        self.write(bytes)
    }

    /// Begins a chunked stream of events.
    pub fn begin_events(&mut self) {
        self.chunked = true;
        self.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// One event of the stream; false when the peer has left.
    pub fn event(&mut self, data: &str) -> bool {
        let text = format!("data: {data}\n\n");
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    /// The proper end of the stream.
    pub fn end(&mut self) {
        debug_assert!(self.chunked, "only a stream has an end");
        self.finished = self.write(b"0\r\n\r\n");
    }

    /// Waits until the peer has closed its side; false when it has not within `patience`.
    pub fn peer_leaves(&mut self, patience: Duration) -> bool {
        // A peer that leaves is seen as an end or a reset; one that stays sends nothing, and the wait runs out.
        if self.connection.set_read_timeout(Some(patience)).is_err() {
            return true;
        }
        match self.connection.read(&mut [0; 64]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.connection.write_all(bytes).is_ok()
    }
}

/// What a backend does with a request.
type Script = dyn Fn(&Received, &mut Reply) + Send + Sync;

/// A listening scripted server. It accepts as long as the test's process lives.
pub struct Backend {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Backend {
    /// Listens on a port of its own and follows the script.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(script: impl Fn(&Received, &mut Reply) + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same at an address.
    ///
    /// # Panics
    /// When it is taken.
    #[track_caller]
    pub fn at(
        address: SocketAddr,
        script: impl Fn(&Received, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("a backend cannot listen at {address}: {error}"));
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let log = Arc::clone(&received);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                std::thread::spawn(move || serve(connection, &*script, &log));
            }
        });
        Self { address, received }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far on paths that begin so, scrapes and probes left out by the choice of path.
    pub fn received(&self, path: &str) -> Vec<Received> {
        let all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|request| request.path.starts_with(path))
            .cloned()
            .collect()
    }
}

fn serve(connection: TcpStream, script: &Script, log: &Mutex<Vec<Received>>) {
    let Ok(clone) = connection.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(clone);
    while let Some(request) = read(&mut reader) {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        let Ok(connection) = connection.try_clone() else {
            return;
        };
        let mut reply = Reply {
            connection,
            chunked: false,
            finished: false,
        };
        script(&request, &mut reply);
        if !reply.finished {
            // Died: the peer shall see it now, although the reader still holds the socket.
            let _ = reply.connection.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Received {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    if request.header("transfer-encoding").is_some() {
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).ok()?;
            request.body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    } else if let Some(length) = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
    {
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
    }
    Some(request)
}
