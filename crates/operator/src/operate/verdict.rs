//! What all conditions together come to: `Ready` and `Available`.

use crate::operate::seen::Sights;
use crate::operate::status::{ChildState, Condition, accepted, applied};

/// Conditions of a `SchedulerInstall`.
pub(crate) fn install_conditions(states: &[ChildState], sights: Sights) -> Vec<Condition> {
    let applied = applied(states);
    let ready = match applied.holds() {
        true => Condition::new(
            "Ready",
            Some(true),
            "Reconciled",
            "SchedulerInstall resources are ready",
        ),
        false => Condition::new(
            "Ready",
            Some(false),
            applied.reason.clone(),
            &applied.message,
        ),
    };
    let against = sights
        .conditions
        .iter()
        .find(|condition| !condition.holds())
        .or_else(|| Some(&ready).filter(|ready| !ready.holds()));
    let available = match against {
        None => Condition::new(
            "Available",
            Some(true),
            "Available",
            "everything that is asked for runs",
        ),
        Some(other) => Condition::new(
            "Available",
            Some(false),
            other.reason.clone(),
            format!("{}: {}", other.kind, other.message),
        ),
    };
    let mut all = vec![ready, accepted(None), applied];
    all.extend(sights.conditions);
    all.push(available);
    all.extend(sights.warnings);
    all
}

/// Conditions of a `SimulatorDeployment`.
pub(crate) fn simulator_conditions(states: &[ChildState], pods_ready: bool) -> Vec<Condition> {
    let applied = applied(states);
    let ready = match (applied.holds(), pods_ready) {
        (false, _) => Condition::new(
            "Ready",
            Some(false),
            applied.reason.clone(),
            &applied.message,
        ),
        (true, true) => Condition::new(
            "Ready",
            Some(true),
            "DeploymentReady",
            "Simulator deployment is ready",
        ),
        (true, false) => Condition::new(
            "Ready",
            Some(false),
            "DeploymentNotReady",
            "Waiting for pods to be ready",
        ),
    };
    vec![ready, accepted(None), applied]
}
