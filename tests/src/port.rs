//! Free loopback ports, below the range that the system gives to outgoing connections.
//!
//! A port is free when it can be bound at the moment of asking. Another process may still be quicker, so
//! starting a server tries again with other ports ([`crate::server`]).

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// First port given out, and how many there are.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// An address on loopback that nobody listens on.
///
/// # Panics
/// When no port of the range is free.
pub fn free() -> SocketAddr {
    // Relaxed: only the number itself must be unique, nothing else is ordered by it.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((u32::from(start) * 61 + u32::from(step)) % u32::from(COUNT)) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
