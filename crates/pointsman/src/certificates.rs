//! Certificates of a port that speaks TLS: made at the start, or read from a folder and followed; and who may connect.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use pointsman_http::{Clients, Credentials, Tls};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

/// How often followed files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who a certificate that is made at the start speaks for.
const ORGANIZATION: &str = "Inference Ext";

/// How long such a certificate is good for: ten years.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
    let (certificate, key) =
        made().map_err(|error| anyhow!("cannot make a certificate: {error}"))?;
    Ok(Credentials {
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
        clients: allowed.read()?,
    })
}

/// A certificate that nobody vouches for and its key, as PEM: in the name and for the time that the reference gives its own.
fn made() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, ORGANIZATION);
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + LIFE).into();
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let made = params.self_signed(&key)?;
    Ok((made.pem(), key.serialize_pem()))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The bytes of a PEM text.
    fn bytes_of(pem: &str) -> Vec<u8> {
        let alphabet: Vec<char> = ('A'..='Z')
            .chain('a'..='z')
            .chain('0'..='9')
            .chain(['+', '/'])
            .collect();
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        let letters = lines.flat_map(str::chars).filter(|c| *c != '=');
        let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
        for letter in letters {
            held = held << 6 | alphabet.iter().position(|c| *c == letter).unwrap() as u32;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits) as u8);
            }
        }
        bytes
    }

    #[test]
    fn a_certificate_made_at_the_start_is_of_the_reference_s_name_and_life() {
        let (certificate, _) = made().unwrap();
        let bytes = bytes_of(&certificate);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(ORGANIZATION) && !text.contains("rcgen"));
        // UTCTime (tag 23) of 13 bytes: two digits of the year first.
        let times = bytes
            .windows(15)
            .filter(|w| w[..2] == [0x17, 13] && w[14] == b'Z');
        let years: Vec<u32> = times
            .map(|w| std::str::from_utf8(&w[2..4]).unwrap().parse().unwrap())
            .collect();
        let [from, to] = years[..] else {
            panic!("{years:?}")
        };
        // Ten years of 365 days end two or three days early, so perhaps in the year before.
        assert!((9..=10).contains(&(to - from)), "{years:?}");
    }
}
