//! What should stand in the cluster: a pure function of a spec and of the few facts that only the cluster knows.

pub mod child;
pub mod install;
pub(crate) mod picker;
pub mod simulator;
pub mod twice;

use std::collections::BTreeMap;

/// What only the cluster knows.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The address of the picker's Service.
    pub epp_address: Address,
    /// The pods of the picker, by address, and whether each is ready.
    pub epp_pods: BTreeMap<String, bool>,
    /// Whether the pool, where others made it, wants requests to go on without its picker.
    pub pool_fails_open: bool,
}

/// The address of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Nobody is there to ask: names stand for addresses.
    #[default]
    Offline,
    /// The Service is not there yet.
    Pending,
    /// The Service has none, and never will.
    Headless,
    /// This one.
    Ip(String),
}
