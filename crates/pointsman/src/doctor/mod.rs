//! What is wrong with an installation, without sending it a request: the cluster's objects, the picker's own account,
//! the engines' pages; or this machine.
pub(crate) mod cluster;
pub(crate) mod engines;
pub(crate) mod machine;
