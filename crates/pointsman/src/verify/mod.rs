//! Proving a running gateway: what is looked at, and what is made of it.
//!
//! Looking needs the network and judges nothing; judging is pure. Reading order: what can be seen, the looking, the
//! judges, the report.
pub(crate) mod chance;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod judge;
pub(crate) mod kube;
pub(crate) mod load;
pub(crate) mod observe;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod seen;
pub(crate) mod views;
