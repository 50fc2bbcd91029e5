//! The order of looking: what the admin port shows, every candidate directly, routes by header, bursts, load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman_serve::handoff::target::Target;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};

use crate::verify::ask::{Asker, Wanted, address};
use crate::verify::burst::{BURSTS, TOKENS, bursts};
use crate::verify::load::loaded;
use crate::verify::seen::{Answer, Counters, Direct, Endpoint, HeaderProbe, PlanSeen, Rule, Seen};

/// Candidates that are asked directly; of a larger pool the first ones.
pub(crate) const DIRECTLY: usize = 64;

/// How long engines take at most to count a request that has ended.
const COUNTED: Duration = Duration::from_millis(200);

/// Counters by which engines say how many requests they have served.
const SERVED: [&str; 2] = ["vllm:request_success_total", "sglang:num_requests_total"];

/// Looks at everything that time allows.
pub(crate) async fn observe(
    asker: Asker,
    gateway: &Target,
    admin: &Target,
    model: Option<&str>,
    progress: &dyn Fn(&str),
) -> Seen {
    let mut seen = Seen {
        bursts_wanted: BURSTS.len(),
        ..Seen::default()
    };
    if let Err(why) = from_admin(&asker, admin, &mut seen).await {
        seen.unreachable = Some(format!(
            "the admin port {} cannot be asked: {why:#}",
            admin.url()
        ));
        return seen;
    }
    let target = match address(gateway).await {
        Ok(address) => address,
        Err(why) => {
            seen.unreachable = Some(format!("{}: {why:#}", gateway.url()));
            return seen;
        }
    };
    let model = match model {
        Some(model) => model.to_owned(),
        None => match find_model(&asker, target, &seen.endpoints).await {
            Ok(model) => model,
            Err(why) => {
                seen.unreachable = Some(format!(
                    "the gateway {} cannot be asked: {why}",
                    gateway.url()
                ));
                return seen;
            }
        },
    };
    let asker = Rc::new(asker.with_model(model));
    progress("every candidate directly");
    seen.direct = Some(directly(&asker, &seen.endpoints).await);
    progress("routes by header");
    seen.by_header = Some(by_header(&asker, target, &seen.routes).await);
    let before = counters(&asker, admin).await;
    let with_pages = with_pages(&seen);
    let served_before = served_counts(&asker, &with_pages).await;
    seen.bursts = Some(bursts(&asker, target, admin, progress).await);
    // An engine counts a request a moment after its last byte.
    tokio::time::sleep(COUNTED.min(asker.left())).await;
    let served_after = served_counts(&asker, &with_pages).await;
    for (name, after) in served_after {
        if let Some(before) = served_before.get(&name) {
            seen.served_counts.insert(name, (*before, after));
        }
    }
    let candidates = seen.left_by_filters().len();
    let all_came = seen.probes().all(|p| p.answer.is_good());
    if candidates > 1 && all_came && !asker.is_over() {
        progress("one endpoint under load");
        seen.load = Some(loaded(&asker, target, admin, candidates).await);
    }
    if let (Ok(before), Ok(after)) = (before, counters(&asker, admin).await) {
        seen.counters = Some((before, after));
    }
    seen
}

async fn from_admin(asker: &Asker, admin: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    seen.endpoints = endpoints(asker, admin).await?;
    seen.plan = PlanSeen::deserialize(asker.json(admin, "/debug/plan").await?)?;
    let mut routes = asker.json(admin, "/debug/routes").await?;
    seen.routes = Vec::<Rule>::deserialize(routes["rules"].take())?;
    Ok(())
}

/// The candidates as they are now.
///
/// # Errors
/// The admin port does not say.
pub(crate) async fn endpoints(asker: &Asker, admin: &Target) -> anyhow::Result<Vec<Endpoint>> {
    let mut answer = asker.json(admin, "/debug/endpoints").await?;
    Ok(Vec::deserialize(answer["endpoints"].take())?)
}

/// A model that the pool serves, from the gateway or else from a candidate.
async fn find_model(
    asker: &Asker,
    gateway: SocketAddr,
    endpoints: &[Endpoint],
) -> Result<String, String> {
    let first = |body: &[u8]| {
        let list: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        list["data"][0]["id"].as_str().map(str::to_owned)
    };
    let through = asker.get(gateway, "/v1/models").await;
    let through = through.map_err(|why| format!("{why:#}"))?;
    if let Some(model) = first(&through.1) {
        return Ok(model);
    }
    for endpoint in endpoints.iter().take(4) {
        if let Ok(address) = endpoint.address.parse()
            && let Ok((200, body)) = asker.get(address, "/v1/models").await
            && let Some(model) = first(&body)
        {
            return Ok(model);
        }
    }
    // Whatever is asked for now, the checks will say why nobody serves it.
    Ok("unknown".to_owned())
}

async fn directly(asker: &Rc<Asker>, endpoints: &[Endpoint]) -> Vec<Direct> {
    let mut found = Vec::new();
    LocalSet::new()
        .run_until(async {
            let mut asking = JoinSet::new();
            for (at, endpoint) in endpoints.iter().take(DIRECTLY).cloned().enumerate() {
                let asker = Rc::clone(asker);
                asking.spawn_local(async move { (at, one_directly(&asker, &endpoint).await) });
            }
            while let Some(Ok(one)) = asking.join_next().await {
                found.push(one);
            }
        })
        .await;
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, one)| one).collect()
}

async fn one_directly(asker: &Asker, endpoint: &Endpoint) -> Direct {
    let Ok(address) = endpoint.address.parse::<SocketAddr>() else {
        let why = format!("'{}' is no address", endpoint.address);
        return Direct {
            endpoint: endpoint.name.clone(),
            answer: Answer::Failed(why.clone()),
            metrics: Err(why),
        };
    };
    let id = asker.next_id();
    let wanted = Wanted {
        max_tokens: TOKENS,
        ..Wanted::default()
    };
    let (answer, metrics) = tokio::join!(
        asker.complete(address, &id, wanted),
        asker.get(address, "/metrics")
    );
    Direct {
        endpoint: endpoint.name.clone(),
        answer,
        metrics: metrics
            .map(|(status, _)| status)
            .map_err(|why| format!("{why:#}")),
    }
}

async fn by_header(asker: &Asker, gateway: SocketAddr, routes: &[Rule]) -> Vec<HeaderProbe> {
    let mut probes = Vec::new();
    for rule in routes.iter().filter(|rule| can_be_asked(rule)) {
        let headers: Vec<(String, String)> = rule
            .headers
            .iter()
            .map(|h| (h.name.clone(), h.value.clone()))
            .collect();
        let wanted = Wanted {
            max_tokens: TOKENS,
            headers: &headers,
            ..Wanted::default()
        };
        probes.push(HeaderProbe {
            answer: asker.complete(gateway, &asker.next_id(), wanted).await,
            rule: rule.clone(),
        });
        if asker.is_over() {
            break;
        }
    }
    probes
}

/// A rule that a completion with the right headers takes, and that leads to a Service alone.
fn can_be_asked(rule: &Rule) -> bool {
    let without_headers = Rule {
        headers: Vec::new(),
        ..rule.clone()
    };
    let exact = rule.headers.iter().all(|h| h.kind == "Exact");
    !rule.headers.is_empty()
        && exact
        && without_headers.takes_ordinary("/v1/completions")
        && !rule.services().is_empty()
        && !rule.leads_to_pool()
}

async fn counters(asker: &Asker, admin: &Target) -> anyhow::Result<Counters> {
    let (_, page) = asker.get(address(admin).await?, "/metrics").await?;
    let page = String::from_utf8_lossy(&page);
    let value = |name: &str| sum_of(&page, name).unwrap_or(0.0) as u64;
    Ok(Counters {
        decisions: value("pointsman_decisions_total"),
        bypassed: value("pointsman_bypassed_total"),
    })
}

/// The candidates whose metrics page could be read; waiting for the others again would only take time.
fn with_pages(seen: &Seen) -> Vec<Endpoint> {
    let direct = seen.direct.iter().flatten();
    let readable: Vec<&str> = direct
        .filter(|d| d.metrics == Ok(200))
        .map(|d| d.endpoint.as_str())
        .collect();
    let pool = seen.endpoints.iter();
    pool.filter(|e| readable.contains(&e.name.as_str()))
        .cloned()
        .collect()
}

/// How many requests each endpoint says it has served.
async fn served_counts(asker: &Rc<Asker>, endpoints: &[Endpoint]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    LocalSet::new()
        .run_until(async {
            let mut asking = JoinSet::new();
            for endpoint in endpoints.iter().cloned() {
                let asker = Rc::clone(asker);
                asking.spawn_local(async move {
                    let address = endpoint.address.parse().ok()?;
                    let (status, page) = asker.get(address, "/metrics").await.ok()?;
                    let page = String::from_utf8_lossy(&page).into_owned();
                    let count = SERVED.iter().find_map(|name| sum_of(&page, name));
                    (status == 200).then_some((endpoint.name, count?))
                });
            }
            while let Some(found) = asking.join_next().await {
                counts.extend(found.ok().flatten());
            }
        })
        .await;
    counts
}

/// The sum over all series of a name on a metrics page; `None` if there is none.
fn sum_of(page: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            // A label's value may hold blanks; the number stands after the last brace.
            let after = rest.rfind('}').map_or(rest, |at| &rest[at + 1..]);
            after.split_whitespace().next()?.parse().ok()
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_summed() {
        let page = "# TYPE a_total counter\na_total{x=\"1 }\"} 2\na_total{x=\"2\"} 3.5 1700\na_total_other 9\nb 1\n";
        assert_eq!(sum_of(page, "a_total"), Some(5.5));
        assert_eq!(sum_of(page, "b"), Some(1.0));
        assert_eq!(sum_of(page, "c"), None);
    }
}
