//! The kinds of objects that stand for a custom resource.

/// A kind as the API server serves it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The version that is written.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// Whether every API server has it.
    pub built_in: bool,
}

impl Kind {
    /// Group and version, as objects name them.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The name in messages, as `HTTPRoute.gateway.networking.k8s.io`.
    pub fn full_name(&self) -> String {
        match self.group {
            "" => self.kind.to_owned(),
            group => format!("{}.{group}", self.kind),
        }
    }
}

/// A kind that every API server has.
const fn built_in(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind {
        built_in: true,
        ..added(group, version, kind, plural)
    }
}

/// A kind that somebody has to install.
const fn added(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        built_in: false,
    }
}

/// Accounts of pods.
pub static SERVICE_ACCOUNT: Kind = built_in("", "v1", "ServiceAccount", "serviceaccounts");
/// Rights within a namespace.
pub static ROLE: Kind = built_in("rbac.authorization.k8s.io", "v1", "Role", "roles");
/// Who has them.
pub static ROLE_BINDING: Kind = built_in(
    "rbac.authorization.k8s.io",
    "v1",
    "RoleBinding",
    "rolebindings",
);
/// Texts that pods read.
pub static CONFIG_MAP: Kind = built_in("", "v1", "ConfigMap", "configmaps");
/// Pods of one kind, kept at a number.
pub static DEPLOYMENT: Kind = built_in("apps", "v1", "Deployment", "deployments");
/// A name for pods.
pub static SERVICE: Kind = built_in("", "v1", "Service", "services");
/// The addresses behind a Service.
pub static ENDPOINT_SLICE: Kind =
    built_in("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
/// A door into the cluster.
pub static GATEWAY: Kind = added("gateway.networking.k8s.io", "v1", "Gateway", "gateways");
/// Which requests go where.
pub static ROUTE: Kind = added("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
/// Which namespaces may refer to what here.
pub static GRANT: Kind = added(
    "gateway.networking.k8s.io",
    "v1beta1",
    "ReferenceGrant",
    "referencegrants",
);
/// Istio's rules for traffic to a host.
pub static DESTINATION_RULE: Kind = added(
    "networking.istio.io",
    "v1beta1",
    "DestinationRule",
    "destinationrules",
);
/// Istio's patches of Envoy's configuration.
pub static ENVOY_FILTER: Kind = added(
    "networking.istio.io",
    "v1alpha3",
    "EnvoyFilter",
    "envoyfilters",
);
/// Model servers that a picker chooses among.
pub static POOL: Kind = added(
    "inference.networking.k8s.io",
    "v1",
    "InferencePool",
    "inferencepools",
);

pub(crate) static NAMESPACE: Kind = built_in("", "v1", "Namespace", "namespaces");
pub(crate) static POD: Kind = built_in("", "v1", "Pod", "pods");
pub(crate) static INSTALL: Kind = added(
    "sim.llm-d.io",
    "v1alpha1",
    "SchedulerInstall",
    "schedulerinstalls",
);
pub(crate) static SIMULATOR: Kind = added(
    "sim.llm-d.io",
    "v1alpha1",
    "SimulatorDeployment",
    "simulatordeployments",
);

/// All kinds that stand for a custom resource, in the order in which they are written.
pub static ALL: [&Kind; 13] = [
    &SERVICE_ACCOUNT,
    &ROLE,
    &ROLE_BINDING,
    &CONFIG_MAP,
    &DEPLOYMENT,
    &SERVICE,
    &ENDPOINT_SLICE,
    &GATEWAY,
    &ROUTE,
    &GRANT,
    &DESTINATION_RULE,
    &ENVOY_FILTER,
    &POOL,
];

/// The kind of this group and name.
pub fn find(group: &str, kind: &str) -> Option<&'static Kind> {
    ALL.into_iter()
        .find(|known| known.group == group && known.kind == kind)
}
