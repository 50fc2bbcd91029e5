//! The HTTP stack over real sockets, by behaviour.

#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod mutual_tls;
mod rig;
mod server;
mod slow;
