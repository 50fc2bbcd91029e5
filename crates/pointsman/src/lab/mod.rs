//! The lab in one process: which pairs there are and which faults strike them when.
pub mod faults;
pub mod pairs;
