//! A `SchedulerInstall` with every default filled in, or why it cannot be followed.

use serde_json::Value;

use crate::spec::invalid::Invalid;
use crate::spec::meta::Identity;
use crate::spec::resources::resources;
use crate::spec::validity::{
    count, label_name, object_name, one_of, picker_port, port, replicas, selector as check_selector,
};
use crate::spec::written::{
    Labels, WrittenBalancing, WrittenEpp, WrittenFilter, WrittenGateway, WrittenInstall,
    WrittenPool, WrittenProxy, WrittenRouting, on, or, read,
};

/// The proxy Service.
pub const PROXY_NAME: &str = "gaie-inference-scheduling-proxy";
/// Its port.
pub const PROXY_PORT: u16 = 8200;
/// The picker.
pub const EPP_NAME: &str = "gaie-inference-scheduling-epp";
/// Its image.
pub const EPP_IMAGE: &str = "ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.0";
/// Its port.
pub const EPP_PORT: u16 = 9002;
/// The pool.
pub const POOL_NAME: &str = "gaie-inference-scheduling";
/// The Gateway.
pub const GATEWAY_NAME: &str = "infra-inference-scheduling-inference-gateway";
/// Its class.
pub const GATEWAY_CLASS: &str = "istio";
/// The route.
pub const ROUTE_NAME: &str = "llm-d-inference-scheduling";
/// The EnvoyFilter.
pub const FILTER_NAME: &str = "epp-ext-proc";

/// How many ports a pool can have.
const MOST_PORTS: usize = 8;

/// What a `SchedulerInstall` asks for; parts that are off are not there.
#[derive(Clone, Debug)]
pub struct Install {
    /// Who asks.
    pub id: Identity,
    /// Where picker, gateway and route are.
    pub scheduler_namespace: String,
    /// Where the backends are.
    pub simulator_namespace: String,
    /// The Service in front of the backends.
    pub proxy: Proxy,
    /// The picker.
    pub epp: Option<Epp>,
    /// The Gateway.
    pub gateway: Option<Gateway>,
    /// Where the gateway's counters are seen.
    pub stats: Option<Stats>,
    /// The route.
    pub routing: Option<Routing>,
    /// Istio's balancing.
    pub balancing: Option<Balancing>,
    /// Istio's way to the picker.
    pub filter: Option<Filter>,
    /// The pool, where the operator makes it.
    pub pool: Option<Pool>,
}

/// The Service in front of the backends.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) target_port: u16,
    pub(crate) selector: Labels,
}

/// Which flags the picker's image takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Those of v0.4.
    Legacy,
    /// Without those that later pickers refuse.
    Current,
}

/// The picker.
#[derive(Clone, Debug)]
pub struct Epp {
    /// The name of its Deployment and Service.
    pub name: String,
    /// How many pods; none where something else decides.
    pub(crate) replicas: Option<i32>,
    pub(crate) several: bool,
    pub(crate) image: String,
    pub(crate) port: u16,
    pub(crate) verbosity: i32,
    pub(crate) args: Vec<String>,
    /// The pool that it picks from.
    pub pool_name: String,
    /// Where that is.
    pub pool_namespace: String,
    pub(crate) resources: Value,
    /// How it picks.
    pub profile: &'static str,
    pub(crate) flavor: Flavor,
    /// Whether another profile restarts the pods.
    pub(crate) rolls: bool,
}

/// The Gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    pub(crate) class: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) tls: Option<Value>,
}

/// Where the counters of a gateway's pods are seen.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The Gateway, made here or not.
    pub(crate) gateway: String,
    pub(crate) port: u16,
}

/// The route.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The name of the HTTPRoute.
    pub route: String,
    pub(crate) parent: (String, String),
    /// Where it leads to.
    pub backend: Backend,
}

/// Where a route leads to.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The proxy Service.
    Service,
    /// A pool, and so the picker.
    Pool {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port to name; 0 names none.
        port: u16,
    },
}

/// Istio's balancing.
#[derive(Clone, Debug)]
pub struct Balancing {
    pub(crate) algorithm: &'static str,
    pub(crate) max_pending: i32,
    pub(crate) max_per_connection: i32,
}

/// How the gateway is told to ask the picker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the original operator did.
    Legacy,
    /// So that the picker's answer counts.
    FullDuplex,
    /// By Istio's own support for InferencePool: the picker gets a Service in the pool's namespace, and no filter.
    Native,
}

/// The EnvoyFilter.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(crate) name: String,
    pub(crate) selector: Labels,
    pub(crate) mode: Mode,
}

/// The pool, where the operator makes it.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) selector: Labels,
    pub(crate) ports: Vec<u16>,
    pub(crate) failure_mode: &'static str,
}

/// Fills in the defaults and checks the rules.
///
/// # Errors
/// The first rule that is broken, in the order of the manual.
pub fn settle(object: &Value) -> Result<Install, Invalid> {
    let id = Identity::of(object)?;
    let written: WrittenInstall = read(object)?;
    let simulator_namespace = or(written.simulator_namespace.as_ref(), "");
    if simulator_namespace.is_empty() {
        return Err(Invalid::new(
            "MissingSimulatorNamespace",
            "spec.simulatorNamespace is required: set it to the namespace of the backends",
        ));
    }
    let simulator_namespace = label_name("spec.simulatorNamespace", simulator_namespace)?;
    let scheduler_namespace = label_name(
        "spec.schedulerNamespace",
        or(written.scheduler_namespace.as_ref(), &id.namespace),
    )?;
    // Parts that are off still give names to others.
    let epp = written
        .epp
        .as_ref()
        .map(|epp| self::epp(epp, &simulator_namespace))
        .transpose()?;
    let epp_on = written.epp.as_ref().is_some_and(|epp| on(epp.enabled));
    let gateway = written.gateway.as_ref().map(self::gateway).transpose()?;
    let stats = written.gateway.as_ref().and_then(|it| it.stats_port);
    let stats = match (&gateway, stats) {
        (Some(gateway), Some(given)) => Some(Stats {
            gateway: gateway.name.clone(),
            port: port("spec.gateway.statsPort", Some(given), 0)?,
        }),
        _ => None,
    };
    let gateway_on = written
        .gateway
        .as_ref()
        .is_some_and(|gateway| on(gateway.enabled));
    let proxy = self::proxy(&written.proxy_service.clone().unwrap_or_default())?;
    let routing = written
        .routing
        .as_ref()
        .filter(|routing| on(routing.enabled));
    let routing = routing
        .map(|routing| {
            let names = Names {
                epp: epp.as_ref(),
                gateway: gateway.as_ref(),
                scheduler_namespace: &scheduler_namespace,
                simulator_namespace: &simulator_namespace,
            };
            self::routing(routing, &names)
        })
        .transpose()?;
    let filter = written
        .envoy_filter
        .as_ref()
        .filter(|filter| on(filter.enabled));
    let filter = filter
        .map(|filter| self::filter(filter, epp_on, gateway.as_ref(), routing.as_ref()))
        .transpose()?;
    let balancing = written
        .destination_rule
        .as_ref()
        .filter(|rule| on(rule.enabled));
    let balancing = balancing
        .map(|rule| self::balancing("spec.destinationRule", rule))
        .transpose()?;
    let pool = written
        .inference_pool
        .as_ref()
        .filter(|pool| on(pool.enabled));
    let pool = pool
        .map(|pool| self::pool(pool, epp_on, &proxy))
        .transpose()?;
    Ok(Install {
        id,
        scheduler_namespace,
        simulator_namespace,
        proxy,
        epp: epp.filter(|_| epp_on),
        gateway: gateway.filter(|_| gateway_on),
        stats,
        routing,
        balancing,
        filter,
        pool,
    })
}

fn proxy(written: &WrittenProxy) -> Result<Proxy, Invalid> {
    let own_port = port("spec.proxyService.port", written.port, PROXY_PORT)?;
    let selector = written.selector.clone().filter(|labels| !labels.is_empty());
    if let Some(selector) = &selector {
        check_selector("spec.proxyService.selector", selector)?;
    }
    Ok(Proxy {
        name: label_name(
            "spec.proxyService.name",
            or(written.name.as_ref(), PROXY_NAME),
        )?,
        port: own_port,
        target_port: port(
            "spec.proxyService.targetPort",
            written.target_port,
            own_port,
        )?,
        selector: selector.unwrap_or_else(|| {
            [
                ("llm-d.ai/role", "decode"),
                ("llm-d.ai/inferenceServing", "true"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        }),
    })
}

fn epp(written: &WrittenEpp, simulator_namespace: &str) -> Result<Epp, Invalid> {
    let image = or(written.image.as_ref(), EPP_IMAGE);
    let replicas = replicas("spec.epp.replicas", written.replicas, 1)?;
    let autoscaled = on(written.autoscaled);
    let flavor = or(written.flavor.as_ref(), "Auto");
    let flavor = match one_of(
        "spec.epp.flavor",
        &flavor,
        &["Auto", "LegacyFlags", "Current"],
    )? {
        "LegacyFlags" => Flavor::Legacy,
        "Current" => Flavor::Current,
        _ => flavor_of(&image),
    };
    let reload = written.reload.as_deref().filter(|word| !word.is_empty());
    let rolls = match reload {
        None => !is_own(&image),
        Some(word) => one_of("spec.epp.reload", word, &["Rolling", "Hot", "None"])? == "Rolling",
    };
    let verbosity = written.verbosity.unwrap_or(1);
    if verbosity < 0 {
        return Err(Invalid::value(format!(
            "spec.epp.verbosity is {verbosity} and must be 0 or more"
        )));
    }
    let profiles = [
        "default",
        "proxy-performance",
        "proxy-performance-by-backend",
    ];
    Ok(Epp {
        name: label_name("spec.epp.name", or(written.name.as_ref(), EPP_NAME))?,
        replicas: Some(replicas).filter(|_| !autoscaled),
        several: replicas > 1 || autoscaled,
        port: picker_port(written.port, EPP_PORT)?,
        verbosity,
        args: written.args.clone().unwrap_or_default(),
        pool_name: object_name(
            "spec.epp.poolName",
            or(written.pool_name.as_ref(), POOL_NAME),
        )?,
        pool_namespace: label_name(
            "spec.epp.poolNamespace",
            or(written.pool_namespace.as_ref(), simulator_namespace),
        )?,
        resources: resources("spec.epp.resources", written.resources.as_ref())?,
        profile: one_of(
            "spec.epp.configProfile",
            &or(written.config_profile.as_ref(), profiles[0]),
            &profiles,
        )?,
        flavor,
        rolls,
        image,
    })
}

/// By the image: the line of v0.4 takes flags that later ones refuse.
pub(crate) fn flavor_of(image: &str) -> Flavor {
    let (name, tag) = name_and_tag(image);
    match name == "llm-d-inference-scheduler" && (tag == "v0.4" || tag.starts_with("v0.4.")) {
        true => Flavor::Legacy,
        false => Flavor::Current,
    }
}

/// Whether this is our own image, which takes up a changed configuration by itself.
fn is_own(image: &str) -> bool {
    name_and_tag(image).0 == "pointsman"
}

fn name_and_tag(image: &str) -> (&str, &str) {
    let last = image.rsplit('/').next().unwrap_or(image);
    let last = last.split('@').next().unwrap_or(last);
    last.split_once(':').unwrap_or((last, ""))
}

fn gateway(written: &WrittenGateway) -> Result<Gateway, Invalid> {
    let protocol = or(written.listener_protocol.as_ref(), "HTTP");
    let protocol = one_of(
        "spec.gateway.listenerProtocol",
        &protocol,
        &["HTTP", "HTTPS", "TLS", "TCP"],
    )?;
    certificates(written, protocol)?;
    Ok(Gateway {
        name: object_name("spec.gateway.name", or(written.name.as_ref(), GATEWAY_NAME))?,
        class: or(written.class_name.as_ref(), GATEWAY_CLASS),
        port: port("spec.gateway.listenerPort", written.listener_port, 80)?,
        protocol: protocol.to_owned(),
        tls: written.tls.clone(),
    })
}

/// What a listener shows: certificates where it ends TLS, nothing elsewhere.
fn certificates(written: &WrittenGateway, protocol: &str) -> Result<(), Invalid> {
    let references = match &written.tls {
        None => None,
        Some(tls) => tls["certificateRefs"].as_array(),
    };
    let named = references.is_some_and(|references| !references.is_empty());
    if protocol == "HTTPS" && !named {
        return Err(Invalid::new(
            "HTTPSNeedsTLS",
            "spec.gateway.listenerProtocol HTTPS needs spec.gateway.tls.certificateRefs, with one at least",
        ));
    }
    // A gateway that is not made may say what it likes.
    if !on(written.enabled) {
        return Ok(());
    }
    if protocol == "TLS" && !named {
        return Err(Invalid::value(
            "spec.gateway.listenerProtocol TLS needs spec.gateway.tls.certificateRefs, with one at least: the gateway ends TLS",
        ));
    }
    if !["HTTPS", "TLS"].contains(&protocol) && written.tls.is_some() {
        return Err(Invalid::value(format!(
            "spec.gateway.tls is for listenerProtocol HTTPS and TLS, not for {protocol}: leave it out"
        )));
    }
    for (index, reference) in references.into_iter().flatten().enumerate() {
        let field = format!("spec.gateway.tls.certificateRefs[{index}]");
        let text = |key: &str| reference[key].as_str();
        object_name(
            &format!("{field}.name"),
            text("name").unwrap_or_default().to_owned(),
        )?;
        if let Some(namespace) = text("namespace") {
            label_name(&format!("{field}.namespace"), namespace.to_owned())?;
        }
    }
    Ok(())
}

/// What the route takes its names from.
struct Names<'a> {
    epp: Option<&'a Epp>,
    gateway: Option<&'a Gateway>,
    scheduler_namespace: &'a str,
    simulator_namespace: &'a str,
}

fn routing(written: &WrittenRouting, names: &Names) -> Result<Routing, Invalid> {
    let backend = or(written.backend_type.as_ref(), "Service");
    let backend = match one_of(
        "spec.routing.backendType",
        &backend,
        &["Service", "InferencePool"],
    )? {
        "Service" => Backend::Service,
        _ => pool_backend(written, names)?,
    };
    let parent = written.parent_gateway.clone().unwrap_or_default();
    let from_gateway = names.gateway.map_or("", |gateway| gateway.name.as_str());
    let parent_name = or(parent.name.as_ref(), from_gateway);
    if parent_name.is_empty() {
        return Err(Invalid::new(
            "RouteNeedsParent",
            "spec.routing.enabled needs spec.routing.parentGateway.name, or spec.gateway to take it from",
        ));
    }
    Ok(Routing {
        route: object_name(
            "spec.routing.httpRouteName",
            or(written.http_route_name.as_ref(), ROUTE_NAME),
        )?,
        parent: (
            label_name(
                "spec.routing.parentGateway.namespace",
                or(parent.namespace.as_ref(), names.scheduler_namespace),
            )?,
            object_name("spec.routing.parentGateway.name", parent_name)?,
        ),
        backend,
    })
}

fn pool_backend(written: &WrittenRouting, names: &Names) -> Result<Backend, Invalid> {
    let pool = written.inference_pool.clone().unwrap_or_default();
    let name = or(
        pool.name.as_ref(),
        names.epp.map_or("", |epp| &epp.pool_name),
    );
    if name.is_empty() {
        return Err(Invalid::new(
            "PoolNameUnknown",
            "spec.routing.backendType InferencePool needs spec.routing.inferencePool.name, or spec.epp to take it from",
        ));
    }
    let namespace = names
        .epp
        .map_or(names.simulator_namespace, |epp| &epp.pool_namespace);
    let port = match pool.port {
        None | Some(0) => 0,
        given => port("spec.routing.inferencePool.port", given, 0)?,
    };
    Ok(Backend::Pool {
        namespace: label_name(
            "spec.routing.inferencePool.namespace",
            or(pool.namespace.as_ref(), namespace),
        )?,
        name: object_name("spec.routing.inferencePool.name", name)?,
        port,
    })
}

/// Istio's balancing, of either kind of custom resource.
pub(crate) fn balancing(field: &str, written: &WrittenBalancing) -> Result<Balancing, Invalid> {
    let algorithms = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "LEAST_CONN"];
    let pool = written.connection_pool.clone().unwrap_or_default();
    Ok(Balancing {
        algorithm: one_of(
            &format!("{field}.algorithm"),
            &or(written.algorithm.as_ref(), algorithms[0]),
            &algorithms,
        )?,
        max_pending: count(
            &format!("{field}.connectionPool.http1MaxPendingRequests"),
            pool.http1_max_pending_requests,
            1,
        )?,
        max_per_connection: count(
            &format!("{field}.connectionPool.maxRequestsPerConnection"),
            pool.max_requests_per_connection,
            1,
        )?,
    })
}

fn filter(
    written: &WrittenFilter,
    epp_on: bool,
    gateway: Option<&Gateway>,
    routing: Option<&Routing>,
) -> Result<Filter, Invalid> {
    if !epp_on {
        return Err(Invalid::new(
            "EnvoyFilterNeedsEPP",
            "spec.envoyFilter.enabled needs spec.epp.enabled: true, since the filter sends to that picker",
        ));
    }
    let given = written
        .workload_selector
        .clone()
        .filter(|labels| !labels.is_empty());
    let of_gateway = gateway.map(|gateway| {
        let name = "gateway.networking.k8s.io/gateway-name".to_owned();
        Labels::from([(name, gateway.name.clone())])
    });
    let Some(selector) = given.or(of_gateway) else {
        return Err(Invalid::new(
            "EnvoyFilterNeedsSelector",
            "spec.envoyFilter.enabled needs spec.envoyFilter.workloadSelector, or spec.gateway to take it from",
        ));
    };
    // Istio asks a picker by itself where a route leads to a pool.
    let to_pool = routing.is_some_and(|routing| matches!(routing.backend, Backend::Pool { .. }));
    let mode = or(written.mode.as_ref(), "Legacy");
    let mode = match one_of(
        "spec.envoyFilter.mode",
        &mode,
        &["Legacy", "Auto", "FullDuplex"],
    )? {
        "Legacy" => Mode::Legacy,
        "Auto" if to_pool => Mode::Native,
        _ => Mode::FullDuplex,
    };
    if mode != Mode::Native {
        let field = "spec.envoyFilter.workloadSelector";
        check_selector(field, &selector).map_err(|invalid| match written.workload_selector {
            Some(_) => invalid,
            None => Invalid::value(format!(
                "spec.gateway.name is too long for spec.envoyFilter, which selects the gateway's pods by it: at most 63, or give {field}"
            )),
        })?;
    }
    Ok(Filter {
        name: object_name(
            "spec.envoyFilter.name",
            or(written.name.as_ref(), FILTER_NAME),
        )?,
        selector,
        mode,
    })
}

fn pool(written: &WrittenPool, epp_on: bool, proxy: &Proxy) -> Result<Pool, Invalid> {
    if !epp_on {
        return Err(Invalid::new(
            "PoolNeedsEPP",
            "spec.inferencePool.enabled needs spec.epp.enabled: true, since the pool names that picker",
        ));
    }
    let mode = or(written.failure_mode.as_ref(), "FailClose");
    let ports = match written.target_ports.as_deref() {
        None | Some([]) => vec![proxy.target_port],
        Some(ports) => ports
            .iter()
            .map(|given| port("spec.inferencePool.targetPorts", Some(*given), 0))
            .collect::<Result<Vec<u16>, _>>()?,
    };
    let twice = ports
        .iter()
        .enumerate()
        .find(|(at, port)| ports[..*at].contains(port));
    if let Some((at, port)) = twice {
        return Err(Invalid::value(format!(
            "spec.inferencePool.targetPorts[{at}] is {port}, which stands before already"
        )));
    }
    if ports.len() > MOST_PORTS {
        return Err(Invalid::value(format!(
            "spec.inferencePool.targetPorts has {} ports and may have {MOST_PORTS}",
            ports.len()
        )));
    }
    let selector = written.selector.clone().filter(|labels| !labels.is_empty());
    if let Some(selector) = &selector {
        check_selector("spec.inferencePool.selector", selector)?;
    }
    Ok(Pool {
        selector: selector.unwrap_or_else(|| proxy.selector.clone()),
        ports,
        failure_mode: one_of(
            "spec.inferencePool.failureMode",
            &mode,
            &["FailOpen", "FailClose"],
        )?,
    })
}
