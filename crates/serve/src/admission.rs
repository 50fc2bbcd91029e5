//! Who is let in, at the doors: what a request says of itself, the way to ask, and the one task that answers.
//!
//! Doors ask through [`front::Front`]; while there is room they take a permit from its count and the task is not
//! touched. The task ([`keeper::keep`]) owns the core's gatekeeper and its deadlines.

pub mod claims;

pub mod tally;

pub mod front;

pub mod leases;

pub mod keeper;
