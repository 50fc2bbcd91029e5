//! Where a gateway is, as given on the command line.

use std::net::SocketAddr;
use std::str::FromStr;

/// A base address of the form `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host:port`, as the `host` header wants it.
    pub(crate) authority: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!("'{scheme}' is not spoken; use http://HOST:PORT"));
            }
        };
        let rest = rest.trim_end_matches('/');
        let wrong = || format!("'{text}' is no address; use http://HOST:PORT");
        let uri: http::uri::Authority = rest.parse().map_err(|_| wrong())?;
        if uri.host().is_empty() || rest.contains('@') {
            return Err(wrong());
        }
        let authority = match uri.port_u16() {
            Some(_) => rest.to_owned(),
            // A bare word or number is more likely half an address than a host.
            None if uri.host() == rest && text.contains("://") => format!("{rest}:80"),
            None => return Err(wrong()),
        };
        Ok(Self { authority })
    }
}

impl Place {
    /// The address that the name stands for.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, String> {
        let found = tokio::net::lookup_host(&self.authority).await;
        let mut found = found.map_err(|e| format!("'{}' does not resolve: {e}", self.authority))?;
        found
            .next()
            .ok_or_else(|| format!("'{}' does not resolve", self.authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        let read = |text: &str| text.parse::<Place>().map(|place| place.authority);
        assert_eq!(read("http://h:1/"), Ok("h:1".to_owned()));
        assert_eq!(read("127.0.0.1:8080"), Ok("127.0.0.1:8080".to_owned()));
        assert_eq!(read("http://[::1]:9"), Ok("[::1]:9".to_owned()));
        assert_eq!(read("http://h"), Ok("h:80".to_owned()));
        for wrong in [
            "",
            "https://h:1",
            "http://",
            "http://h:x",
            "http://a b",
            "http://h/p",
            "9090",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
