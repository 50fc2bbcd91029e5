//! Certificates of a port that speaks TLS: made at the start, or read from a folder and followed; and who may connect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pointsman_http::{Clients, Credentials, Tls};

/// How often followed files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who may connect, as flags say it.
#[derive(Clone, Default)]
pub(crate) struct Allowed {
    /// File with the authorities of clients; `None`: everybody may.
    pub(crate) authorities: Option<PathBuf>,
    /// Ids of clients; empty: whoever has a certificate.
    pub(crate) ids: Vec<String>,
}

impl Allowed {
    fn read(&self) -> anyhow::Result<Option<Clients>> {
        let Some(path) = &self.authorities else {
            return Ok(None);
        };
        Ok(Some(Clients {
            authorities: read(path)?,
            ids: self.ids.clone(),
        }))
    }
}

/// Where credentials come from.
pub(crate) struct Files {
    /// Folder with `tls.crt` and `tls.key`; `None`: a certificate made at the start, that nobody vouches for.
    folder: Option<PathBuf>,
    allowed: Allowed,
    last: Credentials,
}

impl Files {
    /// Reads them for the first time.
    pub(crate) fn open(folder: Option<&Path>, allowed: &Allowed) -> anyhow::Result<Self> {
        let last = match folder {
            Some(folder) => of_folder(folder, allowed)?,
            None => self_signed(allowed)?,
        };
        Ok(Self {
            folder: folder.map(Path::to_owned),
            allowed: allowed.clone(),
            last,
        })
    }

    /// TLS with them.
    pub(crate) fn tls(&self, only_13: bool) -> anyhow::Result<Tls> {
        Tls::new(&self.last, only_13).with_context(|| self.shown())
    }

    fn shown(&self) -> String {
        match &self.folder {
            Some(folder) => format!("the certificate in {}", folder.display()),
            None => "the certificate made at the start".to_owned(),
        }
    }

    /// Gives `tls` what stands in the files whenever that changes, until dropped. What cannot be used is told, and the
    /// credentials in use stay.
    pub(crate) async fn follow(mut self, tls: Tls, tell: impl Fn(&str)) {
        let Some(folder) = self.folder.clone() else {
            return;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            let (path, allowed) = (folder.clone(), self.allowed.clone());
            let read = tokio::task::spawn_blocking(move || of_folder(&path, &allowed)).await;
            let Ok(Ok(found)) = read else { continue };
            if found == self.last {
                continue;
            }
            let shown = self.shown();
            match tls.replace(&found) {
                Ok(()) => tell(&format!("{shown} was read again")),
                Err(why) => tell(&format!("{shown} is not used: {why}")),
            }
            self.last = found;
        }
    }
}

fn of_folder(folder: &Path, allowed: &Allowed) -> anyhow::Result<Credentials> {
    Ok(Credentials {
        certificate: read(&folder.join("tls.crt"))?,
        key: read(&folder.join("tls.key"))?,
        clients: allowed.read()?,
    })
}

fn self_signed(allowed: &Allowed) -> anyhow::Result<Credentials> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(|error| anyhow!("cannot make a certificate: {error}"))?;
    Ok(Credentials {
        certificate: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
        clients: allowed.read()?,
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
