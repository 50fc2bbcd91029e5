//! What the router counts, in the Prometheus text format.
//!
//! Cells of all workers are summed while the page is written; gauges of the pool are worked out then, from the
//! readings of that moment (the reference does so every five seconds).

mod endpoints;
mod flow;
mod own;
mod page;
mod process;
mod requests;

use crate::admin::metrics::page::Page;
use crate::router::Router;

/// The whole page.
pub fn render(router: &Router) -> String {
    let plan = router.plan.load();
    let mut page = Page::new(plan.own.metrics.legacy_names);
    requests::write(router, &plan, &mut page);
    endpoints::write(router, &plan, &mut page);
    flow::write(router, &mut page);
    own::write(router, &plan, &mut page);
    process::write(&mut page);
    page.finish()
}

#[cfg(test)]
mod tests;
