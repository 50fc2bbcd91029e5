//! Leader election by a Lease: [`lease`](crate::lease) over the API server.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::backoff::draw;
use crate::lease::{Candidate, DURATION, EVERY, Record, Step};
use crate::watch::chain;

/// Longest time that one request may take; a leader must notice in time that it cannot renew.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is told of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody else leads, as it should be with several.
    Waits,
    /// The Lease cannot be held or given up.
    Trouble,
}

/// A candidate for one Lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    candidate: Candidate,
    started: Instant,
    complained: bool,
    /// Who leads instead, as far as that was told.
    told: String,
}

impl Election {
    /// One for the Lease `name` in `namespace`. `host` begins its identity, which is its own whatever `host` is.
    pub fn new(client: Client, namespace: &str, name: &str, host: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            candidate: Candidate::new(format!("{host}_{:016x}", draw())),
            started: Instant::now(),
            complained: false,
            told: String::new(),
        }
    }

    /// Its name in the Lease.
    pub fn identity(&self) -> &str {
        self.candidate.identity()
    }

    /// Stands for election until `end` resolves, then gives the Lease up if it holds it. `lead` hears of each change,
    /// `tell` of each problem and of whoever leads instead.
    pub async fn run(
        mut self,
        end: impl Future<Output = ()>,
        lead: impl Fn(bool),
        tell: impl Fn(News, &str),
    ) {
        let mut end = std::pin::pin!(end);
        let mut leading = false;
        loop {
            let turn = async {
                self.turn(&tell).await;
                let now_leading = self.candidate.leads(self.started.elapsed());
                if now_leading != leading {
                    leading = now_leading;
                    lead(leading);
                }
                // Jitter, so that standbys do not all try at one moment.
                tokio::time::sleep(EVERY - EVERY / 4 * (draw() % 64) as u32 / 64).await;
            };
            tokio::select! {
                () = turn => {}
                () = &mut end => break,
            }
        }
        if self.candidate.leads(self.started.elapsed()) {
            lead(false);
            if let Err(why) = self.give_up().await {
                tell(
                    News::Trouble,
                    &format!("the lease {} was not given up: {why}", self.name),
                );
            }
        }
    }

    async fn turn(&mut self, tell: &impl Fn(News, &str)) {
        let begun = self.started.elapsed();
        let outcome = tokio::time::timeout(PATIENCE, self.attempt(begun)).await;
        let why = match outcome {
            Ok(Ok(holder)) => {
                self.complained = false;
                if let Some(holder) = &holder
                    && *holder != self.told
                {
                    tell(News::Waits, &format!("waiting: {holder} leads"));
                }
                self.told = holder.unwrap_or_default();
                return;
            }
            Ok(Err(error)) => said(&error),
            Err(_) => format!("no answer for {} s", PATIENCE.as_secs()),
        };
        if !self.complained {
            self.complained = true;
            tell(
                News::Trouble,
                &format!("the lease {} cannot be held: {why}", self.name),
            );
        }
    }

    /// Takes or renews the Lease; who holds it otherwise.
    async fn attempt(&mut self, begun: Duration) -> Result<Option<String>, kube::Error> {
        let found = self.leases.get_opt(&self.name).await?;
        let record = found.as_ref().map(record);
        let holder = record.as_ref().map(|record| record.holder.clone());
        let step = self.candidate.look(record, begun);
        let written = match (step, found) {
            (Step::Wait, _) => return Ok(holder),
            (_, None) => {
                let lease = self.next(Lease::default(), true);
                self.leases.create(&PostParams::default(), &lease).await
            }
            (step, Some(lease)) => {
                let lease = self.next(lease, step == Step::Take);
                let parameters = PostParams::default();
                self.leases.replace(&self.name, &parameters, &lease).await
            }
        };
        match written {
            Ok(_) => self.candidate.holds_since(begun),
            // Somebody else was quicker; the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// The Lease as it has to stand, from what stands there.
    fn next(&self, found: Lease, is_new: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = found.spec.unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or(0);
        let had_holder = before.holder_identity.is_some();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..found.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity().to_owned()),
                lease_duration_seconds: Some(DURATION.as_secs() as i32),
                acquire_time: if is_new {
                    Some(now.clone())
                } else {
                    before.acquire_time
                },
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(is_new && had_holder)),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn give_up(&mut self) -> Result<(), String> {
        let attempt = async {
            let found = self.leases.get(&self.name).await?;
            if record(&found).holder != self.identity() {
                return Ok(());
            }
            let mut lease = self.next(found, false);
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
            }
            let parameters = PostParams::default();
            self.leases.replace(&self.name, &parameters, &lease).await?;
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(outcome) => outcome.map_err(|error: kube::Error| said(&error)),
            Err(_) => Err(format!("no answer for {} s", PATIENCE.as_secs())),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        seconds: spec.lease_duration_seconds.unwrap_or(0).max(0) as u64,
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}
