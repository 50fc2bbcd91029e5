//! A cluster around the gateway: what its objects say, and the ways to its pods.
//!
//! Reading order: what is read, what is made of it, the ways to pods, where to aim.
pub(crate) mod aim;
pub(crate) mod gather;
pub(crate) mod judge;
pub(crate) mod reach;
pub(crate) mod routes;
pub(crate) mod session;
pub(crate) mod surroundings;
