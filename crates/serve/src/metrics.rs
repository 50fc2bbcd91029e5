//! What the picker counts: the families, the cells that the workers count into, and the meter of one request.
//!
//! Each worker has cells of its own ([`cells::LaneCells`]), which the admin port sums when it is asked. A request keeps
//! a hold of its model's cells, so that counting is a few stores without a look-up by name.

pub mod family;

pub mod buckets;

pub mod catalogue;

pub mod decided;
pub mod histogram;

pub mod names;
pub mod streams;

pub mod cells;

pub mod meter;

pub mod probe;
pub mod windows;
