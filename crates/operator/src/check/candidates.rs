//! The pods that a pool selects: whether there are any, whether they are ready, and whether filters leave some.

use serde_json::Value;

use crate::check::Verdict;
use crate::check::facts::{POD, id_of, is_ready, items, name_of, namespace_of, text};
use crate::check::installation::{Installation, arguments, selector, target_ports};
use crate::check::labels::{Labels, in_words, labels, labels_of, matches};

/// Candidates and pods that are named in one sentence.
const SHOWN: usize = 4;

/// Filters that go by labels, with the parameter that holds what they want.
const BY_LABELS: [&str; 2] = ["by-label-selector", "label-selector-filter"];

/// Judges the candidates.
pub fn judge(installation: &Installation<'_>) -> Verdict {
    let all = &installation.candidates;
    let ready = installation.ready().count();
    let wanted = selector(installation.pool);
    let namespace = namespace_of(installation.pool);
    let mut verdict = Verdict::of(format!(
        "{ready} of {} pods with {} are ready",
        all.len(),
        in_words(&wanted)
    ));
    if all.is_empty() {
        if installation.facts.was_read(&POD, namespace) {
            let (cause, fix) = nobody(installation, &wanted);
            verdict.add(cause, fix);
        }
        return verdict;
    }
    for pod in all.iter().filter(|pod| !is_ready(pod)) {
        verdict.add(
            format!("pod {} is not ready: {}", id_of(pod), why_not_ready(pod)),
            look_at(pod),
        );
    }
    let ports = target_ports(installation.pool);
    for pod in all {
        let offered = container_ports(pod);
        if !offered.is_empty() && !ports.iter().any(|port| offered.contains(port)) {
            verdict.add(
                format!(
                    "pod {} offers port {}, the pool's targetPorts are {}",
                    id_of(pod),
                    numbers(&offered),
                    numbers(&ports)
                ),
                format!(
                    "kubectl patch inferencepool -n {namespace} {} --type=merge -p '{{\"spec\":{{\"targetPorts\":[{{\"number\":{}}}]}}}}'",
                    name_of(installation.pool),
                    offered[0]
                ),
            );
            break;
        }
    }
    filters(installation, &mut verdict);
    verdict
}

/// Nothing is selected: the pods that were most likely meant.
fn nobody(installation: &Installation<'_>, wanted: &Labels<'_>) -> (String, String) {
    let namespace = namespace_of(installation.pool);
    let ports = target_ports(installation.pool);
    let near = |pod: &&Value| {
        let carried = labels_of(pod);
        wanted.keys().any(|key| carried.contains_key(key))
            || container_ports(pod).iter().any(|port| ports.contains(port))
    };
    let found: Vec<&Value> = installation
        .facts
        .within(&POD, namespace)
        .filter(near)
        .take(SHOWN)
        .collect();
    let mut cause = format!(
        "label mismatch: no pod in {namespace} carries {}",
        in_words(wanted)
    );
    let Some(first) = found.first() else {
        return (
            cause,
            format!(
                "start model servers in {namespace} with the labels {}",
                in_words(wanted)
            ),
        );
    };
    let said: Vec<String> = found
        .iter()
        .map(|pod| format!("{} carries {}", name_of(pod), in_words(&labels_of(pod))))
        .collect();
    cause = format!("{cause}; {}", said.join("; "));
    (
        cause,
        give_labels(first, &in_words(wanted).replace(',', " ")),
    )
}

/// The command that gives labels to a pod, and where they should stand so that they last.
fn give_labels(pod: &Value, wanted: &str) -> String {
    format!(
        "kubectl label pod -n {} {} {wanted} --overwrite\n# and the same labels in the pod template of whatever owns it",
        namespace_of(pod),
        name_of(pod)
    )
}

/// Why a pod is not ready, as its containers and conditions tell.
pub fn why_not_ready(pod: &Value) -> String {
    let status = &pod["status"];
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "it is being deleted".to_owned();
    }
    for one in items(&status["containerStatuses"]) {
        let ended = &one["lastState"]["terminated"];
        let last = match text(&ended["message"]).trim().lines().last() {
            Some(line) if !line.is_empty() => format!(", its last words: {line}"),
            _ => match ended["exitCode"].as_i64() {
                Some(code) => format!(", it ended with exit code {code}"),
                None => String::new(),
            },
        };
        let waiting = &one["state"]["waiting"];
        if let Some(reason) = waiting["reason"].as_str() {
            let message = text(&waiting["message"]);
            let gap = if message.is_empty() { "" } else { ": " };
            return format!("{reason}{gap}{message}{last}");
        }
    }
    let unmet = items(&status["conditions"])
        .iter()
        .filter(|one| one["status"] == "False")
        .find(|one| !text(&one["message"]).is_empty());
    match unmet {
        Some(one) => format!("{}: {}", text(&one["reason"]), text(&one["message"])),
        None => format!(
            "its phase is {}",
            status["phase"].as_str().unwrap_or("unknown")
        ),
    }
}

/// The commands that show more of a pod.
pub fn look_at(pod: &Value) -> String {
    let (namespace, name) = (namespace_of(pod), name_of(pod));
    format!(
        "kubectl describe pod -n {namespace} {name}\nkubectl logs -n {namespace} {name} --all-containers --tail=50"
    )
}

fn container_ports(pod: &Value) -> Vec<u16> {
    let containers = items(&pod["spec"]["containers"]).iter();
    containers
        .flat_map(|one| items(&one["ports"]))
        .filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .collect()
}

fn numbers(ports: &[u16]) -> String {
    let said: Vec<String> = ports.iter().map(u16::to_string).collect();
    said.join(", ")
}

/// The configuration of the picker, as a tree.
fn configuration(installation: &Installation<'_>) -> Option<Value> {
    let mut pods = installation.pickers.iter();
    let text = pods.find_map(|pod| installation.configuration(pod)?.1)?;
    serde_saphyr::from_str(text).ok()
}

/// Whether candidates publish what their caches hold; `None` where the configuration does not ask for it.
pub fn kv_events(installation: &Installation<'_>) -> Option<Verdict> {
    let tree = configuration(installation)?;
    let precise = |plugin: &&Value| text(&plugin["type"]).starts_with("precise-prefix-cache");
    let asking = items(&tree["plugins"]).iter().find(precise)?;
    let publishes = |pod: &&Value| {
        let mut words = arguments(pod).into_iter();
        words.any(|word| word.trim_start_matches('-').starts_with("kv-events"))
    };
    let all = &installation.candidates;
    let (good, silent): (Vec<&Value>, Vec<&Value>) = all.iter().copied().partition(publishes);
    let mut verdict = Verdict::of(format!("{} of {} publish KV events", good.len(), all.len()));
    if !silent.is_empty() {
        let names: Vec<String> = silent.iter().take(SHOWN).map(|pod| id_of(pod)).collect();
        verdict.add(
            format!(
                "{} wants KV events, and {} publish none",
                text(&asking["type"]),
                names.join(", ")
            ),
            "give vLLM --kv-events-config '{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\",\"endpoint\":\"tcp://*:5557\",\"topic\":\"kv@<pod IP>@<model>\"}'",
        );
    }
    Some(verdict)
}

/// What the configuration's label filters leave.
fn filters(installation: &Installation<'_>, verdict: &mut Verdict) {
    let Some(tree) = configuration(installation) else {
        return;
    };
    for plugin in items(&tree["plugins"]) {
        let wanted = labels(&plugin["parameters"]["matchLabels"]);
        if wanted.is_empty() || !BY_LABELS.contains(&text(&plugin["type"])) {
            continue;
        }
        let name = plugin["name"]
            .as_str()
            .unwrap_or_else(|| text(&plugin["type"]));
        let (kept, struck): (Vec<&Value>, Vec<&Value>) = installation
            .candidates
            .iter()
            .partition(|pod| matches(&wanted, &labels_of(pod)));
        let names: Vec<&str> = struck.iter().take(SHOWN).map(|pod| name_of(pod)).collect();
        if !kept.is_empty() {
            if !struck.is_empty() {
                verdict.detail = format!(
                    "{}; filter {name} ({}) removes {}",
                    verdict.detail,
                    in_words(&wanted),
                    names.join(", ")
                );
            }
            continue;
        }
        let carried: Vec<String> = wanted
            .keys()
            .map(|key| {
                match struck
                    .iter()
                    .find_map(|pod| labels_of(pod).get(key).copied())
                {
                    Some(value) => format!("{key}={value}"),
                    None => format!("no {key}"),
                }
            })
            .collect();
        verdict.add(
            format!(
                "filter '{name}' of the picker's configuration wants {}, and no candidate carries that ({}), so every request ends in InferencePoolResourceExhausted",
                in_words(&wanted),
                carried.join(", ")
            ),
            give_labels(struck[0], &in_words(&wanted).replace(',', " ")),
        );
    }
}
