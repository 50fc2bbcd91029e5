//! One look at a cluster: connect, read, choose the pool.

use std::path::Path;

use pointsman_cluster::read::version;
use pointsman_cluster::{Client, connect, connect_to};
use pointsman_operator::check::facts::{Facts, id_of, name_of, namespace_of};
use pointsman_operator::check::installation::{Installation, pools};

use crate::verify::check::{CLUSTER, Check};
use crate::verify::kube::gather::gather;
use crate::verify::kube::judge;

/// Which part of which cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// The kubeconfig; `None`: whatever the environment names.
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
    /// Namespaces to look in; empty: all.
    pub(crate) namespaces: Vec<String>,
    /// The pool, by its name or `namespace/name`; `None`: all there are.
    pub(crate) pool: Option<String>,
}

/// A cluster that was read.
pub(crate) struct Session {
    /// The API server.
    pub(crate) client: Client,
    /// What was read.
    pub(crate) facts: Facts,
    /// The pools that are asked about, as namespace and name.
    pub(crate) pools: Vec<(String, String)>,
}

/// Connects and reads.
///
/// # Errors
/// The finding that says why the API server cannot be asked.
pub(crate) async fn open(scope: &Scope, tell: &impl Fn(&str)) -> Result<Session, Check> {
    let refused = |why: String| {
        CLUSTER.bad(
            "the API server cannot be asked",
            why,
            "kubectl cluster-info\n# name a working kubeconfig with --kubeconfig FILE or KUBECONFIG",
        )
    };
    let client = client(scope.kubeconfig.as_deref()).await.map_err(refused)?;
    let server = version(&client).await;
    let server = server.map_err(|why| refused(why.to_string()))?;
    tell("reading the cluster's objects");
    let facts = gather(&client, &format!("Kubernetes {server}"), &scope.namespaces).await;
    let wanted = |id: &str, name: &str| {
        let asked = scope.pool.as_deref();
        asked.is_none_or(|asked| asked == id || asked == name)
    };
    let pools = pools(&facts)
        .into_iter()
        .filter(|pool| wanted(&id_of(pool), name_of(pool)))
        .map(|pool| (namespace_of(pool).to_owned(), name_of(pool).to_owned()))
        .collect();
    Ok(Session {
        client,
        facts,
        pools,
    })
}

async fn client(kubeconfig: Option<&Path>) -> Result<Client, String> {
    let made = match kubeconfig {
        Some(path) => connect_to(path).await,
        None => connect().await,
    };
    made.map_err(|why| why.to_string())
}

impl Session {
    /// What the objects say of the cluster and of a pool.
    pub(crate) fn judged(&self, pool: &(String, String)) -> Vec<Check> {
        let found = crate::verify::kube::surroundings::pool_named(&self.facts, pool);
        let of = |pool| judge::installation(&Installation::of(&self.facts, pool));
        found.map(of).unwrap_or_default()
    }

    /// Which pools there are to choose from, in words.
    pub(crate) fn choice(&self) -> String {
        let names: Vec<String> = self
            .pools
            .iter()
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect();
        names.join(", ")
    }
}

impl Scope {
    /// Where no pool was found, in words.
    pub(crate) fn in_words(&self) -> String {
        let named = self.pool.as_ref().map(|name| format!(" named {name}"));
        let within = match self.namespaces.is_empty() {
            true => String::new(),
            false => format!(" in {}", self.namespaces.join(", ")),
        };
        format!("{}{within}", named.unwrap_or_default())
    }
}
