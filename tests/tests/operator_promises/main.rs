//! What an installation is promised: Available tells the truth, whatever is changed or done by hand arrives, and the
//! operator says when the gateway does not follow the picker. Times are measured and printed.

#![allow(clippy::unwrap_used)]

mod arrives;
mod available;
mod follows;
mod objects;
