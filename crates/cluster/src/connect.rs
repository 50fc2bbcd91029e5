//! How a client comes about: a kubeconfig that is named, `KUBECONFIG`, `~/.kube/config`, or the service account of
//! the pod we run in.

use std::path::Path;
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// How long a connection may take to come up; answers have no limit, since watches last.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found.
    #[error(
        "no Kubernetes API server is configured: {0}; set KUBECONFIG, or run in a pod with a service account"
    )]
    Nowhere(#[from] InferConfigError),
    /// The kubeconfig that was named cannot be used.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// Which file.
        path: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The configuration was read and no client can be made of it.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Client(#[from] kube::Error),
}

/// A client for whatever API server the environment names.
///
/// # Errors
/// Nothing is configured, or what is configured cannot be read.
pub async fn connect() -> Result<Client, ConnectError> {
    client(Config::infer().await?)
}

/// A client for the API server of this kubeconfig's current context.
///
/// # Errors
/// The file is missing or is no kubeconfig.
pub async fn connect_to(kubeconfig: &Path) -> Result<Client, ConnectError> {
    let named = |source| ConnectError::Kubeconfig {
        path: kubeconfig.display().to_string(),
        source,
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
    Ok(Client::try_from(config)?)
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
