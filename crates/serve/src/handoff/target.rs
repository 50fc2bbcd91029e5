//! Where an engine is: a URL, and the addresses that its host stands for at the moment.

use std::net::SocketAddr;

use http::{HeaderValue, Uri};

use crate::handoff::addresses::Addresses;

/// A URL that cannot be an engine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Something other than `http://`.
    #[error("'{url}': only http:// is supported; the engines of a pair are reached without TLS")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// Not `http://host:port`.
    #[error("'{url}' is not an engine's address; write http://host:port")]
    Form {
        /// What was given.
        url: String,
    },
}

/// An engine's address.
#[derive(Debug)]
pub struct Target {
    url: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    literal: Option<SocketAddr>,
    addresses: Addresses,
}

impl Target {
    /// Reads `http://host:port` (port 80 without one); a trailing slash is allowed, a path is not.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let form = || TargetError::Form {
            url: url.to_owned(),
        };
        let uri: Uri = url.trim().parse().map_err(|_| form())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(TargetError::Scheme {
                    url: url.to_owned(),
                });
            }
            _ => return Err(form()),
        }
        let authority = uri.authority().ok_or_else(form)?;
        if !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(form());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let has_port = authority.as_str().len() > authority.host().len();
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(form());
        }
        let port = authority.port_u16().unwrap_or(80);
        let literal = host.parse().ok().map(|ip| SocketAddr::new(ip, port));
        let header = HeaderValue::from_str(authority.as_str()).map_err(|_| form())?;
        let url = format!("http://{authority}");
        Ok(Self {
            url,
            host,
            port,
            authority: header,
            literal,
            addresses: Addresses::default(),
        })
    }

    /// The URL without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of `host` in requests.
    pub fn authority(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, if the URL itself says it.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.literal
    }

    /// The addresses of the host, looked up as [`Addresses`] says.
    ///
    /// # Errors
    /// A text, when the host has never been resolved.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        if let Some(addr) = self.literal {
            return Ok(vec![addr]);
        }
        let (host, port) = (self.host.clone(), self.port);
        let look_up = async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(found.collect())
        };
        let found = self.addresses.get(|| look_up).await;
        found.map_err(|why| format!("cannot resolve '{}': {why}", self.host))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, port: u16, literal: bool) {
        let target = Target::parse(url).unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.literal.is_some()),
            (host, port, literal)
        );
        assert_eq!(target.url(), url.trim_end_matches('/'));
    }

    #[test]
    fn addresses_that_are_taken() {
        check("http://vllm-decode-fs:8000", "vllm-decode-fs", 8000, false);
        check("http://vllm-decode-fs/", "vllm-decode-fs", 80, false);
        check("http://127.0.0.1:8000", "127.0.0.1", 8000, true);
        check("http://[::1]:8000", "::1", 8000, true);
    }

    #[test]
    fn addresses_that_are_refused() {
        assert!(matches!(
            Target::parse("https://a:1").unwrap_err(),
            TargetError::Scheme { .. }
        ));
        for url in [
            "",
            "a",
            "a:8000",
            "http://",
            "http://a:b",
            "http://a:70000",
            "http://a:1/v1",
            "http://u@a:1",
            "ftp://a:1",
            "http://a:",
        ] {
            assert!(
                matches!(Target::parse(url), Err(TargetError::Form { .. })),
                "{url:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved() {
        let target = Target::parse("http://localhost:81").unwrap();
        assert!(
            target
                .resolve()
                .await
                .unwrap()
                .iter()
                .any(|addr| addr.ip().is_loopback() && addr.port() == 81)
        );
    }
}
