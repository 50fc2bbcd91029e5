//! The judges, without a network.
