//! The picker's door without a network: conversations message by message.

#![allow(clippy::unwrap_used)]

mod better;
mod collectors;
mod evicting;
mod forged;
mod golden;
mod life;
mod malformed;
mod pieces;
mod plugins;
mod rendering;
mod rig;
mod storm;
mod tongue;
mod traces;
mod undecided;
mod waiting;
