//! The pool itself: what it selects by, which picker it names, and whether a gateway took it.

use crate::check::Verdict;
use crate::check::facts::{items, name_of, namespace_of, text};
use crate::check::installation::{Installation, picker_of, selector, target_ports};
use crate::check::labels::in_words;

/// Judges the pool.
pub fn judge(installation: &Installation<'_>) -> Verdict {
    let pool = installation.pool;
    let (wanted, ports) = (selector(pool), target_ports(pool));
    let shown: Vec<String> = ports.iter().map(u16::to_string).collect();
    let picker = match picker_of(pool) {
        Some((name, port)) => format!("picker Service {name}:{port}"),
        None => "no picker".to_owned(),
    };
    let mut verdict = Verdict::of(format!(
        "{} selects {}, port {}, {picker}",
        installation.name(),
        in_words(&wanted),
        shown.join(", ")
    ));
    let patch = |spec: &str| {
        format!(
            "kubectl patch inferencepool -n {} {} --type=merge -p '{{\"spec\":{spec}}}'",
            namespace_of(pool),
            name_of(pool)
        )
    };
    if picker_of(pool).is_none() {
        verdict.add(
            "the pool names no picker, so gateways choose by themselves",
            patch(
                "{\"endpointPickerRef\":{\"name\":\"SERVICE-OF-THE-PICKER\",\"port\":{\"number\":9002}}}",
            ),
        );
    }
    for parent in items(&pool["status"]["parents"]) {
        let gateway = text(&parent["parentRef"]["name"]);
        for one in items(&parent["conditions"]) {
            let against = ["Accepted", "ResolvedRefs"].contains(&text(&one["type"]))
                && one["status"] == "False";
            if against {
                verdict.add(
                    format!(
                        "gateway {gateway} says of the pool: {}=False, {}: {}",
                        text(&one["type"]),
                        text(&one["reason"]),
                        text(&one["message"])
                    ),
                    match text(&one["type"]) {
                        "ResolvedRefs" => patch(&reference(installation)),
                        _ => format!(
                            "kubectl describe inferencepool -n {} {}",
                            namespace_of(pool),
                            name_of(pool)
                        ),
                    },
                );
            }
        }
    }
    verdict
}

/// The reference as it should be: a Service of the pool's namespace that is there.
fn reference(installation: &Installation<'_>) -> String {
    let service = installation.services.last();
    let name = service.map_or("SERVICE-OF-THE-PICKER", |service| name_of(service));
    let port = picker_of(installation.pool).map_or(9002, |(_, port)| port);
    format!("{{\"endpointPickerRef\":{{\"name\":\"{name}\",\"port\":{{\"number\":{port}}}}}}}")
}
