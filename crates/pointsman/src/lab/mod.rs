//! The lab in one process: which pairs there are and which faults strike them when.
pub(crate) mod faults;
pub(crate) mod pairs;
