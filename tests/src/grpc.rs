//! Just enough gRPC for one call without a library: HTTP/2 frames written by hand, messages as bytes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::http::connect;
use crate::patience::LONG;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Calls `path` with a message; the bytes of the answer's messages, frames of gRPC included. An answer that is a status
/// alone has none.
///
/// # Errors
/// What the socket said, or `UnexpectedEof` when the stream broke.
pub fn call(to: SocketAddr, path: &str, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = connect(to, LONG)?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
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
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    bytes.extend(frame(DATA, END_STREAM, 1, &body));
    connection.write_all(&bytes)?;
    let mut answer = Vec::new();
    loop {
        let mut header = [0; 9];
        connection.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload)?;
        let (kind, flags) = (header[3], header[4]);
        match kind {
            SETTINGS if flags & 1 == 0 => connection.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            DATA => answer.extend(payload),
            RST_STREAM | GOAWAY => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok(answer);
        }
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
