//! What the benchmarks of pointsman measure with: a load client and a mock model server that cost almost nothing,
//! the yardstick proxy that every figure is divided by, and the accounting of another process's CPU time and memory.
//!
//! The load and the mock share one CPU, the system under test has another to itself ([`pin`]), so that CPU time per
//! request of the system under test is a figure that holds on a noisy machine; [`rounds`] interleaves the peers and
//! [`report`] sets them beside one another. Nothing here knows any other crate of this workspace.

pub mod alarm;
pub mod baseline;
pub mod campaign;
pub mod children;
pub mod chunks;
pub mod foreign;
pub mod head;
pub mod inputs;
pub mod load;
pub mod mock;
pub mod pin;
pub mod preflight;
pub mod processes;
pub mod report;
pub mod resources;
pub mod results;
pub mod roles;
pub mod rounds;
pub mod samples;
pub mod scenario;
