//! How a client comes about: a kubeconfig that is named, `KUBECONFIG`, `~/.kube/config`, or the service account of
//! the pod we run in.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::watch::chain;

/// How long a connection may take to come up; answers have no limit, since watches last.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client. The texts hold what it came from, so there is no source to be told once more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found.
    #[error(
        "no Kubernetes API server is configured: {0}; name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod with a service account"
    )]
    Nowhere(String),
    /// The kubeconfig that was named cannot be used.
    #[error("kubeconfig {path}: {why}")]
    Kubeconfig {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration was read and no client can be made of it.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Client(String),
}

/// A client for whatever API server the environment names.
///
/// # Errors
/// Nothing is configured, or what is configured cannot be read.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await;
    client(config.map_err(|why| ConnectError::Nowhere(chain(&why)))?)
}

/// A client for the API server of this kubeconfig's current context.
///
/// # Errors
/// The file is missing or is no kubeconfig.
pub async fn connect_to(kubeconfig: &Path) -> Result<Client, ConnectError> {
    let named = |why: KubeconfigError| ConnectError::Kubeconfig {
        path: kubeconfig.display().to_string(),
        why: chain(&why),
    };
    let read = Kubeconfig::read_from(kubeconfig).map_err(named)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(named)?;
    client(config)
}

fn client(mut config: Config) -> Result<Client, ConnectError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    // Whoever asks has a pace of its own and says what it waits for; the client's would go on for minutes unseen.
    config.default_retry = false;
    Client::try_from(config).map_err(|why| ConnectError::Client(chain(&why)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_missing_is_named() {
        let refused = connect_to(Path::new("/nowhere/kubeconfig"))
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("kubeconfig /nowhere/kubeconfig"),
            "{refused}"
        );
    }
}
