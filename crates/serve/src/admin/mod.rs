//! The admin port: health, metrics and views of what the router knows. Never on the public port.
pub mod debug;

pub mod discovery;
pub mod guard;
pub mod live;
pub mod metrics;
pub mod page;
pub mod plan;
pub mod plugins;
pub mod prefixes;
pub mod routes;
pub mod server;
pub mod whatif;
