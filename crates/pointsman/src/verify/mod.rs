//! Proves a running gateway, or says what is wrong: probes are sent, what is seen is written down, and pure
//! functions judge it.
pub(crate) mod ask;
pub(crate) mod burst;
pub(crate) mod judge;
pub(crate) mod load;
pub(crate) mod observe;
pub(crate) mod report;
pub(crate) mod seen;
