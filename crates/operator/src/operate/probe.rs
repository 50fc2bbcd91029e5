//! Looking now and then at what objects alone do not tell: counters of pickers and gateways, and objects of others
//! that stand between the two.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use pointsman_http::{Body, ClientOptions, Pool, collect};
use serde_json::Value;
use tokio::time::timeout;

use crate::check::interference::skips_headers;
use crate::check::page::sum;
use crate::desired::child::Owner;
use crate::desired::picker::METRICS_PORT;
use crate::kinds::{ENVOY_FILTER, SERVICE};
use crate::operate::api::Server;
use crate::operate::evidence::{Counters, Evidence};
use crate::operate::facts::{gateway_pods, picker_pods, pool, pool_of};
use crate::operate::pods::{Pods, Which};
use crate::operate::store::CustomKey;
use crate::operate::watching::Shared;
use crate::spec::install::{Install, settle};

/// Longest wait for a page, and its longest length.
const WAIT: Duration = Duration::from_secs(2);
const LONGEST: usize = 8 << 20;
/// Of so many pods the pages are read.
const MOST: usize = 16;

/// Looks at all installations in turn.
pub(crate) struct Prober {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: Server,
    pub(crate) pods: Arc<Pods>,
    pub(crate) every: Duration,
}

impl Prober {
    /// Looks until dropped.
    pub(crate) async fn run(self) {
        let client = Pool::new(ClientOptions::default());
        let mut before: BTreeMap<CustomKey, Counters> = BTreeMap::new();
        loop {
            tokio::time::sleep(self.every).await;
            let keys = self.shared.store.custom_keys();
            before.retain(|key, _| keys.contains(key));
            for key in keys.into_iter().filter(|key| key.owner == Owner::Install) {
                let install = self.shared.store.custom(&key).map(|one| settle(&one));
                if let Some(Ok(install)) = install {
                    self.look(&client, &key, &install, &mut before).await;
                }
            }
        }
    }

    async fn look(
        &self,
        client: &Pool,
        key: &CustomKey,
        install: &Install,
        before: &mut BTreeMap<CustomKey, Counters>,
    ) {
        let Some(epp) = &install.epp else { return };
        let mut counted = Counters::default();
        let mut not_found = 0.0;
        let addresses = picker_pods(install).map(|which| self.addresses(&which));
        for ip in addresses.unwrap_or_default() {
            if let Some(page) = page(client, ip, METRICS_PORT, "/metrics").await {
                counted = counted.plus(Counters::of_picker(&page));
                let reason = "reason=\"not-found\"";
                not_found +=
                    sum(&page, "pointsman_stale_endpoints_by_reason", reason).unwrap_or(0.0);
            }
        }
        let mut gateways = false;
        if let Some((which, port)) = gateway_pods(install) {
            for ip in self.addresses(&which) {
                let page = page(client, ip, port, "/stats/prometheus").await;
                if let Some(seen) = page.as_deref().and_then(Counters::of_gateway) {
                    gateways = true;
                    counted = counted.plus(seen);
                }
            }
        }
        let known = self.shared.evidence(key);
        let is_first = known.is_none();
        let told = || {
            let custom = self.shared.store.custom(key);
            Evidence::told(custom.as_ref().unwrap_or(&Value::Null))
        };
        let last = known.unwrap_or_else(told);
        let traffic = match before.insert(key.clone(), counted) {
            // What was counted before the first look may be old.
            None => last.traffic,
            Some(before) => last.traffic.judge(&counted.since(before), gateways),
        };
        let external_name = self.external_name(install, &epp.name).await;
        let evidence = Evidence {
            traffic,
            skips_headers: self.skipping_filter(install).await,
            external_name,
            metrics_not_found: not_found > 0.0,
        };
        if is_first || evidence != last {
            self.shared.set_evidence(key.clone(), evidence);
            self.shared.queue.add(key.clone());
        }
    }

    fn addresses(&self, which: &Which) -> Vec<IpAddr> {
        let seen = self.pods.seen(which);
        let ready = seen.into_iter().filter(|pod| pod.ready);
        ready
            .filter_map(|pod| pod.address?.parse().ok())
            .take(MOST)
            .collect()
    }

    /// A filter, of whoever, that makes the gateway drop the picker's answers.
    async fn skipping_filter(&self, install: &Install) -> Option<String> {
        if self.shared.is_missing(&ENVOY_FILTER) {
            return None;
        }
        let namespace = &install.scheduler_namespace;
        let all = self.server.list(&ENVOY_FILTER, namespace).await.ok()?;
        let found = all.iter().find(|filter| skips_headers(filter))?;
        let name = found["metadata"]["name"].as_str()?;
        Some(format!("{namespace}/{name}"))
    }

    /// The Service that the pool names, where that is a name for another one.
    async fn external_name(&self, install: &Install, epp: &str) -> Option<String> {
        let (namespace, _) = pool_of(install)?;
        let pool = pool(&self.shared.store, install);
        let named = pool
            .as_ref()
            .and_then(|pool| pool["spec"]["endpointPickerRef"]["name"].as_str());
        let name = named.unwrap_or(epp);
        let service: Value = self.server.get(&SERVICE, &namespace, name).await.ok()??;
        let external = service["spec"]["type"] == "ExternalName";
        external.then(|| format!("{namespace}/{name}"))
    }
}

/// A page of a pod; none where there is none.
async fn page(client: &Pool, ip: IpAddr, port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::new(ip, port);
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().ok()?;
    let host = http::HeaderValue::from_str(&address.to_string()).ok()?;
    request.headers_mut().insert(header::HOST, host);
    let whole = async {
        let answer = client.send(address, request).await.ok()?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return None;
        }
        let body = collect(body, LONGEST, WAIT).await.ok()?;
        Some(String::from_utf8_lossy(&body.joined()).into_owned())
    };
    timeout(WAIT, whole).await.ok()?
}
