//! What is watched while another client loads the target: processes of this machine, and pods of a cluster.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use pointsman_bench::processes::{Watched, unreadable};
use pointsman_bench::resources::glance;
use pointsman_bench::results::Usage;
use pointsman_bench::samples::{Samples, now};
use pointsman_cluster::{Client, connect, connect_to, pod_usage};

/// How often processes are looked at, and how often pods: the metrics server itself looks every 15 s or so.
const PROCESSES: Duration = Duration::from_millis(250);
const PODS: Duration = Duration::from_secs(5);

/// Pods and what the report calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pods {
    name: String,
    namespace: String,
    selector: String,
}

/// Reads `NAME=NAMESPACE/SELECTOR`.
pub(crate) fn pods(text: &str) -> Result<Pods, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| {
        let (namespace, selector) = rest.split_once('/')?;
        Some((name, namespace, selector))
    });
    match parts {
        Some((name, namespace, selector)) if ![name, namespace, selector].contains(&"") => {
            Ok(Pods {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                selector: selector.to_owned(),
            })
        }
        _ => Err("write NAME=NAMESPACE/SELECTOR, such as picker=llm-d/app=epp".to_owned()),
    }
}

/// Everything watched, and what was seen of it.
pub(crate) struct Watching {
    processes: Vec<Watched>,
    /// What was seen of each process.
    seen: Vec<RefCell<Samples>>,
    pods: Vec<(Pods, RefCell<Samples>)>,
    client: Option<Client>,
}

impl Watching {
    /// Begins to watch; the cluster is asked once at once, so that a wrong name is told before the load.
    pub(crate) async fn new(
        processes: Vec<Watched>,
        pods: &[Pods],
        kubeconfig: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let seen = |name: &str| RefCell::new(Samples::new(name));
        let client = match (pods.is_empty(), kubeconfig) {
            (true, _) => None,
            (false, Some(path)) => Some(connect_to(path).await?),
            (false, None) => Some(connect().await?),
        };
        let watching = Self {
            seen: processes.iter().map(|one| seen(&one.name)).collect(),
            processes,
            pods: pods
                .iter()
                .map(|one| (one.clone(), seen(&one.name)))
                .collect(),
            client,
        };
        for (pods, samples) in &watching.pods {
            watching
                .look_at(pods, samples)
                .await
                .with_context(|| format!("--pods {}", pods.name))?;
        }
        Ok(watching)
    }

    /// The processes, for who measures them by itself.
    pub(crate) fn processes(&self) -> &[Watched] {
        &self.processes
    }

    /// Looks at everything again and again, and never ends.
    pub(crate) async fn look(&self) -> Infallible {
        let processes = async {
            loop {
                for (watched, samples) in self.processes.iter().zip(&self.seen) {
                    let mut samples = samples.borrow_mut();
                    match glance(watched.pid) {
                        Ok((nanos, resident)) => samples.total(now(), nanos as f64 / 1e9, resident),
                        Err(error) => samples.lose(|| {
                            format!("{}: {}", watched.name, unreadable(watched.pid, &error))
                        }),
                    }
                }
                tokio::time::sleep(PROCESSES).await;
            }
        };
        tokio::select! {
            never = processes => never,
            never = self.look_at_pods() => never,
        }
    }

    /// The same of the pods alone.
    pub(crate) async fn look_at_pods(&self) -> Infallible {
        loop {
            self.look_at_pods_once().await;
            tokio::time::sleep(PODS).await;
        }
    }

    /// One more look at the pods: when a window ends before the next one is due.
    pub(crate) async fn look_at_pods_once(&self) {
        for (pods, samples) in &self.pods {
            if let Err(error) = self.look_at(pods, samples).await {
                samples
                    .borrow_mut()
                    .lose(|| format!("{}: {error:#}", pods.name));
            }
        }
    }

    async fn look_at(&self, pods: &Pods, samples: &RefCell<Samples>) -> anyhow::Result<()> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        let found = pod_usage(client, &pods.namespace, &pods.selector).await?;
        let seen = &mut *samples.borrow_mut();
        seen.rate(now(), found.cores, found.memory_bytes / f64::from(1 << 20));
        Ok(())
    }

    /// What was used between two moments.
    pub(crate) fn usage(&self, begin: f64, end: f64) -> Vec<Usage> {
        let processes = self
            .seen
            .iter()
            .map(|samples| samples.borrow().usage(begin, end));
        processes.chain(self.pods_usage(begin, end)).collect()
    }

    /// The same of the pods alone.
    pub(crate) fn pods_usage(&self, begin: f64, end: f64) -> Vec<Usage> {
        self.pods
            .iter()
            .map(|(_, samples)| samples.borrow().usage(begin, end))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_by_namespace_and_selector() {
        assert_eq!(
            pods("gateway=istio-system/app=gateway,tier=edge"),
            Ok(Pods {
                name: "gateway".to_owned(),
                namespace: "istio-system".to_owned(),
                selector: "app=gateway,tier=edge".to_owned(),
            })
        );
        for wrong in ["gateway", "=a/b", "a=b", "a=/b", "a=b/"] {
            assert!(pods(wrong).is_err(), "{wrong}");
        }
    }
}
