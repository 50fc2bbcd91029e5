//! The operator when the API server fails, refuses, or is asked for things in any order (cases O2, O5, O6 and O8 of
//! docs/reliability.md), with no more than Roles, and what it tells by Events.

#![allow(clippy::unwrap_used)]

mod fails;
mod objects;
mod order;
mod refused;
mod tells;
mod together;
