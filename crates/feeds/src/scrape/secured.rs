//! TLS for pages that are served over it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use pointsman_core::contract::data_layer::MetricsSource;
use pointsman_http::{Line, Speech, Terms, Trust};

/// What keeps a page from being read over TLS: the parameter, and what is wrong with it.
pub type Fault = (&'static str, String);

/// TLS as a source describes it, shared by all pages. Equal when the same is trusted and shown.
#[derive(Clone)]
pub struct Secured {
    trust: Arc<Trust>,
    terms: Terms,
}

impl PartialEq for Secured {
    fn eq(&self, other: &Self) -> bool {
        self.trust == other.trust
    }
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secured")
    }
}

impl Secured {
    /// Reads the files that a source names; `None` where it is plain HTTP.
    ///
    /// # Errors
    /// [`Fault`]: a file cannot be read or used.
    pub fn of(source: &MetricsSource) -> Result<Option<Self>, Fault> {
        if !source.https {
            return Ok(None);
        }
        let trust = trust(source)?;
        let field = |error: &pointsman_http::TlsError| match error {
            pointsman_http::TlsError::Certificate(_) | pointsman_http::TlsError::Pair(_) => {
                "clientCertPath"
            }
            pointsman_http::TlsError::Key(_) => "clientKeyPath",
            _ if source.ca_cert_path.is_some() => "caCertPath",
            _ => "insecureSkipVerify",
        };
        let terms = Terms::new(Speech::Http1, &trust)
            .map_err(|error| (field(&error), error.to_string()))?;
        Ok(Some(Self {
            trust: Arc::new(trust),
            terms,
        }))
    }

    /// The same out of files that have changed since; `None` where they have not, or cannot be used now.
    pub(crate) fn renewed(&self, source: &MetricsSource) -> Option<Self> {
        let now = trust(source).ok()?;
        // Setting up is what costs, so it is done for another content alone.
        (now != *self.trust)
            .then(|| Self::of(source).ok().flatten())
            .flatten()
    }

    /// A line to whoever is at this address.
    pub(crate) fn line(&self, address: IpAddr) -> Line {
        Line::to(&self.terms, address)
    }
}

/// What the files say.
fn trust(source: &MetricsSource) -> Result<Trust, Fault> {
    let mut trust = Trust {
        anybody: source.insecure_skip_verify,
        ..Trust::default()
    };
    if let Some(path) = &source.ca_cert_path {
        trust.authorities = Some(read("caCertPath", path)?);
    }
    if let Some((certificate, key)) = &source.client_paths {
        let certificate = read("clientCertPath", certificate)?;
        trust.own = Some((certificate, read("clientKeyPath", key)?));
    }
    Ok(trust)
}

fn read(field: &'static str, path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(Path::new(path)).map_err(|error| (field, format!("{path}: {error}")))
}
