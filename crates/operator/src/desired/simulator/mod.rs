//! The objects of a `SimulatorDeployment`, in the order in which they are written.

mod gateways;
mod picker;
mod servers;

use crate::desired::child::{Child, Maker, Owner};
use crate::spec::simulator::{Role, Simulator};

/// The name of the Deployment whose pods the status counts: that of the decode servers, else the only one.
pub(crate) fn counted(simulator: &Simulator) -> String {
    let role = simulator
        .servers
        .last()
        .map_or(&Role::Decode, |servers| &servers.role);
    servers::deployment_name(&simulator.id.name, role)
}

/// All objects that this one asks for.
pub fn desired(simulator: &Simulator) -> Vec<Child> {
    let mut make = Maker::new(Owner::Simulator, &simulator.id);
    if let Some(epp) = &simulator.epp {
        picker::picker(&mut make, simulator, epp);
    }
    for servers in &simulator.servers {
        servers::servers(&mut make, simulator, servers);
    }
    for gateway in &simulator.gateways {
        gateways::gateway(&mut make, simulator, gateway);
    }
    make.done()
}
