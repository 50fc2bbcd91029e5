//! Small requests whose fate can be told apart: each has an id and a prompt of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pointsman_core::rng::splitmix;
use pointsman_wire::receipt::Receipt;
use pointsman_wire::status::DROPPED_REASON;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::verify::client::{Call, Client, PAGE_TIME};
use crate::verify::seen::{Answer, Probe};

/// The path that probes go to.
pub(crate) const PATH: &str = "/v1/completions";

/// The header that carries a request's id, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// How often a receipt that is not complete yet is asked for again, and the pause between.
const ASK_AGAIN: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// Requests under way at once to the admin port.
const AT_ONCE: usize = 16;

/// Who sends probes: the client, the gateway's two addresses, the model.
#[derive(Clone)]
pub(crate) struct Prober {
    /// The client.
    pub(crate) client: Client,
    /// The gateway.
    pub(crate) target: (SocketAddr, String),
    /// Admin ports: one, or one for each replica of a picker.
    pub(crate) admins: Vec<(SocketAddr, String)>,
    /// The model asked for.
    pub(crate) model: String,
    run: u64,
    number: Arc<AtomicU64>,
}

impl Prober {
    /// `run` makes ids differ from those of other runs.
    pub(crate) fn new(
        client: Client,
        target: (SocketAddr, String),
        admins: Vec<(SocketAddr, String)>,
        run: u64,
    ) -> Self {
        Self {
            client,
            target,
            admins,
            model: String::new(),
            run,
            number: Arc::default(),
        }
    }

    /// A request id that nobody else uses.
    pub(crate) fn next_id(&self) -> String {
        // Relaxed: only the number itself must be unique.
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        format!("verify-{:016x}-{number}", self.run)
    }

    /// A completion whose prompt shares no beginning with another's.
    pub(crate) fn body(&self, request_id: &str, words: usize, tokens: u32, stream: bool) -> String {
        let mut state = request_id.bytes().fold(self.run, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let drawn: Vec<String> = (0..words)
            .map(|_| format!("{:06x}", splitmix(&mut state) & 0xff_ffff))
            .collect();
        let mut body =
            json!({"model": self.model, "prompt": drawn.join(" "), "max_tokens": tokens});
        if stream {
            body["stream"] = true.into();
            body["ignore_eos"] = true.into();
        }
        body.to_string()
    }

    /// A short completion through the gateway.
    pub(crate) async fn through(&self, headers: &[(&str, &str)], limit: Duration) -> Probe {
        self.at((self.target.0, &self.target.1), headers, limit)
            .await
    }

    /// A short completion at any address.
    pub(crate) async fn at(
        &self,
        (address, authority): (SocketAddr, &str),
        headers: &[(&str, &str)],
        limit: Duration,
    ) -> Probe {
        let request_id = self.next_id();
        let mut all = vec![(REQUEST_ID, request_id.as_str())];
        all.extend(headers);
        let call = Call {
            address,
            authority,
            path: PATH,
            headers: &all,
            body: Some(self.body(&request_id, 12, 4, false)),
        };
        let answer = self.client.page(call, limit).await.map(|page| {
            let body: Value = serde_json::from_str(&page.text).unwrap_or_default();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let header = |name: &str| {
                let value = page.headers.get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            Answer {
                status: page.status,
                id: text(&body["id"]),
                request_id: header(REQUEST_ID),
                dropped: header(DROPPED_REASON),
                message: text(&body["error"]["message"]).or_else(|| text(&body["message"])),
            }
        });
        Probe {
            request_id,
            answer,
            receipt: None,
        }
    }

    /// So many short completions through the gateway, some at once.
    pub(crate) async fn burst(&self, count: usize, at_once: usize, limit: Duration) -> Vec<Probe> {
        let asks = (0..count).map(|_| {
            let own = self.clone();
            async move { own.through(&[], limit).await }
        });
        some_at_once(asks, at_once).await
    }

    /// Adds the gateway's account of each. One that was answered is waited for until it tells how it ended.
    pub(crate) async fn with_receipts(&self, probes: Vec<Probe>) -> Vec<Probe> {
        let asks = probes.into_iter().map(|mut probe| {
            let own = self.clone();
            async move {
                probe.receipt = own.receipt_of(&probe).await.map(Box::new);
                probe
            }
        });
        some_at_once(asks, AT_ONCE).await
    }

    /// The receipt of a probe: by the id that was sent, by that which the answer names (gateways may give a new one),
    /// or by the id of the answer's body.
    async fn receipt_of(&self, probe: &Probe) -> Option<Receipt> {
        let answer = probe.answer.as_ref().ok();
        let told = answer.map(|answer| [answer.request_id.as_deref(), answer.id.as_deref()]);
        let told = told.into_iter().flatten().flatten();
        let mut tried: Vec<&str> = Vec::new();
        for id in [probe.request_id.as_str()].into_iter().chain(told) {
            if !tried.contains(&id)
                && let Some(found) = self.receipt(id, true).await
            {
                return Some(found);
            }
            tried.push(id);
        }
        None
    }

    /// The receipt of a request; with `ended` it is waited for until it tells how the request ended.
    pub(crate) async fn receipt(&self, request_id: &str, ended: bool) -> Option<Receipt> {
        let path = format!("/debug/decisions/{request_id}");
        for admin in &self.admins {
            let mut found: Option<Receipt> = None;
            for _ in 0..ASK_AGAIN {
                let Ok(page) = self.page_at(admin, &path).await else {
                    break;
                };
                found = serde_json::from_str(&page).ok();
                match &found {
                    None => break,
                    Some(receipt) if !ended || receipt.outcome.is_some() => return found,
                    Some(_) => tokio::time::sleep(PAUSE).await,
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A page of the first admin port.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn admin_page(&self, path: &str) -> Result<String, String> {
        let first = self.admins.first();
        let first = first.ok_or_else(|| "there is no admin port".to_owned())?;
        self.page_at(first, path).await
    }

    /// A page of every admin port.
    ///
    /// # Errors
    /// Why one is missing, in words.
    pub(crate) async fn admin_pages(&self, path: &str) -> Result<Vec<String>, String> {
        let mut pages = Vec::new();
        for admin in &self.admins {
            pages.push(self.page_at(admin, path).await?);
        }
        Ok(pages)
    }

    async fn page_at(&self, admin: &(SocketAddr, String), path: &str) -> Result<String, String> {
        let call = Call {
            address: admin.0,
            authority: &admin.1,
            path,
            headers: &[],
            body: None,
        };
        match self.client.page(call, PAGE_TIME).await {
            Ok(page) if page.status == 200 => Ok(page.text),
            Ok(page) => Err(format!("{path} answers {}", page.status)),
            Err(failure) => Err(format!("{path}: {}", failure)),
        }
    }
}

/// Runs all, at most `at_once` at a time; the results in the order of the asks.
pub(crate) async fn some_at_once<F>(
    asks: impl IntoIterator<Item = F>,
    at_once: usize,
) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for (at, ask) in asks.into_iter().enumerate() {
        if running.len() >= at_once
            && let Some(Ok(one)) = running.join_next().await
        {
            done.push(one);
        }
        running.spawn(async move { (at, ask.await) });
    }
    while let Some(ended) = running.join_next().await {
        done.extend(ended);
    }
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_share_no_beginning() {
        let nowhere = || (SocketAddr::from(([127, 0, 0, 1], 1)), String::new());
        let prober = Prober::new(Client::new(), nowhere(), vec![nowhere()], 7);
        let first = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            body["prompt"].as_str().map(|p| p[..13].to_owned())
        };
        let (one, other) = (prober.next_id(), prober.next_id());
        assert_ne!(one, other);
        let bodies = [&one, &other].map(|id| first(&prober.body(id, 12, 4, false)));
        assert!(bodies[0].is_some());
        assert_ne!(bodies[0], bodies[1]);
    }

    #[tokio::test]
    async fn results_come_in_the_order_of_the_asks() {
        let asks = (0..20_u64).map(|n| async move {
            tokio::time::sleep(Duration::from_millis(n * 7 % 5)).await;
            n
        });
        let done = some_at_once(asks, 6).await;
        assert_eq!(done, (0..20).collect::<Vec<_>>());
    }
}
