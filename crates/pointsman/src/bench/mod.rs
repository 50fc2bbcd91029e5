//! What `pointsman bench` adds to the crate `bench`: flags, scenario files, and the order of things.

pub(crate) mod file;
pub(crate) mod load;
pub(crate) mod session;
