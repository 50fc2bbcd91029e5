//! What the cluster says about requests beside who the endpoints are: priorities by objective, models under other
//! names, and what the endpoints speak.

use std::collections::BTreeMap;

use pointsman_core::model::rewrites::Rewrites;

/// Everything of one moment.
#[derive(Debug, Default, PartialEq)]
pub struct Directives {
    /// Priorities by the name of the objective that a request carries.
    pub objectives: BTreeMap<String, i64>,
    /// Which model is asked for in place of the one named.
    pub rewrites: Rewrites,
    /// What the pool's endpoints speak (`http`, `kubernetes.io/h2c`), if the pool says so.
    pub app_protocol: Option<String>,
}
