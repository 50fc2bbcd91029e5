//! Looking at a gateway, step by step; whatever was seen stays when the time is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman_operator::check::page::sum;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::place::Place;
use crate::verify::client::{Call, Client, PAGE_TIME};
use crate::verify::kube::surroundings::Surroundings;
use crate::verify::load::put_under_load;
use crate::verify::probe::{PATH, Prober, some_at_once};
use crate::verify::seen::{Bursts, Counters, Direct, HeaderProbe, Probe, Seen, Views};
use crate::verify::views::Candidate;

/// Candidates that are asked directly, and how many at once.
const DIRECTLY: usize = 64;
const AT_ONCE: usize = 16;

/// Longest wait for a probe.
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(4);

/// The bursts: how many requests, how many at once.
pub(crate) const BURSTS: [(usize, usize); 3] = [(20, 5), (50, 20), (60, 12)];

/// How often counters of engines are read again until they have caught up, and the pause between.
const CATCH_UP: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Counts served requests on an engine's metrics page.
const SERVED: &str = "vllm:request_success_total";

/// What to look at.
pub(crate) struct Aim {
    /// The gateway.
    pub(crate) target: Place,
    /// Its admin ports: one, or one for each replica of a picker.
    pub(crate) admins: Vec<Place>,
    /// The model, if it is given.
    pub(crate) model: Option<String>,
    /// Makes ids differ from those of other runs.
    pub(crate) run: u64,
    /// The cluster around it, if it is in one.
    pub(crate) cluster: Option<Surroundings>,
}

/// Looks at everything in turn and writes into `seen`; may be dropped at any time. `tell` is told what comes next.
pub(crate) async fn observe(aim: &Aim, seen: &mut Seen, tell: impl Fn(&str)) {
    let client = Client::new();
    let own = |address: SocketAddr, place: &Place| (address, place.authority.clone());
    let mut admins = Vec::new();
    for place in &aim.admins {
        match place.resolve().await {
            Ok(address) => admins.push(own(address, place)),
            Err(why) => {
                seen.views = Some(Err(why));
                return;
            }
        }
    }
    let target = aim.target.resolve().await;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut at = own(*target.as_ref().unwrap_or(&nowhere), &aim.target);
    if let Some(host) = aim.cluster.as_ref().and_then(|c| c.host.clone()) {
        at.1 = host;
    }
    let mut prober = Prober::new(client, at, admins, aim.run);
    tell("reading the admin port");
    let mut views = views(&prober).await;
    if let (Some(cluster), Ok(views)) = (&aim.cluster, &mut views) {
        tell("opening ways to the candidates");
        cluster.complete(views).await;
    }
    seen.views = Some(views.clone());
    seen.reached = Some(match target {
        Ok(address) => knock(address).await,
        Err(why) => Err(why),
    });
    let Ok(views) = views else { return };
    let asked: Vec<Candidate> = views
        .pool
        .endpoints
        .iter()
        .take(DIRECTLY)
        .cloned()
        .collect();
    seen.not_asked = views.pool.endpoints.len() - asked.len();
    tell(&format!("asking {} candidates directly", asked.len()));
    prober.model = match &aim.model {
        Some(model) => model.clone(),
        None => model_of(&prober, &asked).await.unwrap_or_default(),
    };
    seen.direct = Some(directly(&prober, &asked).await);
    if !matches!(seen.reached, Some(Ok(()))) {
        return;
    }
    // Who hangs would be waited for again and again.
    let serving: Vec<Candidate> = asked
        .into_iter()
        .filter(|candidate| serves(seen, &candidate.name))
        .collect();
    tell("trying the header routes");
    seen.headers = Some(header_routes(&prober, &views, &serving).await);
    bursts(&prober, &serving, seen, &tell).await;
    // What failed in the bursts fails under load too.
    let bursts = seen.bursts.as_ref();
    if bursts.is_some_and(|bursts| bursts.probes().all(Probe::is_good)) {
        tell("putting one candidate under load");
        seen.load = Some(put_under_load(&prober, &views, seen).await);
    }
}

fn serves(seen: &Seen, name: &str) -> bool {
    let mut direct = seen.direct.iter().flatten();
    direct.any(|d| d.endpoint == name && d.probe.is_good())
}

async fn views(prober: &Prober) -> Result<Views, String> {
    async fn read<T: DeserializeOwned>(prober: &Prober, path: &str) -> Result<T, String> {
        let page = prober.admin_page(path).await.map_err(|why| match why {
            why if why.ends_with("answers 404") => {
                format!("{why}: only pointsman's own gateway and picker have this page")
            }
            why => why,
        })?;
        serde_json::from_str(&page).map_err(|e| format!("{path} is not as expected: {e}"))
    }
    Ok(Views {
        pool: read(prober, "/debug/endpoints").await?,
        plan: read(prober, "/debug/plan").await?,
        routes: read(prober, "/debug/routes").await?,
    })
}

async fn knock(address: SocketAddr) -> Result<(), String> {
    let connected = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(PAGE_TIME, connected).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("no connection to {address}: {error}")),
        Err(_) => Err(format!(
            "no connection to {address} within {} s",
            PAGE_TIME.as_secs()
        )),
    }
}

/// The first model that a candidate lists.
async fn model_of(prober: &Prober, asked: &[Candidate]) -> Option<String> {
    let lists = asked.iter().map(|candidate| {
        let (own, at) = (prober.clone(), candidate.address.clone());
        async move {
            let page = own
                .client
                .page(get(&at, "/v1/models")?, PAGE_TIME)
                .await
                .ok()?;
            let list: Value = serde_json::from_str(&page.text).ok()?;
            list["data"][0]["id"].as_str().map(str::to_owned)
        }
    });
    some_at_once(lists, AT_ONCE)
        .await
        .into_iter()
        .flatten()
        .next()
}

fn get<'a>(address: &'a str, path: &'a str) -> Option<Call<'a>> {
    Some(Call {
        address: address.parse().ok()?,
        authority: address,
        path,
        headers: &[],
        body: None,
    })
}

async fn directly(prober: &Prober, asked: &[Candidate]) -> Vec<Direct> {
    let asks = asked.iter().map(|candidate| {
        let (own, candidate) = (prober.clone(), candidate.clone());
        async move {
            let address: SocketAddr = candidate.address.parse().ok()?;
            let began = Instant::now();
            let completion = async {
                let probe = own.at((address, &candidate.address), &[], PROBE_TIME).await;
                (probe, began.elapsed().as_millis() as u64)
            };
            let page = get(&candidate.address, "/metrics")?;
            let page = own.client.page(page, PAGE_TIME);
            let ((probe, took_ms), page) = tokio::join!(completion, page);
            Some(Direct {
                endpoint: candidate.name,
                probe,
                took_ms,
                metrics: page.map(|page| page.status),
            })
        }
    });
    some_at_once(asks, AT_ONCE)
        .await
        .into_iter()
        .flatten()
        .collect()
}

async fn header_routes(prober: &Prober, views: &Views, asked: &[Candidate]) -> Vec<HeaderProbe> {
    let mut probes = Vec::new();
    for (at, rule) in views.routes.rules.iter().enumerate() {
        if !rule.is_header_route() || !rule.takes(PATH) {
            continue;
        }
        let before = served(prober, asked).await;
        let headers: Vec<(&str, &str)> = rule
            .headers
            .iter()
            .map(|h| (h.name.as_str(), h.value.as_str()))
            .collect();
        let probe = prober.through(&headers, PROBE_TIME).await;
        let mut grew = Vec::new();
        if probe.is_good() && probe.pair().is_none() {
            for _ in 0..CATCH_UP {
                let growth = growth(&before, &served(prober, asked).await);
                grew = growth
                    .into_iter()
                    .filter(|(_, by)| by.is_some_and(|by| by > 0.0))
                    .map(|(name, _)| name)
                    .collect();
                if !grew.is_empty() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        probes.push(HeaderProbe {
            rule: at,
            probe,
            grew,
        });
    }
    probes
}

async fn bursts(prober: &Prober, asked: &[Candidate], seen: &mut Seen, tell: &impl Fn(&str)) {
    let served_before = served(prober, asked).await;
    let before = counters(prober).await;
    let bursts = seen.bursts.insert(Bursts::default());
    for (at, (count, at_once)) in BURSTS.into_iter().enumerate() {
        tell(&format!("sending {count} requests, {at_once} at once"));
        let probes = prober.burst(count, at_once, PROBE_TIME).await;
        let probes = prober.with_receipts(probes).await;
        let good = probes.iter().all(Probe::is_good);
        bursts.run.push((count, at_once, probes));
        if !good {
            bursts.left_out = BURSTS[at + 1..].to_vec();
            break;
        }
    }
    bursts.counters = before.zip(counters(prober).await);
    let answered = bursts.probes().filter(|probe| probe.is_good()).count() as f64;
    for _ in 0..CATCH_UP {
        bursts.growth = growth(&served_before, &served(prober, asked).await);
        let sum: f64 = bursts.growth.iter().filter_map(|(_, by)| *by).sum();
        let all = bursts.growth.iter().all(|(_, by)| by.is_some());
        if !all || sum >= answered {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    bursts.done = true;
}

async fn counters(prober: &Prober) -> Option<Counters> {
    // What replicas of a picker count adds up.
    // Where readers of /metrics show a token, this one of the same pages is for people.
    let pages = match prober.admin_pages("/debug/metrics").await {
        Ok(pages) => pages,
        Err(_) => prober.admin_pages("/metrics").await.ok()?,
    };
    let page = pages.join("\n");
    Some(Counters {
        decisions: sum(&page, "pointsman_decisions_total", "")?,
        bypassed: sum(&page, "pointsman_bypassed_total", "")?,
        failed: sum(
            &page,
            "llm_d_epp_scheduler_attempts_total",
            "status=\"failure\"",
        )
        .unwrap_or_default(),
    })
}

/// By candidate: how many requests its engine says it has served.
async fn served(prober: &Prober, asked: &[Candidate]) -> BTreeMap<String, Option<f64>> {
    let asks = asked.iter().map(|candidate| {
        let (own, candidate) = (prober.clone(), candidate.clone());
        async move {
            let page = match get(&candidate.address, "/metrics") {
                Some(call) => own.client.page(call, PAGE_TIME).await.ok(),
                None => None,
            };
            let page = page.filter(|page| page.status == 200);
            (
                candidate.name,
                page.and_then(|page| sum(&page.text, SERVED, "")),
            )
        }
    });
    some_at_once(asks, AT_ONCE).await.into_iter().collect()
}

fn growth(
    before: &BTreeMap<String, Option<f64>>,
    after: &BTreeMap<String, Option<f64>>,
) -> Vec<(String, Option<f64>)> {
    before
        .iter()
        .map(|(name, old)| {
            let new = after.get(name).copied().flatten();
            (name.clone(), old.zip(new).map(|(old, new)| new - old))
        })
        .collect()
}
