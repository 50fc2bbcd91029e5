//! What the black-box tests share: the built binary as child processes, a plain blocking HTTP client that
//! also speaks wrongly when asked to, a scripted backend, and bursts of clients.
//!
//! Nothing here knows a crate of ours: the tests hold on to what users hold on to. Every wait has a
//! generous bound and says what it waited for; no test measures time.

pub mod binary;

pub mod port;

pub mod patience;

pub mod process;

pub mod http;

pub mod body;

pub mod server;

pub mod picker;

pub mod grpc;

pub mod envoy;

pub mod backend;

pub mod cluster;

pub mod browser;

pub mod live;

pub mod bench;

pub mod burst;

pub mod answer;

pub mod charts;

pub mod evidence;

pub mod istio;

pub mod scratch;

pub mod operator_cases;
pub mod operator_world;

pub mod use_graph;
