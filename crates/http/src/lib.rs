//! The one HTTP stack: what listens, what connects, and the bodies that pass between them.
//!
//! Everything that speaks HTTP in this project (gateway, P/D proxy, admin page, simulator, scraper) does it through this crate, so that
//! its limits, its cancellation and its faults are the same everywhere. The crate knows nothing about models, endpoints or routing.
//!
//! Reading order: bodies, then the two ends of a connection, then what steers them.

pub mod authority;
pub mod body;
pub mod body_error;
pub mod calm;
pub mod channel;
pub mod client;
pub mod clients;
pub mod clocks;
pub mod collect;
pub mod connection;
pub mod drain;
pub mod fault;
pub mod frames;
pub mod framing;
mod greeting;
pub mod guarded;
pub mod head;
pub mod lease;
pub mod line;
pub mod link;
pub mod listener;
pub mod offence;
pub mod refusal;
pub mod server;
pub mod server_options;
pub mod severed;
pub mod state;
pub mod stream;
pub mod terms;
pub mod tls;
pub mod tls_error;
mod transcript;

pub use body::Body;
pub use body_error::BodyError;
pub use channel::BodySender;
pub use client::{ClientOptions, Pool, SendError, SendErrorKind};
pub use clients::Clients;
pub use collect::{CollectError, collect, discard};
pub use connection::Peer;
pub use drain::{Drain, DrainStarter, drain};
pub use fault::{Fault, FaultSwitch};
pub use frames::Frames;
pub use line::{Line, LineError};
pub use listener::{BindError, Bound, bind, connection_budget};
pub use server::serve;
pub use server_options::{Http2Options, ServerOptions};
pub use terms::{Speech, Terms, Trust};
pub use tls::{Credentials, Tls};
pub use tls_error::TlsError;
