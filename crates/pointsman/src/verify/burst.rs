//! Many probes at a time, each with what the gateway has on record about it.

use std::net::SocketAddr;

use pointsman_serve::handoff::target::Target;
use pointsman_wire::receipt::Receipt;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::verify::ask::{Asker, Wanted};
use crate::verify::seen::{Answer, Burst, Probe};

/// The bursts of the lab's own check: how many, and how many at once.
pub(crate) const BURSTS: [(usize, usize); 3] = [(20, 5), (50, 20), (60, 12)];

/// Tokens that a probe asks for.
pub(crate) const TOKENS: u32 = 4;

/// Sends `wanted` probes, `at_once` at a time; stops early when the time is over or answers fail to come.
pub(crate) async fn burst(
    asker: &std::rc::Rc<Asker>,
    gateway: SocketAddr,
    (wanted, at_once): (usize, usize),
) -> Vec<(String, Answer)> {
    let left = std::rc::Rc::new(std::cell::Cell::new(wanted));
    let mut done = Vec::new();
    LocalSet::new()
        .run_until(async {
            let mut workers = tokio::task::JoinSet::new();
            for _ in 0..at_once {
                let (asker, left) = (std::rc::Rc::clone(asker), std::rc::Rc::clone(&left));
                workers.spawn_local(async move {
                    let mut mine = Vec::new();
                    while left.get() > 0 && !asker.is_over() {
                        left.set(left.get() - 1);
                        let id = asker.next_id();
                        let wanted = Wanted {
                            max_tokens: TOKENS,
                            ..Wanted::default()
                        };
                        let answer = asker.complete(gateway, &id, wanted).await;
                        // Whoever waits in vain once would wait in vain again.
                        if matches!(answer, Answer::Failed(_)) {
                            left.set(0);
                        }
                        mine.push((id, answer));
                    }
                    mine
                });
            }
            while let Some(mine) = workers.join_next().await {
                done.extend(mine.unwrap_or_default());
            }
        })
        .await;
    done
}

/// Looks up what the gateway has on record about each.
pub(crate) async fn with_receipts(
    asker: &Asker,
    admin: &Target,
    answered: Vec<(String, Answer)>,
) -> Vec<Probe> {
    let mut probes = Vec::with_capacity(answered.len());
    for (id, answer) in answered {
        probes.push(Probe {
            receipt: receipt(asker, admin, &id).await,
            answer,
        });
    }
    probes
}

/// What the gateway has on record about a request.
pub(crate) async fn receipt(asker: &Asker, admin: &Target, id: &str) -> Option<Receipt> {
    let path = format!("/debug/decisions/{id}");
    let found: Value = asker.json(admin, &path).await.ok()?;
    Receipt::deserialize(&found).ok()
}

/// All bursts, until one has answers that never came.
pub(crate) async fn bursts(
    asker: &std::rc::Rc<Asker>,
    gateway: SocketAddr,
    admin: &Target,
    progress: &dyn Fn(&str),
) -> Vec<Burst> {
    let mut bursts = Vec::new();
    for (wanted, at_once) in BURSTS {
        progress(&format!("{wanted} requests, {at_once} at a time"));
        let answered = burst(asker, gateway, (wanted, at_once)).await;
        let failed = answered.iter().any(|(_, a)| matches!(a, Answer::Failed(_)));
        bursts.push(Burst {
            at_once,
            wanted,
            probes: with_receipts(asker, admin, answered).await,
        });
        if failed || asker.is_over() {
            break;
        }
    }
    bursts
}
