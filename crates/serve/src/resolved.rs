//! The address of a host's name, believed for a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::lookup_host;

/// How long a name's address is believed.
const FRESH: Duration = Duration::from_secs(10);

/// The last name that was resolved.
#[derive(Default)]
pub struct Resolved(Mutex<Option<(Box<str>, SocketAddr, Instant)>>);

impl Resolved {
    /// The address of `host:port`, if it has one.
    pub async fn address(&self, authority: &str) -> Option<SocketAddr> {
        if let Ok(address) = authority.parse() {
            return Some(address);
        }
        let known = self.0.lock().clone();
        if let Some((name, address, at)) = known
            && *name == *authority
            && at.elapsed() < FRESH
        {
            return Some(address);
        }
        let address = lookup_host(authority).await.ok()?.next()?;
        *self.0.lock() = Some((authority.into(), address, Instant::now()));
        Some(address)
    }

    /// The next question resolves anew.
    pub fn forget(&self) {
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_taken_and_names_looked_up() {
        let resolved = Resolved::default();
        let of = async |authority: &str| resolved.address(authority).await;
        assert_eq!(of("10.0.0.1:80").await, "10.0.0.1:80".parse().ok());
        assert_eq!(of("[::1]:80").await, "[::1]:80".parse().ok());
        let local = of("localhost:81")
            .await
            .map(|address| address.ip().is_loopback());
        assert_eq!(local, Some(true));
        resolved.forget();
        assert_eq!(of("no port").await, None);
    }
}
