//! Keeping the cluster as the custom resources ask: watch, compare, write what differs, say what became of it.
//!
//! Everything is level-triggered: an event only says which custom resource to look at again, and looking compares what
//! should be there with what is. What is right costs no request.

pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod claim;
pub(crate) mod cleanup;
pub mod counts;
pub(crate) mod difference;
pub(crate) mod ending;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod facts;
pub(crate) mod front;
pub(crate) mod given;
pub(crate) mod keep;
pub(crate) mod pods;
pub(crate) mod probe;
pub(crate) mod quantity;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod report;
pub mod run;
pub(crate) mod seen;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod subject;
pub mod tell;
pub(crate) mod verdict;
pub(crate) mod watching;
