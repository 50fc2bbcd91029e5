//! The picker's door without a network: conversations message by message.

#![allow(clippy::unwrap_used)]

mod better;
mod golden;
mod life;
mod plugins;
mod rendering;
mod rig;
mod tongue;
mod traces;
mod waiting;
