//! A `SimulatorDeployment` of our image: prefill and decode servers without GPUs.

use serde_json::json;

use crate::desired::child::Child;
use crate::kinds::SIMULATOR;
use crate::stack::object;
use crate::stack::settings::Settings;

pub(super) fn simulator(settings: &Settings) -> Child {
    // The operator starts simulators with a model named `random`; of a flag given twice the last one counts.
    let mut args = vec!["--model".to_owned(), settings.model.clone()];
    args.extend(settings.server_args.iter().cloned());
    let stage = json!({
        "enabled": true,
        "replicas": settings.replicas,
        "port": settings.proxy_port,
        "args": args,
    });
    let spec = json!({
        "image": settings.pointsman_image,
        "prefill": stage,
        "decode": stage,
    });
    object(
        &SIMULATOR,
        &settings.namespace,
        &settings.simulator,
        &[],
        json!({"spec": spec}),
    )
}
