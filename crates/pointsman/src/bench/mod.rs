//! What `pointsman bench` adds to the crate `bench`: flags, scenario files, other tools, and the order of things.

pub(crate) mod file;
pub(crate) mod guidellm;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod session;
pub(crate) mod watching;
pub(crate) mod written;
