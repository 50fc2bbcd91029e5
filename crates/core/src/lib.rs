//! The pure heart of pointsman: endpoints, the decision table, the scheduler, the life of a request.
//!
//! This crate knows no socket, clock, thread, file, request format or cluster. Time and chance come in
//! as arguments ([`time::Tick`], [`rng::Rng`]), so the gateway, the simulator and the property tests run
//! the same code, reproducibly from a seed.
//!
//! Reading order: [`time`], [`rng`], [`model`] (who and what), [`index`] (sets of rows),
//! [`contract`] (what a plugin sees and implements), [`schedule`] (how a decision is made), [`admission`] (who waits),
//! [`exchange`] (the life of one request), [`config`] (from a written configuration to a plan).

pub mod time;

pub mod rng;

pub mod model;

pub mod index;

pub mod contract;

pub mod schedule;

pub mod exchange;

pub mod admission;

pub mod config;

#[cfg(feature = "fixture")]
pub mod fixture;
