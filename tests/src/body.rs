//! The body of an HTTP/1.1 answer as it arrives: chunked, counted, or until the connection ends.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// How the end of a body is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes are left.
    Counted(usize),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Until the peer closes.
    ToClose,
    /// The end has been read.
    Ended,
}

/// Reads a body piece by piece.
pub struct BodyReader {
    connection: BufReader<TcpStream>,
    framing: Framing,
}

impl BodyReader {
    /// A reader over the connection, which stands right behind the head.
    pub fn new(connection: BufReader<TcpStream>, framing: Framing) -> Self {
        Self {
            connection,
            framing,
        }
    }

    /// The next piece as it came, or `None` at the proper end.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer ended before the body did; else what the socket said.
    pub fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Ended | Framing::Counted(0) => Ok(None),
            Framing::Counted(left) => {
                let piece = self
                    .some(left.min(64 * 1024))?
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                self.framing = Framing::Counted(left - piece.len());
                Ok(Some(piece))
            }
            Framing::ToClose => self.some(64 * 1024),
            Framing::Chunked => self.chunk(),
        }
    }

    /// Everything up to the proper end.
    ///
    /// # Errors
    /// As [`BodyReader::next_piece`].
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next_piece()? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    fn some(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let available = self.connection.fill_buf()?;
        let piece = available[..available.len().min(limit)].to_vec();
        self.connection.consume(piece.len());
        Ok(if piece.is_empty() { None } else { Some(piece) })
    }

    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut size = String::new();
        if self.connection.read_line(&mut size)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let digits = size.trim_end().split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("chunk size {size:?}: {error}"),
            )
        })?;
        let mut piece = vec![0; length + 2];
        self.connection.read_exact(&mut piece)?;
        piece.truncate(length);
        if length == 0 {
            self.framing = Framing::Ended;
            return Ok(None);
        }
        Ok(Some(piece))
    }
}
