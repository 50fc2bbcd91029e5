//! The head of an HTTP/1.1 message, read for the five things that load and mock need and for nothing else.
//!
//! Both ends of a measurement speak to well-behaved peers, so a full parser would only add its own cost to theirs.
//! Folded lines and repeated `content-length` are not understood.

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Neither: no body in a request; up to the end of the connection in an answer.
    Unsaid,
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line, without its end.
    pub first: &'a [u8],
    /// How long the body is.
    pub framing: Framing,
    /// Whether the peer closes the connection after this message.
    pub close: bool,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
    /// Who answered: the value of `x-endpoint`, or of `x-gateway-destination-endpoint-served`.
    pub endpoint: Option<&'a [u8]>,
    /// Bytes of the head, with the empty line.
    pub len: usize,
}

impl<'a> Head<'a> {
    /// Reads the head that `bytes` starts with; `None` while its end has not arrived.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let mut lines = Lines(&bytes[..end]);
        let mut head = Head {
            first: lines.next().unwrap_or_default(),
            framing: Framing::Unsaid,
            close: false,
            expects_continue: false,
            endpoint: None,
            len: end + 4,
        };
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            // Told apart by length first: most lines are none of ours.
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    if let Some(length) = number(value) {
                        head.framing = Framing::Length(length);
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding")
                    && value.eq_ignore_ascii_case(b"chunked") =>
                {
                    head.framing = Framing::Chunked;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    head.close = value.eq_ignore_ascii_case(b"close");
                }
                10 if name.eq_ignore_ascii_case(b"x-endpoint") => head.endpoint = Some(value),
                37 if name.eq_ignore_ascii_case(b"x-gateway-destination-endpoint-served") => {
                    head.endpoint = head.endpoint.or(Some(value));
                }
                6 if name.eq_ignore_ascii_case(b"expect") => head.expects_continue = true,
                _ => {}
            }
        }
        Some(head)
    }

    /// The status of an answer; `None` when the first line is not one of HTTP/1.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let rest = self.first.strip_prefix(b"HTTP/1.")?;
        number(rest.get(2..5)?).and_then(|status| u16::try_from(status).ok())
    }

    /// Method and path of a request.
    #[must_use]
    pub fn request(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut words = self.first.split(|byte| *byte == b' ');
        Some((words.next()?, words.next()?))
    }
}

/// The decimal number that `digits` is.
fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.0) {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (self.0, &self.0[self.0.len()..]),
        };
        self.0 = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_an_answer() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nX-Endpoint: m2\r\nContent-Length:  17\r\nserver: x\r\n\r\nbody";
        let head = Head::read(bytes).unwrap();
        assert_eq!(head.status(), Some(200));
        assert_eq!(head.framing, Framing::Length(17));
        assert_eq!(head.endpoint, Some(&b"m2"[..]));
        assert_eq!(&bytes[head.len..], b"body");
        assert!(!head.close);
    }

    #[test]
    fn reads_a_request() {
        let head = Head::read(b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\nConnection: close\r\nexpect: 100-continue\r\n\r\n")
            .unwrap();
        assert_eq!(
            head.request(),
            Some((&b"POST"[..], &b"/v1/completions"[..]))
        );
        assert_eq!(head.framing, Framing::Chunked);
        assert!(head.close && head.expects_continue);
    }

    #[test]
    fn waits_for_the_end_and_knows_what_is_no_answer() {
        assert_eq!(Head::read(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
        assert_eq!(Head::read(b"SSH-2.0\r\n\r\n").unwrap().status(), None);
        assert_eq!(
            Head::read(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap()
                .framing,
            Framing::Unsaid
        );
    }
}
