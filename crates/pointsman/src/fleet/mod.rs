//! `pointsman fleet`: from flags and a file to policies, engines and traffic ([`wanted`], [`policies`], [`engines`],
//! [`faults`], [`traffic`]), the runs ([`play`]) and what they came to ([`outcome`]).

pub(crate) mod engines;
pub(crate) mod faults;
pub(crate) mod outcome;
pub(crate) mod play;
pub(crate) mod policies;
pub(crate) mod save;
pub(crate) mod sweep;
pub(crate) mod traffic;
pub(crate) mod wanted;
