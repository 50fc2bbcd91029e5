//! Istio's names of clusters as the server name of a TLS greeting.
//!
//! Without a name of its own Istio greets a picker as `outbound|9002||epp.pool.svc.cluster.local`, which no host can be
//! called, so the TLS library ends the handshake. Such a name is marked on its way to the library as one that a host can
//! have and nobody has: `Outbound_9002_.epp.pool.svc.cluster.local`, byte for byte as long, so nothing else moves. Both
//! sides sign what was said, so the handshake is hashed as it was said: [`restored`] undoes the mark, which no other name
//! bears (`transcript.rs`).
//!
//! The greeting is looked at where it comes whole in its first record, as greetings do; any other goes on as it is.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// The head of a record, what it says of a handshake, and the most that it holds.
const RECORD_HEAD: usize = 5;
const HANDSHAKE: u8 = 22;
const LARGEST: usize = 16 << 10;

/// The message that greets.
const CLIENT_HELLO: u8 = 1;

/// How a cluster's name begins, and the same with the mark.
const CLUSTER: &[u8] = b"outbound|";
const MARKED: &[u8] = b"Outbound_";

/// Takes a client's greeting, and comes to terms with it.
pub(crate) async fn accept(
    config: Arc<ServerConfig>,
    mut stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let mut record = vec![0; RECORD_HEAD];
    stream.read_exact(&mut record).await?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    if record[0] == HANDSHAKE && (1..=LARGEST).contains(&length) {
        // All but the last byte, which is left for the library to read: it waits for something to come.
        record.resize(RECORD_HEAD + length - 1, 0);
        stream.read_exact(&mut record[RECORD_HEAD..]).await?;
        mark(&mut record[RECORD_HEAD..]);
    }
    let mut acceptor = Acceptor::default();
    let mut rest = record.as_slice();
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
    }
    let greeted = LazyConfigAcceptor::new(acceptor, stream).await?;
    greeted.into_stream(config).await
}

/// Marks a cluster's name in a greeting; the last byte may be missing.
fn mark(hello: &mut [u8]) {
    let Some(place) = server_name(hello) else {
        return;
    };
    let name = &mut hello[place];
    if !name.starts_with(CLUSTER) {
        return;
    }
    let mut marked = name.to_vec();
    marked[..MARKED.len()].copy_from_slice(MARKED);
    let bars = |name: &[u8]| -> Vec<usize> {
        let found = name.iter().enumerate().filter(|(_, byte)| **byte == b'|');
        found.map(|(at, _)| at).collect()
    };
    // Behind the port, and before the host.
    let [port, host] = bars(&marked)[..] else {
        return;
    };
    marked[port] = b'_';
    marked[host] = b'.';
    // A subset whose name would make the mark ambiguous has none.
    if unmarked(&marked).is_some_and(|back| back == name) {
        name.copy_from_slice(&marked);
    }
}

/// The name that was marked so.
fn unmarked(name: &[u8]) -> Option<Vec<u8>> {
    let rest = name.strip_prefix(MARKED)?;
    let port = MARKED.len() + rest.iter().position(|byte| *byte == b'_')?;
    let host = port + name[port..].iter().position(|byte| *byte == b'.')?;
    let mut name = name.to_vec();
    name[..CLUSTER.len()].copy_from_slice(CLUSTER);
    name[port] = b'|';
    name[host] = b'|';
    Some(name)
}

/// A greeting as it was said, where `said` begins with one that was marked.
pub(crate) fn restored(said: &[u8]) -> Option<Vec<u8>> {
    // Everything that is hashed comes by here, so what is no greeting is told apart at once.
    if said.first() != Some(&CLIENT_HELLO) {
        return None;
    }
    let place = server_name(said)?;
    let name = unmarked(&said[place.clone()])?;
    let mut said = said.to_vec();
    said[place].copy_from_slice(&name);
    Some(said)
}

/// Where the server's name stands in a greeting, which may be cut off behind it.
fn server_name(hello: &[u8]) -> Option<Range<usize>> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    const SERVER_NAME: u16 = 0;
    const HOST_NAME: u8 = 0;
    let mut walk = Walk { hello, at: 0 };
    if walk.number(1)? != usize::from(CLIENT_HELLO) {
        return None;
    }
    walk.skip(3 + VERSION_AND_RANDOM)?;
    // Session, suites, compression.
    for width in [1, 2, 1] {
        let length = walk.number(width)?;
        walk.skip(length)?;
    }
    let all = walk.number(2)?;
    let end = walk.at + all;
    while walk.at < end {
        let (kind, length) = (walk.number(2)?, walk.number(2)?);
        if kind != usize::from(SERVER_NAME) {
            walk.skip(length)?;
            continue;
        }
        walk.skip(2)?;
        if walk.number(1)? != usize::from(HOST_NAME) {
            return None;
        }
        let length = walk.number(2)?;
        let start = walk.at;
        walk.skip(length)?;
        return Some(start..walk.at);
    }
    None
}

/// A place in a greeting.
struct Walk<'a> {
    hello: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    /// A number of so many bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        let from = self.at;
        self.skip(width)?;
        let bytes = self.hello[from..self.at].iter();
        Some(bytes.fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        let to = self.at.checked_add(length)?;
        (to <= self.hello.len()).then_some(())?;
        self.at = to;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A greeting with this name between two other extensions.
    fn hello(name: &str) -> Vec<u8> {
        let short = |length: usize| (length as u16).to_be_bytes();
        let mut list = vec![0];
        list.extend(short(name.len()));
        list.extend(name.as_bytes());
        let mut extensions = vec![0, 23, 0, 0];
        extensions.extend([0, 0]);
        extensions.extend(short(list.len() + 2));
        extensions.extend(short(list.len()));
        extensions.extend(list);
        extensions.extend([0, 43, 0, 3, 2, 3, 4]);
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(short(extensions.len()));
        body.extend(extensions);
        let mut hello = vec![CLIENT_HELLO, 0];
        hello.extend(short(body.len()));
        hello.extend(body);
        hello
    }

    fn marked(name: &str) -> String {
        let mut changed = hello(name);
        let before = changed.clone();
        mark(&mut changed);
        if changed != before {
            assert_eq!(restored(&changed), Some(before), "{name}");
        } else {
            assert_eq!(restored(&changed), None, "{name}");
        }
        let place = server_name(&changed).unwrap();
        String::from_utf8(changed[place].to_vec()).unwrap()
    }

    #[test]
    fn a_cluster_s_name_is_marked_and_restored_and_no_other() {
        assert_eq!(
            marked("outbound|9002||epp.pool.svc.cluster.local"),
            "Outbound_9002_.epp.pool.svc.cluster.local"
        );
        assert_eq!(marked("outbound|9002|v1|epp.x"), "Outbound_9002_v1.epp.x");
        for other in [
            "epp.pool.svc.cluster.local",
            "outbound_.9002_._.epp.pool.svc",
            "outbound|9002|epp",
            "outbound|9002||epp|more",
            "outbound|9002|a.b|epp",
            "outbound|9_002||epp",
            "inbound|9002||epp",
        ] {
            assert_eq!(marked(other), other);
        }
    }

    #[test]
    fn what_is_cut_off_or_no_greeting_stays() {
        let whole = hello("outbound|9002||epp.pool");
        for end in 0..whole.len() {
            let mut cut = whole[..end].to_vec();
            mark(&mut cut);
            if cut != whole[..end] {
                assert_eq!(restored(&cut).unwrap(), &whole[..end]);
            }
        }
        // All but the last byte is enough.
        let mut most = whole[..whole.len() - 1].to_vec();
        mark(&mut most);
        assert_ne!(most, &whole[..whole.len() - 1]);
        for text in [&b""[..], b"\x01", b"\x02\0\0\0", &[1; 300]] {
            assert_eq!(restored(text), None);
        }
    }
}
