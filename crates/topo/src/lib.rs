//! GPU and network topology of nodes: what is near what, and where prefill and decode belong.
//!
//! [`gather`] is the only module that touches the system; it fills [`sources::Sources`], a set of named texts that can as
//! well come from a folder. Everything behind it is pure: the parsers ([`matrix`], [`gpus`], [`sysfs`], [`nodes`]) take
//! one text each and name what they could not read, [`scan`] joins them to a [`report::Report`], and [`picture`] and
//! [`svg`] draw it.

pub mod figure;
pub mod gather;
pub mod gpus;
pub mod labels;
pub mod links;
pub mod matrix;
pub mod nodes;
pub mod picture;
pub mod placement;
pub mod problem;
pub mod report;
pub mod scan;
pub mod sources;
pub mod svg;
pub mod sysfs;
