//! The doors: each turns IO into the core's events and the core's effects into IO.

pub mod record;

pub mod router;

pub mod exchange;

pub mod door;

pub mod admin;
