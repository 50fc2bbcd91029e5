//! Certificates of a port that speaks TLS: made at the start, or read from a folder and followed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pointsman_http::Tls;

/// How often a followed folder is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate that nobody vouches for, as PEM text, with its key.
pub(crate) fn self_signed() -> anyhow::Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(|error| anyhow!("cannot make a certificate: {error}"))?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// `tls.crt` and `tls.key` of a folder.
pub(crate) struct Folder {
    path: PathBuf,
    last: (Vec<u8>, Vec<u8>),
}

impl Folder {
    /// Reads them for the first time.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            last: read(path)?,
        })
    }

    /// TLS with them.
    pub(crate) fn tls(&self, only_13: bool) -> anyhow::Result<Tls> {
        Tls::new(&self.last.0, &self.last.1, only_13)
            .with_context(|| format!("the certificate in {}", self.path.display()))
    }

    /// Gives `tls` what stands in the folder whenever that changes, until dropped. What cannot be used is told, and the
    /// certificate in use stays.
    pub(crate) async fn follow(mut self, tls: Tls, tell: impl Fn(&str)) {
        loop {
            tokio::time::sleep(LOOK).await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            let Ok(Ok(found)) = read else { continue };
            if found == self.last {
                continue;
            }
            let shown = self.path.display();
            match tls.replace(&found.0, &found.1) {
                Ok(()) => tell(&format!("the certificate in {shown} was read again")),
                Err(why) => tell(&format!("the certificate in {shown} is not used: {why}")),
            }
            self.last = found;
        }
    }
}

fn read(folder: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok((file("tls.crt")?, file("tls.key")?))
}
