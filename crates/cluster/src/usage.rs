//! What pods use, as the cluster's metrics API (metrics.k8s.io) tells it.

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde_json::Value;

use crate::watch::chain;

/// CPU and memory of some pods together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PodUsage {
    /// Pods that the answer lists.
    pub pods: usize,
    /// Cores in use, as an average over the server's own window.
    pub cores: f64,
    /// Memory in use.
    pub memory_bytes: f64,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The API is not served, or refuses.
    #[error(
        "the metrics API does not tell what pods in {namespace} use: {why}; it takes a metrics server in the cluster, and the verb list on pods of metrics.k8s.io"
    )]
    Ask {
        /// In which namespace.
        namespace: String,
        /// Why.
        why: String,
    },
    /// Nothing has these labels.
    #[error(
        "the metrics API knows no pod with {selector} in {namespace}; are they running, and for longer than a minute?"
    )]
    None {
        /// In which namespace.
        namespace: String,
        /// With which labels.
        selector: String,
    },
    /// The answer is not what the API promises.
    #[error("the metrics API's answer for pods in {namespace} is not understood: {why}")]
    Answer {
        /// In which namespace.
        namespace: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What the pods of a namespace with these labels use.
///
/// # Errors
/// The API is not there, refuses, or knows no such pod.
pub async fn pod_usage(
    client: &Client,
    namespace: &str,
    selector: &str,
) -> Result<PodUsage, UsageError> {
    let namespace = namespace.to_owned();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = Request::new(path).list(&ListParams::default().labels(selector));
    let asked: Result<Value, kube::Error> = match request {
        Ok(request) => client.request(request).await,
        Err(error) => Err(kube::Error::BuildRequest(error)),
    };
    let list = match asked {
        Ok(list) => list,
        Err(source) => {
            return Err(UsageError::Ask {
                namespace,
                why: chain(&source),
            });
        }
    };
    match read(&list) {
        Ok(usage) if usage.pods == 0 => Err(UsageError::None {
            namespace,
            selector: selector.to_owned(),
        }),
        Ok(usage) => Ok(usage),
        Err(why) => Err(UsageError::Answer { namespace, why }),
    }
}

/// Adds up a `PodMetricsList`.
fn read(list: &Value) -> Result<PodUsage, String> {
    let items = list["items"].as_array().ok_or("it has no items")?;
    let mut usage = PodUsage {
        pods: items.len(),
        ..PodUsage::default()
    };
    for pod in items {
        let name = pod["metadata"]["name"].as_str().unwrap_or("(no name)");
        let containers = pod["containers"].as_array();
        for container in containers.ok_or_else(|| format!("pod {name} has no containers"))? {
            let amount = |key: &str| {
                let text = container["usage"][key].as_str().unwrap_or_default();
                quantity(text).ok_or_else(|| format!("pod {name} uses the {key} '{text}'"))
            };
            usage.cores += amount("cpu")?;
            usage.memory_bytes += amount("memory")?;
        }
    }
    Ok(usage)
}

/// A quantity of the Kubernetes API: `12345n`, `250m`, `2`, `128Mi`, `1e3`.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let found = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = found.unwrap_or((text, 1.0));
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Constructed as `kubectl get --raw /apis/metrics.k8s.io/v1beta1/namespaces/llm-d/pods` prints it.
    const LIST: &str = include_str!("../tests/pod-metrics.json");

    #[test]
    fn the_containers_of_all_pods_are_added_up() {
        let usage = read(&serde_json::from_str(LIST).unwrap()).unwrap();
        assert_eq!(usage.pods, 2);
        assert!((usage.cores - 0.384_251_736).abs() < 1e-9, "{usage:?}");
        assert_eq!(
            usage.memory_bytes,
            (48_212.0 + 20.0 * 1024.0 + 51_200.0) * 1024.0
        );
    }

    #[test]
    fn answers_that_make_no_sense_are_named() {
        let refused = |text: &str| read(&serde_json::from_str(text).unwrap()).unwrap_err();
        assert_eq!(refused("{}"), "it has no items");
        assert_eq!(
            refused(r#"{"items": [{"metadata": {"name": "a"}}]}"#),
            "pod a has no containers"
        );
        let odd = r#"{"items": [{"metadata": {"name": "a"}, "containers": [{"usage": {"cpu": "fast", "memory": "1Ki"}}]}]}"#;
        assert_eq!(refused(odd), "pod a uses the cpu 'fast'");
    }

    #[test]
    fn quantities_have_all_their_forms() {
        for (text, number) in [
            ("0", 0.0),
            ("2", 2.0),
            ("250m", 0.25),
            ("1500000n", 0.0015),
            ("7u", 7e-6),
            ("1Ki", 1024.0),
            ("2Gi", 2_147_483_648.0),
            ("3k", 3000.0),
            ("1e3", 1000.0),
            ("1.5M", 1_500_000.0),
        ] {
            let found = quantity(text).unwrap();
            assert!((found - number).abs() <= number * 1e-12, "{text}: {found}");
        }
        for text in ["", "m", "x", "-1", "1Kib", "inf", "NaN"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}
