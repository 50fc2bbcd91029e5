//! The checks as a table for people and as one JSON document.

use serde_json::json;

use crate::console::{stdout_has_colour, table};
use crate::verify::judge::check::Check;

/// Version of the JSON report.
const SCHEMA_VERSION: u32 = 1;

/// A table, and below it causes and remedies.
pub(crate) fn text(checks: &[Check]) -> String {
    let colour = stdout_has_colour();
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = if check.ok { "good" } else { "FAILED" };
            vec![
                check.id.to_owned(),
                verdict.to_owned(),
                check.detail.clone(),
            ]
        })
        .collect();
    let mut out = table(&["CHECK", "", "SEEN"], &rows, colour);
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
    for check in &failed {
        out.push_str(&format!("\n{}: not so: {}\n", check.id, check.name));
        if let Some(cause) = &check.cause {
            out.push_str(&format!("  cause  {cause}\n"));
        }
        if let Some(fix) = &check.fix {
            out.push_str(&format!("  mend   {fix}\n"));
        }
    }
    let verdict = match failed.len() {
        0 => format!("all {} checks are good", checks.len()),
        n => format!("{n} of {} checks failed", checks.len()),
    };
    out.push_str(&format!("\n{verdict}\n"));
    out
}

/// One document.
pub(crate) fn json(checks: &[Check]) -> String {
    let ok = checks.iter().all(|check| check.ok);
    let report = json!({"schemaVersion": SCHEMA_VERSION, "ok": ok, "checks": checks});
    format!("{report:#}\n")
}
