//! Writing decisions and outcomes down: the ring of receipts and the log. Nobody else logs a request.
pub mod log;
pub mod ring;
pub mod sink;
