//! What was asked without the gateway's help.

use crate::verify::check::{Check, METRICS, PAIRS, REACHED};
use crate::verify::judge::roots::Roots;
use crate::verify::seen::{Direct, Failure, Seen, pair_of, short};

/// The two addresses answer.
pub(crate) fn reached(seen: &Seen, roots: &Roots) -> Check {
    let (target, admin) = (&seen.target, &seen.admin);
    match (&seen.views, &seen.reached) {
        (None, _) => REACHED.not_reached(),
        (Some(Err(why)), _) if roots.obstacle.is_some() => {
            let detail = format!("not run: {why}");
            roots
                .obstructed(REACHED, &detail)
                .unwrap_or_else(|| REACHED.not_reached())
        }
        (Some(Err(why)), _) => REACHED.bad(
            format!("the admin port {admin} gives no answer"),
            format!("admin port {admin}: {why}"),
            "start the gateway, or name its admin port with --admin http://HOST:PORT",
        ),
        (Some(Ok(_)), None) => REACHED.not_reached(),
        (Some(Ok(_)), Some(Err(why))) => REACHED.bad(
            format!("the gateway {target} gives no answer"),
            format!("gateway {target}: {why}"),
            "start the gateway, or name it with --target http://HOST:PORT",
        ),
        (Some(Ok(_)), Some(Ok(()))) => REACHED.good(format!("gateway {target}, admin {admin}")),
    }
}

/// Every candidate serves without the gateway.
pub(crate) fn pairs(seen: &Seen, roots: &Roots) -> Check {
    let Some(direct) = &seen.direct else {
        return roots.not_seen(PAIRS);
    };
    let of = match seen.not_asked {
        0 => String::new(),
        more => format!(" (the first {}; {more} more were not asked)", direct.len()),
    };
    if direct.is_empty() {
        return PAIRS.bad(
            "there is no candidate to ask",
            "the pool is empty",
            "add endpoints to the pool: the endpoints file, or the labels that the pool selects by",
        );
    }
    let good = direct.len() - roots.sick.len();
    if !roots.sick.is_empty() {
        return PAIRS.bad(
            format!("{good} of {} serve{of}", direct.len()),
            roots.sick_in_words(),
            fix_of(direct),
        );
    }
    let named = direct.iter().filter(|d| d.probe.pair().is_some()).count();
    let ids = match named {
        0 => "their ids name no pair".to_owned(),
        n if n == direct.len() => pairs_shown(direct),
        n => format!("{n} of them with ids that name their pair"),
    };
    PAIRS.good(format!(
        "{good} of {good} serve{of}, {ids}; {}",
        times(direct)
    ))
}

fn fix_of(direct: &[Direct]) -> String {
    let sick: Vec<&Direct> = direct.iter().filter(|d| !d.probe.is_good()).collect();
    let names: Vec<&str> = sick.iter().map(|d| short(&d.endpoint)).collect();
    let names = names.join(", ");
    match &sick[0].probe.answer {
        Err(Failure::Refused) => {
            format!("start {names}, or correct the address and port in the pool")
        }
        Err(Failure::Silent(_)) => format!(
            "look at {names} and the engines behind: it takes the connection and does not answer"
        ),
        Err(Failure::Broken(_)) => format!("look at the log of {names}"),
        Ok(answer) if answer.status == 404 || answer.status == 400 => format!(
            "{names} must serve the model that was asked for on /v1/completions; name another with --model"
        ),
        Ok(_) => format!("look at the log of {names} and at the engines behind"),
    }
}

/// The pairs by candidate, where they are few.
fn pairs_shown(direct: &[Direct]) -> String {
    if direct.len() > 4 {
        return "each id names its pair".to_owned();
    }
    let said = direct.iter().filter_map(|d| {
        let pair = pair_of(d.probe.answer.as_ref().ok()?.id.as_deref()?)?;
        let (prefill, decode) = pair
            .strip_prefix("___prefill_addr_")?
            .split_once("___decode_addr_")?;
        Some(format!("{} = {prefill} + {decode}", short(&d.endpoint)))
    });
    said.collect::<Vec<_>>().join(", ")
}

fn times(direct: &[Direct]) -> String {
    let slowest = direct.iter().max_by_key(|d| d.took_ms);
    let fastest = direct.iter().min_by_key(|d| d.took_ms);
    match (fastest, slowest) {
        (Some(fast), Some(slow)) if direct.len() > 1 => format!(
            "{} took {} ms, {} {} ms",
            short(&fast.endpoint),
            fast.took_ms,
            short(&slow.endpoint),
            slow.took_ms
        ),
        (Some(one), _) => format!("it took {} ms", one.took_ms),
        _ => String::new(),
    }
}

/// Every candidate's metrics page answers 200.
pub(crate) fn metrics(seen: &Seen, roots: &Roots) -> Check {
    let Some(direct) = &seen.direct else {
        return roots.not_seen(METRICS);
    };
    let bad: Vec<&Direct> = direct.iter().filter(|d| d.metrics != Ok(200)).collect();
    let detail = format!(
        "{} of {} answer 200 on /metrics",
        direct.len() - bad.len(),
        direct.len()
    );
    // Who does not serve at all is told once.
    let own: Vec<&&Direct> = bad
        .iter()
        .filter(|d| d.metrics.is_ok() || !roots.sick.contains_key(&d.endpoint))
        .collect();
    if bad.is_empty() {
        return METRICS.good(detail);
    }
    if own.is_empty() {
        return METRICS.because_of(detail, PAIRS, &roots.sick_in_words());
    }
    let said: Vec<String> = own
        .iter()
        .map(|d| match &d.metrics {
            Ok(404) => format!(
                "{} answers 404 on /metrics: a proxy without pass-through",
                short(&d.endpoint)
            ),
            Ok(status) => format!("{} answers {status} on /metrics", short(&d.endpoint)),
            Err(failure) => format!("{} on /metrics: {}", short(&d.endpoint), failure),
        })
        .collect();
    METRICS.bad(
        detail,
        said.join("; "),
        "let the proxy pass /metrics on to its decode server (the P/D proxy of pointsman does); without it scores know nothing of the engines",
    )
}
