//! Where a directory of a pod comes from, as one word on the command line.

use serde_json::{Value, json};

/// Where a directory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Empty at the pod's start, and the pod's alone.
    Empty,
    /// A directory of the node.
    Host(String),
    /// A PersistentVolumeClaim.
    Claim(String),
    /// An export of an NFS server.
    Nfs {
        /// The server's name or address.
        server: String,
        /// What it exports.
        path: String,
    },
}

/// Why a word names no source.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no volume: give nfs:SERVER:/PATH, pvc:NAME, host:/PATH or empty; paths begin with a slash"
)]
pub struct NoSource(String);

impl Source {
    /// Reads `nfs:SERVER:/PATH`, `pvc:NAME`, `host:/PATH` or `empty`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(word: &str) -> Result<Self, NoSource> {
        let no = || NoSource(word.to_owned());
        let absolute = |path: &str| path.starts_with('/').then(|| path.to_owned());
        match word.split_once(':') {
            None if word == "empty" => Ok(Self::Empty),
            Some(("host", path)) => absolute(path).map(Self::Host).ok_or_else(no),
            Some(("pvc", name)) if !name.is_empty() => Ok(Self::Claim(name.to_owned())),
            Some(("nfs", rest)) => {
                // An IPv6 address has colons too, a path that begins with a slash follows the last one before it.
                let (server, path) = rest.split_once(":/").ok_or_else(no)?;
                match server.is_empty() {
                    true => Err(no()),
                    false => Ok(Self::Nfs {
                        server: server.to_owned(),
                        path: format!("/{path}"),
                    }),
                }
            }
            _ => Err(no()),
        }
    }

    /// The volume under a name.
    pub(crate) fn volume(&self, name: &str) -> Value {
        let mut volume = match self {
            Self::Empty => json!({"emptyDir": {}}),
            Self::Host(path) => json!({"hostPath": {"path": path, "type": "DirectoryOrCreate"}}),
            Self::Claim(claim) => json!({"persistentVolumeClaim": {"claimName": claim}}),
            Self::Nfs { server, path } => json!({"nfs": {"server": server, "path": path}}),
        };
        volume["name"] = json!(name);
        volume
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_word_says_where_a_directory_comes_from() {
        let nfs = Source::parse("nfs:fd00::1:/export/models").unwrap();
        assert_eq!(
            nfs.volume("m"),
            json!({"name": "m", "nfs": {"server": "fd00::1", "path": "/export/models"}})
        );
        assert_eq!(
            Source::parse("pvc:models"),
            Ok(Source::Claim("models".to_owned()))
        );
        assert_eq!(Source::parse("host:/d"), Ok(Source::Host("/d".to_owned())));
        assert_eq!(Source::parse("empty"), Ok(Source::Empty));
        for wrong in [
            "", "host:d", "pvc:", "nfs:/x", "nfs:h", "/models", "nfs::/x",
        ] {
            let error = Source::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("pvc:NAME"), "{wrong}: {error}");
        }
    }
}
