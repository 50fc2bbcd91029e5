//! One model server as a state machine in virtual time, without IO, clock or thread.
//!
//! Reading order: [`ramp`] (the closed form of a jump), [`timing`] (what a step costs), [`preset`]
//! (models and hardware), [`transfer`] (how long KV moves), [`jitter`], [`block_hash`] and
//! [`kv_cache`] (blocks and their reuse), [`request`] (what goes in and comes out), [`roster`] (the
//! requests an engine holds), [`batch`] (the decodes as sums), [`step_loop`] (continuous batching),
//! [`independent`] (the reference simulator's model: every request on its own), [`config`] and
//! [`front`] (one of the two behind one face).

pub mod ramp;

pub mod timing;

pub mod preset;

pub mod transfer;

pub mod jitter;

pub mod block_hash;

pub mod kv_cache;

pub mod request;

pub mod roster;

pub mod config;

pub mod batch;

pub mod step_loop;

pub mod independent;

pub mod front;
