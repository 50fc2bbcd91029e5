//! The picker: the Service that the pool names, what it leads to, and whether the pods behind it run for this pool.

use serde_json::Value;

use crate::check::Verdict;
use crate::check::candidates::{look_at, why_not_ready};
use crate::check::facts::{POD, id_of, is_ready, items, name_of, namespace_of, text};
use crate::check::installation::{Installation, arguments, flag, picker_of, slice_addresses};
use crate::check::labels::labels;
use crate::kinds::SERVICE;

/// The picker's own port, where its arguments name no other.
const GRPC_PORT: u16 = 9002;

/// The flag of pickers that elect a leader.
const ELECTION: &str = "ha-enable-leader-election";

/// What the current Go picker says when it is given the flags of the older one.
const OLD_FLAG: &str = "is deprecated and cannot be used";

/// Judges the Service.
pub fn service(installation: &Installation<'_>) -> Verdict {
    let pool = installation.pool;
    let namespace = namespace_of(pool);
    let Some((name, port)) = picker_of(pool) else {
        return Verdict::of("the pool names none");
    };
    let mut verdict = Verdict::of(format!(
        "{namespace}/{name}:{port} leads to {} pods",
        installation.pickers.len()
    ));
    let Some(service) = installation.facts.get(&SERVICE, namespace, name) else {
        if installation.facts.was_read(&SERVICE, namespace) {
            verdict.add(
                format!("the pool's picker is Service {name}, which is not in the pool's namespace {namespace}"),
                real_service(installation, name, port),
            );
        }
        return verdict;
    };
    if let Some(target) = service["spec"]["externalName"].as_str() {
        verdict.detail = format!("{namespace}/{name}:{port} is of type ExternalName, to {target}");
        verdict.add(
            format!(
                "Service {namespace}/{name}, which the pool names as its picker, is of type ExternalName: Istio calls the picker by a cluster of that name and has none, so every request fails with 500 (ext_proc.streams_failed), or goes past the picker where failing is allowed"
            ),
            real_service(installation, name, port),
        );
        return verdict;
    }
    port_of(installation, service, port, &mut verdict);
    let addresses = slice_addresses(installation.facts, service);
    let selects = !labels(&service["spec"]["selector"]).is_empty();
    let stale = addresses.iter().find(|address| {
        let of = |pod: &&Value| text(&pod["status"]["podIP"]) == **address;
        !selects && !installation.pickers.iter().any(of)
    });
    // Whose an address is cannot be told where pods of other namespaces may not be read.
    let stale = stale.filter(|_| !installation.facts.may_be_elsewhere(&POD));
    if let Some(address) = stale {
        verdict.add(
            format!("the slices of Service {namespace}/{name} lead to {address}, which is no pod of the picker"),
            real_service(installation, name, port),
        );
    }
    verdict
}

fn port_of(installation: &Installation<'_>, service: &Value, port: u16, verdict: &mut Verdict) {
    let (namespace, name) = (namespace_of(service), name_of(service));
    let ports = items(&service["spec"]["ports"]);
    let Some((at, found)) = ports
        .iter()
        .enumerate()
        .find(|(_, one)| one["port"] == port)
    else {
        let offered: Vec<String> = ports.iter().map(|one| one["port"].to_string()).collect();
        verdict.add(
            format!(
                "the pool names port {port} of Service {namespace}/{name}, which has {}",
                offered.join(", ")
            ),
            format!(
                "kubectl patch inferencepool -n {namespace} {} --type=merge -p '{{\"spec\":{{\"endpointPickerRef\":{{\"port\":{{\"number\":{}}}}}}}}}'",
                name_of(installation.pool),
                offered.first().map_or("9002", String::as_str)
            ),
        );
        return;
    };
    let patch = |path: &str, value: &str| {
        format!(
            "kubectl patch service -n {namespace} {name} --type=json -p '[{{\"op\":\"add\",\"path\":\"/spec/ports/{at}/{path}\",\"value\":{value}}}]'"
        )
    };
    let target = found["targetPort"].as_u64().unwrap_or_else(|| port.into());
    for pod in &installation.pickers {
        let listens = listens(pod);
        if found["targetPort"].as_str().is_none() && target != u64::from(listens) {
            verdict.add(
                format!(
                    "Service {namespace}/{name} sends port {port} to {target}, the picker {} listens on {listens}",
                    id_of(pod)
                ),
                patch("targetPort", &listens.to_string()),
            );
            break;
        }
    }
    let istio = installation
        .gateways
        .iter()
        .any(|gateway| text(&gateway["spec"]["gatewayClassName"]).starts_with("istio"));
    let speaks = |word: &str| word.starts_with("grpc") || word.starts_with("http2");
    let protocol = text(&found["appProtocol"]);
    let http2 = match protocol {
        "" => speaks(text(&found["name"])),
        known => speaks(known) || known == "kubernetes.io/h2c",
    };
    if istio && !http2 {
        verdict.add(
            format!("port {port} of Service {namespace}/{name} does not say that it speaks HTTP/2, so Istio speaks HTTP/1.1 to the picker"),
            patch("appProtocol", "\"kubernetes.io/h2c\""),
        );
    }
}

/// The port that a picker's pod listens on.
fn listens(pod: &Value) -> u16 {
    let named = flag(pod, "grpc-port").and_then(|port| port.parse().ok());
    named.unwrap_or(GRPC_PORT)
}

/// A Service of the pool's namespace that leads to the picker's pods: by selector where they are there, too, else with
/// their addresses.
fn real_service(installation: &Installation<'_>, name: &str, port: u16) -> String {
    let namespace = namespace_of(installation.pool);
    let listens = installation
        .pickers
        .first()
        .map_or(port, |pod| listens(pod));
    let ports = format!(
        "[{{name: grpc, port: {port}, targetPort: {listens}, protocol: TCP, appProtocol: kubernetes.io/h2c}}]"
    );
    let head = format!(
        "kubectl delete service -n {namespace} {name} --ignore-not-found\nkubectl apply -f - <<'EOF'\n"
    );
    let service = |more: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{more}  ports: {ports}\n"
        )
    };
    let Some(pod) = installation.pickers.first() else {
        return format!(
            "{head}{}EOF",
            service("  selector: {app: LABEL-OF-THE-PICKER}\n")
        );
    };
    if namespace_of(pod) == namespace {
        let app = text(&pod["metadata"]["labels"]["app"]);
        return format!(
            "{head}{}EOF",
            service(&format!("  selector: {{app: {app}}}\n"))
        );
    }
    let addresses: Vec<String> = installation
        .pickers
        .iter()
        .filter_map(|pod| pod["status"]["podIP"].as_str())
        .map(|ip| format!("{{addresses: [\"{ip}\"]}}"))
        .collect();
    format!(
        "{head}{}---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{{name: grpc, port: {listens}, protocol: TCP, appProtocol: kubernetes.io/h2c}}]\nendpoints: [{}]\nEOF\n# the slice names today's pods of the picker; the operator keeps one in step: epp.poolNamespace of its SchedulerInstall",
        service(""),
        addresses.join(", ")
    )
}

/// Judges the pods.
pub fn pods(installation: &Installation<'_>) -> Verdict {
    let all = &installation.pickers;
    let ready = all.iter().filter(|pod| is_ready(pod)).count();
    let names: Vec<String> = all.iter().map(|pod| id_of(pod)).collect();
    let mut verdict = Verdict::of(format!(
        "{ready} of {} ready{}{}",
        all.len(),
        if names.is_empty() { "" } else { ": " },
        names.join(", ")
    ));
    let pool = installation.pool;
    if all.is_empty() && installation.facts.may_be_elsewhere(&POD) {
        verdict.add(
            format!(
                "no picker of pool {} runs in the namespaces that your account may read",
                installation.name()
            ),
            "# name the picker's namespace, too: --namespace NAME; or let your account list pods everywhere:\nkubectl create clusterrole pointsman-verify-pods --verb=get,list --resource=pods\nkubectl create clusterrolebinding pointsman-verify-pods --clusterrole=pointsman-verify-pods --user='<you>'",
        );
    } else if all.is_empty() {
        verdict.add(
            format!("no picker runs for pool {}", installation.name()),
            format!(
                "kubectl get deployments -A | grep epp\n# start one with the arguments --pool-name {} --pool-namespace {}",
                name_of(pool),
                namespace_of(pool)
            ),
        );
    }
    for pod in all {
        // Of several that elect a leader, those that wait are not ready.
        let waits = ready > 0 && arguments(pod).iter().any(|word| word.ends_with(ELECTION));
        if !is_ready(pod) && !waits {
            let why = why_not_ready(pod);
            let fix = match why.contains(OLD_FLAG) {
                true => "the image wants configuration where the Deployment gives flags of the older picker: set spec.epp.flavor: Current in the SchedulerInstall, or use pointsman's image, which takes both".to_owned(),
                false => look_at(pod),
            };
            verdict.add(
                format!("picker pod {} is not ready: {why}", id_of(pod)),
                fix,
            );
        }
        let named = flag(pod, "pool-name").unwrap_or_else(|| name_of(pool));
        let within = flag(pod, "pool-namespace").unwrap_or_else(|| namespace_of(pool));
        if named != name_of(pool) || within != namespace_of(pool) {
            verdict.add(
                format!(
                    "picker pod {} picks for pool {within}/{named} and not for {}",
                    id_of(pod),
                    installation.name()
                ),
                format!(
                    "give it the arguments --pool-name {} --pool-namespace {} (spec.epp.poolName, poolNamespace of the SchedulerInstall)",
                    name_of(pool),
                    namespace_of(pool)
                ),
            );
        }
    }
    verdict
}
