//! Just enough gRPC without a library: HTTP/2 frames written by hand, messages as bytes. One call, or a connection with many
//! that stay open, as a gateway has with its picker.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::http::connect;
use crate::patience::LONG;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

/// Largest frame that every peer takes.
const FRAME: usize = 16 * 1024;

/// Calls `path` with a message; the bytes of the answer's messages, frames of gRPC included. An answer that is a status
/// alone has none.
///
/// # Errors
/// What the socket said, or `UnexpectedEof` when the stream broke.
pub fn call(to: SocketAddr, path: &str, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = Connection::open(to)?;
    let stream = connection.begin(path)?;
    connection.say(stream, message)?;
    connection.finish(stream)?;
    while !connection.call(stream).over {
        connection.read()?;
    }
    let call = connection.call(stream);
    match call.broken {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(std::mem::take(&mut call.bytes)),
    }
}

/// A connection of a gateway: it has many calls open at once.
pub struct Connection {
    socket: TcpStream,
    next: u32,
    calls: HashMap<u32, Call>,
    /// Whether what is heard makes room for more.
    reads: bool,
    /// Whether the peer's settings are known.
    agreed: bool,
    /// Bytes that the peer takes on all calls together before it gives more room.
    room: usize,
}

/// The room of a connection that nobody has said anything about.
const FIRST_ROOM: usize = 65_535;

#[derive(Default)]
struct Call {
    bytes: Vec<u8>,
    over: bool,
    broken: bool,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// What the socket said.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        Self::with(to, &[], true)
    }

    /// One whose calls have room for a byte of an answer, and never get more.
    ///
    /// # Errors
    /// What the socket said.
    pub fn deaf(to: SocketAddr) -> io::Result<Self> {
        // SETTINGS_INITIAL_WINDOW_SIZE: 1
        Self::with(to, &[0, 4, 0, 0, 0, 1], false)
    }

    fn with(to: SocketAddr, settings: &[u8], reads: bool) -> io::Result<Self> {
        let mut socket = connect(to, LONG)?;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, settings));
        socket.write_all(&bytes)?;
        let mut connection = Self {
            socket,
            next: 1,
            calls: HashMap::new(),
            reads,
            agreed: false,
            room: FIRST_ROOM,
        };
        // The room that the peer gives counts from the moment its settings are acknowledged.
        while !connection.agreed {
            connection.read()?;
        }
        Ok(connection)
    }

    /// Begins a call, whose number it returns.
    ///
    /// # Errors
    /// What the socket said.
    pub fn begin(&mut self, path: &str) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "pointsman.test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            field(&mut block, name, value);
        }
        self.calls.insert(stream, Call::default());
        self.socket
            .write_all(&frame(HEADERS, END_HEADERS, stream, &block))?;
        Ok(stream)
    }

    /// Sends a message, as the peer gives room for on all calls together; that of a call is not looked at, so messages are short
    /// of it here.
    ///
    /// # Errors
    /// What the socket said.
    pub fn say(&mut self, stream: u32, message: &[u8]) -> io::Result<()> {
        let mut body = vec![0];
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(message);
        for piece in body.chunks(FRAME) {
            while self.room < piece.len() {
                self.read()?;
            }
            self.room -= piece.len();
            self.socket.write_all(&frame(DATA, 0, stream, piece))?;
        }
        Ok(())
    }

    /// Has nothing more to say.
    ///
    /// # Errors
    /// What the socket said.
    pub fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.socket.write_all(&frame(DATA, END_STREAM, stream, &[]))
    }

    /// Breaks a call off, as a gateway does whose client has left.
    ///
    /// # Errors
    /// What the socket said.
    pub fn reset(&mut self, stream: u32) -> io::Result<()> {
        self.calls.remove(&stream);
        self.socket
            .write_all(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()))
    }

    /// The next message of a call; `None` when it has ended.
    ///
    /// # Errors
    /// What the socket said, or `UnexpectedEof` when the call broke.
    pub fn hear(&mut self, stream: u32) -> io::Result<Option<Vec<u8>>> {
        loop {
            let call = self.call(stream);
            if let Some(message) = call.message() {
                return Ok(Some(message));
            }
            if call.broken {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if call.over {
                return Ok(None);
            }
            self.read()?;
        }
    }

    fn call(&mut self, stream: u32) -> &mut Call {
        self.calls.entry(stream).or_default()
    }

    /// Reads a frame.
    fn read(&mut self) -> io::Result<()> {
        let mut header = [0; 9];
        self.socket.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload)?;
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        match kind {
            SETTINGS if flags & 1 == 0 => {
                self.agreed = true;
                self.socket.write_all(&frame(SETTINGS, 1, 0, &[]))?;
            }
            PING if flags & 1 == 0 => self.socket.write_all(&frame(PING, 1, 0, &payload))?,
            DATA if length > 0 && self.reads => {
                let room = (length as u32).to_be_bytes();
                let mut both = frame(WINDOW_UPDATE, 0, 0, &room);
                both.extend(frame(WINDOW_UPDATE, 0, stream, &room));
                self.socket.write_all(&both)?;
            }
            WINDOW_UPDATE if stream == 0 => {
                let more = payload.try_into().map(u32::from_be_bytes);
                self.room += more.map_err(|_| io::ErrorKind::InvalidData)? as usize;
                return Ok(());
            }
            // Without an error it says only that no new call is taken; those that are open go on.
            GOAWAY if payload.get(4..8) != Some(&[0; 4]) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            _ => {}
        }
        // What still comes of a call that was broken off is nobody's.
        let Some(call) = self.calls.get_mut(&stream) else {
            return Ok(());
        };
        match kind {
            DATA => call.bytes.extend(payload),
            RST_STREAM => (call.over, call.broken) = (true, true),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            call.over = true;
        }
        Ok(())
    }
}

impl Call {
    /// The first message that has come whole.
    fn message(&mut self) -> Option<Vec<u8>> {
        let length = self.bytes.get(1..5)?.try_into().ok()?;
        let end = 5 + u32::from_be_bytes(length) as usize;
        let message = self.bytes.get(5..end)?.to_vec();
        self.bytes.drain(..end);
        Some(message)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header field, literal and not remembered; names and values are shorter than 127 bytes.
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(text.len() as u8);
        block.extend(text.as_bytes());
    }
}
