//! A `SimulatorDeployment` with every default filled in, or why it cannot be followed.

use serde_json::Value;

use crate::spec::install::{Balancing, balancing};
use crate::spec::invalid::Invalid;
use crate::spec::meta::Identity;
use crate::spec::resources::resources;
use crate::spec::validity::{label_name, one_of, picker_port, port, replicas};
use crate::spec::written::{
    WrittenOwnGateway, WrittenSimulator, WrittenSimulatorEpp, WrittenStage, on, or, read,
};

/// The simulator's image.
pub const IMAGE: &str = "ghcr.io/llm-d/llm-d-simulator:latest";
/// How much servers log.
pub const LOG_VERBOSITY: i32 = 5;
/// The Service in front of the servers.
pub const SERVICE_NAME: &str = "gaie-inference-scheduling-proxy";
/// The port of servers and Service.
pub const PORT: u16 = 8200;
/// The picker's image.
pub const EPP_IMAGE: &str = "ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.0";
/// The picker's port.
pub const EPP_PORT: u16 = 8100;

/// What a `SimulatorDeployment` asks for; parts that are off are not there.
#[derive(Clone, Debug)]
pub struct Simulator {
    /// Who asks.
    pub id: Identity,
    /// The servers: of both stages, or of neither.
    pub servers: Vec<Servers>,
    /// The picker.
    pub epp: Option<SimulatorEpp>,
    /// Gateways as Deployments.
    pub gateways: Vec<OwnGateway>,
    /// The port of the decode servers.
    pub(crate) decode_port: u16,
}

/// What the servers of one Deployment do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, behind a Service of this name and type.
    Alone {
        /// The Service's name.
        service: String,
        /// The Service's type.
        kind: &'static str,
    },
    /// Prefill only.
    Prefill,
    /// Decode only.
    Decode,
}

/// The servers of one Deployment.
#[derive(Clone, Debug)]
pub struct Servers {
    pub(crate) role: Role,
    pub(crate) replicas: i32,
    pub(crate) image: String,
    pub(crate) verbosity: i32,
    pub(crate) port: u16,
    pub(crate) resources: Value,
    pub(crate) args: Vec<String>,
    pub(crate) balancing: Option<Balancing>,
}

/// The picker.
#[derive(Clone, Debug)]
pub struct SimulatorEpp {
    pub(crate) replicas: i32,
    pub(crate) image: String,
    pub(crate) port: u16,
    pub(crate) verbosity: i32,
    pub(crate) args: Vec<String>,
    pub(crate) resources: Value,
}

/// A gateway as a Deployment.
#[derive(Clone, Debug)]
pub struct OwnGateway {
    pub(crate) istio: bool,
    pub(crate) replicas: i32,
    pub(crate) image: String,
    pub(crate) port: u16,
    pub(crate) resources: Value,
}

/// Fills in the defaults and checks the rules.
///
/// # Errors
/// The first rule that is broken, in the order of the manual.
pub fn settle(object: &Value) -> Result<Simulator, Invalid> {
    let id = Identity::of(object)?;
    let written: WrittenSimulator = read(object)?;
    let stage = |stage: &Option<WrittenStage>| stage.clone().filter(|stage| on(stage.enabled));
    let image = or(written.image.as_ref(), IMAGE);
    let verbosity = Some(written.log_verbosity.unwrap_or(0))
        .filter(|n| *n != 0)
        .unwrap_or(LOG_VERBOSITY);
    let general = General { image, verbosity };
    let decode_port = match &written.decode {
        Some(decode) => port("spec.decode.port", decode.port, PORT)?,
        None => PORT,
    };
    let mut servers = Vec::new();
    if let Some(prefill) = stage(&written.prefill) {
        servers.push(general.stage(&prefill, Role::Prefill, "prefill")?);
    }
    if let Some(decode) = stage(&written.decode) {
        servers.push(general.stage(&decode, Role::Decode, "decode")?);
    }
    if servers.is_empty() {
        servers.push(general.alone(&written)?);
    }
    let epp = written.epp.as_ref().filter(|epp| on(epp.enabled));
    let mut gateways = Vec::new();
    let wanted = written
        .inference_gateway
        .filter(|gateways| on(gateways.enabled));
    if let Some(wanted) = wanted {
        for (istio, given) in [(false, wanted.standard), (true, wanted.istio)] {
            if let Some(given) = given.filter(|gateway| on(gateway.enabled)) {
                gateways.push(gateway(&given, istio)?);
            }
        }
    }
    Ok(Simulator {
        id,
        servers,
        epp: epp.map(self::epp).transpose()?,
        gateways,
        decode_port,
    })
}

/// What holds for all servers.
struct General {
    image: String,
    verbosity: i32,
}

impl General {
    fn stage(&self, written: &WrittenStage, role: Role, name: &str) -> Result<Servers, Invalid> {
        let verbosity = written.log_verbosity.unwrap_or(LOG_VERBOSITY);
        Ok(Servers {
            role,
            replicas: replicas(&format!("spec.{name}.replicas"), written.replicas, 2)?,
            image: or(written.image.as_ref(), &self.image),
            verbosity: if verbosity == 0 {
                self.verbosity
            } else {
                verbosity
            },
            port: port(&format!("spec.{name}.port"), written.port, PORT)?,
            resources: resources(
                &format!("spec.{name}.resources"),
                written.resources.as_ref(),
            )?,
            args: written.args.clone().unwrap_or_default(),
            balancing: None,
        })
    }

    fn alone(&self, written: &WrittenSimulator) -> Result<Servers, Invalid> {
        let service = written.service.clone().unwrap_or_default();
        let kind = or(service.kind.as_ref(), "ClusterIP");
        let kinds = ["ClusterIP", "NodePort", "LoadBalancer"];
        let balanced = written
            .load_balancing
            .as_ref()
            .filter(|rule| on(rule.enabled));
        Ok(Servers {
            role: Role::Alone {
                service: label_name("spec.service.name", or(service.name.as_ref(), SERVICE_NAME))?,
                kind: one_of("spec.service.type", &kind, &kinds)?,
            },
            replicas: replicas("spec.replicas", written.replicas, 2)?,
            image: self.image.clone(),
            verbosity: self.verbosity,
            port: port("spec.service.port", service.port, PORT)?,
            resources: resources("spec.resources", written.resources.as_ref())?,
            args: Vec::new(),
            balancing: balanced
                .map(|rule| balancing("spec.loadBalancing", rule))
                .transpose()?,
        })
    }
}

fn epp(written: &WrittenSimulatorEpp) -> Result<SimulatorEpp, Invalid> {
    Ok(SimulatorEpp {
        replicas: replicas("spec.epp.replicas", written.replicas, 1)?,
        image: or(written.image.as_ref(), EPP_IMAGE),
        port: picker_port(written.port, EPP_PORT)?,
        verbosity: written.verbosity.unwrap_or(1),
        args: written.args.clone().unwrap_or_default(),
        resources: resources("spec.epp.resources", written.resources.as_ref())?,
    })
}

fn gateway(written: &WrittenOwnGateway, istio: bool) -> Result<OwnGateway, Invalid> {
    let (name, image) = match istio {
        false => (
            "standard",
            "cr.kgateway.dev/kgateway-dev/envoy-wrapper:v2.1.1",
        ),
        true => ("istio", "docker.io/istio/proxyv2:1.28.1"),
    };
    let field = format!("spec.inferenceGateway.{name}");
    Ok(OwnGateway {
        istio,
        replicas: replicas(&format!("{field}.replicas"), written.replicas, 1)?,
        image: or(written.image.as_ref(), image),
        port: port(&format!("{field}.port"), written.port, 8080)?,
        resources: resources(&format!("{field}.resources"), written.resources.as_ref())?,
    })
}
