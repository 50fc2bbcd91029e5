//! One operator at a time: who holds the Lease leads, and whoever loses it ends.
//!
//! Clocks of other machines are not trusted: a Lease has run out when it has not been renewed for its duration by the
//! clock here.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use crate::operate::run::LEASE;

/// For how long a Lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long renewing may fail before the lead is given up.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

/// Holds or awaits the Lease.
pub struct Leadership {
    api: Api<Lease>,
    identity: String,
    /// The last renewal of another that was seen, and when.
    seen: Option<(Option<MicroTime>, Instant)>,
}

impl Leadership {
    /// Of this process, under a name that no other process has.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity,
            seen: None,
        }
    }

    /// Waits until the Lease is ours. `tell` hears what stands in the way, once for each cause.
    pub async fn acquire(&mut self, tell: impl Fn(&str)) {
        let mut told = String::new();
        loop {
            let text = match self.attempt().await {
                Ok(None) => return,
                Ok(Some(holder)) => format!("waiting: {holder} leads"),
                Err(error) => format!("waiting: the Lease {LEASE} cannot be had: {error}"),
            };
            if text != told {
                tell(&text);
                told = text;
            }
            sleep(AGAIN).await;
        }
    }

    /// Renews the Lease until it is lost.
    pub async fn hold(&mut self) -> String {
        let mut renewed = Instant::now();
        loop {
            sleep(AGAIN).await;
            let why = match timeout(GIVE_UP, self.attempt()).await {
                Ok(Ok(None)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(Some(holder))) => return format!("{holder} has taken the Lease {LEASE}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if renewed.elapsed() >= GIVE_UP {
                return format!(
                    "the Lease {LEASE} could not be renewed for {} s: {why}",
                    GIVE_UP.as_secs()
                );
            }
        }
    }

    /// Lets go of the Lease, so that the next one need not wait for its end.
    pub async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(LEASE).await else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        let _ = self
            .api
            .replace(LEASE, &PostParams::default(), &lease)
            .await;
    }

    /// Takes or renews the Lease; says who holds it otherwise.
    async fn attempt(&mut self) -> Result<Option<String>, kube::Error> {
        let Some(mut lease) = self.api.get_opt(LEASE).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(LEASE.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(0)),
            };
            return self.written(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder != self.identity && !holder.is_empty() {
            let seconds = spec
                .lease_duration_seconds
                .unwrap_or(15)
                .max(1)
                .unsigned_abs();
            if !self.has_run_out(&spec.renew_time, Duration::from_secs(seconds.into())) {
                return Ok(Some(holder));
            }
        }
        let mut now = self.spec(spec.lease_transitions.unwrap_or(0));
        if holder == self.identity {
            now.acquire_time = spec.acquire_time;
        } else {
            now.lease_transitions = now.lease_transitions.map(|n| n + 1);
        }
        lease.spec = Some(now);
        // The version of what was read goes along: of two that write at once, one is refused.
        self.written(
            self.api
                .replace(LEASE, &PostParams::default(), &lease)
                .await,
        )
    }

    fn written(&self, result: Result<Lease, kube::Error>) -> Result<Option<String>, kube::Error> {
        match result {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(Some("another one".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    fn has_run_out(&mut self, renewed: &Option<MicroTime>, duration: Duration) -> bool {
        match &self.seen {
            Some((last, at)) if last == renewed => at.elapsed() >= duration,
            _ => {
                self.seen = Some((renewed.clone(), Instant::now()));
                false
            }
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}
