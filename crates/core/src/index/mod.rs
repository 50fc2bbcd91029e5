//! Sets over rows.
pub mod row_set;
