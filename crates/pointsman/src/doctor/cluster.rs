//! A cluster: what its objects say, what its pickers say of themselves, and what its engines show.

use pointsman_cluster::read::clock_ahead;
use pointsman_operator::check::facts::{id_of, is_ready};
use pointsman_operator::check::installation::{Installation, metrics_port, target_ports};
use pointsman_operator::check::{Verdict, candidates};
use serde_json::Value;

use crate::doctor::engines::{self, Engine};
use crate::verify::check::{CLOCK, Check, KV_EVENTS, METRICS, WATCHES};
use crate::verify::client::Client;
use crate::verify::kube::judge::{check, cluster, no_pool};
use crate::verify::kube::reach::Reach;
use crate::verify::kube::session::{Scope, Session, open};
use crate::verify::kube::surroundings::pool_named;

/// Candidates whose pages are looked at.
const LOOKED_AT: usize = 64;

/// A clock that is further off lets tokens and leases end too early or too late.
const SKEW: i64 = 5;

/// Looks at every pool.
pub(crate) async fn look(scope: &Scope, direct: bool, tell: &impl Fn(&str)) -> Vec<Check> {
    let session = match open(scope, tell).await {
        Ok(session) => session,
        Err(refused) => return vec![refused],
    };
    let mut checks = vec![cluster(&session.facts), clock(&session).await];
    if session.pools.is_empty() {
        checks.push(no_pool(&session.facts, &scope.in_words()));
    }
    let reach = Reach::new(session.client.clone(), direct);
    for pool in &session.pools {
        let mut own = session.judged(pool);
        let found = pool_named(&session.facts, pool);
        if let Some(found) = found.map(|pool| Installation::of(&session.facts, pool)) {
            tell("asking pickers and engines");
            if let Some(verdict) = candidates::kv_events(&found) {
                own.push(check(KV_EVENTS, verdict));
            }
            own.push(check(METRICS, pages(&found, &reach).await));
            own.push(check(WATCHES, watches(&found, &reach).await));
        }
        if session.pools.len() > 1 {
            for one in &mut own {
                one.detail = format!("pool {}/{}: {}", pool.0, pool.1, one.detail);
            }
        }
        checks.extend(own);
    }
    checks
}

async fn clock(session: &Session) -> Check {
    match clock_ahead(&session.client).await {
        Err(why) => CLOCK.good(format!("the API server tells no time: {why}")),
        Ok(ahead) if ahead.abs() <= SKEW => CLOCK.good(format!("{} s apart", ahead.abs())),
        Ok(ahead) => {
            let word = if ahead > 0 { "ahead of" } else { "behind" };
            CLOCK.bad(
                format!("{} s apart", ahead.abs()),
                format!(
                    "this machine's clock is {} s {word} the API server's, so tokens and leases end at the wrong time",
                    ahead.abs()
                ),
                "timedatectl set-ntp true\n# here and on the nodes",
            )
        }
    }
}

/// The metrics page of every candidate that is ready.
async fn pages(found: &Installation<'_>, reach: &Reach) -> Verdict {
    let client = Client::new();
    let Some(port) = target_ports(found.pool).first().copied() else {
        return Verdict::of("the pool has no port");
    };
    let mut engines = Vec::new();
    for pod in found.ready().take(LOOKED_AT) {
        let label = &pod["metadata"]["labels"]["llm-d.ai/engine-type"];
        engines.push(Engine {
            name: id_of(pod),
            label: label.as_str().map(str::to_owned),
            page: match reach.port(pod, port).await {
                Ok(address) => client.read(address, "/metrics").await,
                Err(why) => Err(why),
            },
        });
    }
    engines::judge(&engines)
}

/// What every picker that is ready says of its own watches.
async fn watches(found: &Installation<'_>, reach: &Reach) -> Verdict {
    let client = Client::new();
    let mut verdict = Verdict::default();
    let mut told = Vec::new();
    for pod in found.pickers.iter().filter(|pod| is_ready(pod)) {
        let name = id_of(pod);
        let view = match reach.port(pod, metrics_port(pod)).await {
            Ok(address) => client.read(address, "/debug/discovery").await,
            Err(why) => Err(why),
        };
        match view {
            Ok((200, text)) => {
                let view: Value = serde_json::from_str(&text).unwrap_or_default();
                told.push(format!("{name} knows {} endpoints", view["endpoints"]));
                troubled(&name, &view, &mut verdict);
            }
            Ok((404, _)) => told.push(format!(
                "{name} is not pointsman's picker and does not tell"
            )),
            Ok((status, _)) => told.push(format!("{name} answers {status}")),
            Err(why) => verdict.add(
                format!("the metrics port of picker {name}: {why}"),
                "let the picker serve metrics: --metrics-port, without --metrics-endpoint-auth",
            ),
        }
    }
    verdict.detail = match told.is_empty() {
        true => "no picker told".to_owned(),
        false => told.join(", "),
    };
    verdict
}

fn troubled(name: &str, view: &Value, verdict: &mut Verdict) {
    for watch in view["watches"].as_array().into_iter().flatten() {
        if watch["state"] == "degraded" {
            verdict.add(
                format!(
                    "picker {name} cannot follow {}: {}",
                    watch["what"].as_str().unwrap_or_default(),
                    watch["problem"].as_str().unwrap_or_default()
                ),
                "see the check 'rights'; it names the rule that is missing",
            );
        }
    }
    if let Some(missing) = view["missing"].as_str() {
        verdict.add(
            format!("picker {name} is not ready: {missing}"),
            format!("kubectl logs -n {}", name.replacen('/', " ", 1)),
        );
    }
}
