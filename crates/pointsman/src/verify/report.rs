//! How the findings look: a calm table with causes and fixes below, or one JSON document.

use std::fmt::Write as _;

use serde::Serialize;

use crate::console::table;
use crate::verify::check::Check;

/// Version of the JSON document.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    ok: bool,
    checks: &'a [Check],
}

/// The JSON document, one line.
pub(crate) fn json(checks: &[Check], ok: bool) -> String {
    let document = Document {
        schema_version: SCHEMA_VERSION,
        ok,
        checks,
    };
    serde_json::to_string(&document).unwrap_or_default() + "\n"
}

/// The table, then what is wrong and what mends it.
pub(crate) fn text(checks: &[Check], ok: bool, colour: bool) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let word = if check.ok { "ok" } else { "FAILED" };
            vec![check.id.to_owned(), word.to_owned(), check.detail.clone()]
        })
        .collect();
    let mut out = table(&["CHECK", "", "DETAIL"], &rows, colour);
    for check in checks.iter().filter(|check| !check.ok) {
        let _ = write!(out, "\n{}: {}\n", check.id, check.name);
        if let Some(cause) = &check.cause {
            let _ = writeln!(out, "  cause  {}", cause.replace('\n', "\n         "));
        }
        if let Some(fix) = &check.fix {
            let _ = match fix.contains('\n') {
                // At the margin, so that what is copied can be pasted: a shell knows no indented end of a text.
                true => writeln!(out, "  fix\n{fix}"),
                false => writeln!(out, "  fix    {}", fix.strip_prefix("# ").unwrap_or(fix)),
            };
        }
        if check.cause.is_none() {
            let _ = writeln!(out, "  {}", check.detail);
        }
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    let _ = match (ok, checks.len()) {
        (true, 1) => writeln!(out, "\nThe check holds."),
        (true, all) => writeln!(out, "\nAll {all} checks hold."),
        (false, all) => writeln!(out, "\n{failed} of {all} checks do not hold."),
    };
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::verify::check::{METRICS, PAIRS};

    #[test]
    fn both_forms_say_the_same() {
        let checks = [
            PAIRS.good("2 of 2"),
            METRICS.bad("1 of 2", "x answers 404", "mend x"),
        ];
        let shown = text(&checks, false, false);
        let expected = "  CHECK            DETAIL\n  pairs    ok      2 of 2\n  metrics  FAILED  1 of 2\n\nmetrics: every candidate shows its metrics\n  cause  x answers 404\n  fix    mend x\n\n1 of 2 checks do not hold.\n";
        assert_eq!(shown, expected);
        let document: serde_json::Value = serde_json::from_str(&json(&checks, false)).unwrap();
        assert_eq!(document["schemaVersion"], 1);
        assert_eq!(document["ok"], false);
        assert_eq!(document["checks"][0]["id"], "pairs");
        assert_eq!(document["checks"][1]["fix"], "# mend x");
        assert!(document["checks"][0].get("cause").is_none());
        assert_eq!(document["checks"][1]["cause"], "x answers 404");
    }

    #[test]
    fn a_fix_of_several_lines_is_copied_as_it_is() {
        let fix = "kubectl apply -f - <<'EOF'\nkind: Role\nmetadata: {name: x}\nEOF";
        let shown = text(&[METRICS.bad("", "x", fix)], false, false);
        assert!(shown.contains(&format!("\n{fix}\n")), "{shown}");
    }
}
