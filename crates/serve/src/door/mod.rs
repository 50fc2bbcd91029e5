//! The front doors and the routes they follow.
pub mod answer;
pub mod extproc;
pub mod gateway;
pub mod headers;
pub mod limits;
pub mod models;
pub mod passage;
pub mod proxy;
pub mod renamed;
pub mod render;
pub mod route;
pub mod sending;
